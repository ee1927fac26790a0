"""Trains one version from a history: LNIRT, the two networks over it, and how far to trust them.

Stages: LNIRT on the older answers; networks on the older answers with early stopping on the newest ones; scale,
temperature and interval chosen on the newest; then LNIRT, and every network that proved useful, once more on all
answers. The newest answers decide, the final version knows them too. That costs up to twice the training time, and
a stationary validation would be cheaper, but students' latest answers are the ones that serving resembles.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version as library_version
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import LnirtParameters
from chalicelib.domain.lnirt_json import rounded, to_json
from chalicelib.features.answers import AnswerTable
from chalicelib.features.inputs import FEATURE_SCHEMA
from chalicelib.features.practice_state import DECAY_ANSWERS, STATE_SCHEMA
from chalicelib.prediction.keras_archive import read_keras
from chalicelib.prediction.networks import Networks
from chalicelib.prediction.predictor import Predictor
from chalicelib.prediction.vocabulary import Vocabulary
from training_job.calibrate import PRIOR_ONLY, Calibration, beats_prior, calibrated
from training_job.evaluate import against_lnirt, holdout_scores
from training_job.fit_network import FittedNetwork, fit_members, fit_network, predict_rows
from training_job.lnirt_fit import clipped_times, fit_lnirt
from training_job.lnirt_practice import interval_quantiles
from training_job.networks import NetworkShape, archive_bytes, build_network, rescaled
from training_job.samples import Samples, build_vocabulary, read_history_by_others, samples_of, spread_of
from training_job.split import validation_rows

MIN_SAMPLES = 10

MEMBERS, MANY_ANSWERS = 3, 50_000
"""Networks whose mean is published, and the answers from which it is more than one: before, it gains nothing."""

_LOG = logging.getLogger("studysmart.training")

Progress = Callable[[Mapping[str, Any]], None]
Rows = npt.NDArray[np.bool_]


class TrainingSkipped(Exception):  # noqa: N818  (a decision with a reason, not an error)
    """There is nothing sensible to train on; the message is the reason."""


@dataclass(frozen=True, slots=True)
class TrainedVersion:
    """The four files of a version by name, what ``metadata.json`` says of them, and the version of the first stage,
    which has learnt from the older answers only (:func:`training_job.split.validation_rows`)."""

    files: dict[str, bytes]
    metadata: dict[str, Any]
    validated: Predictor


@dataclass(frozen=True, slots=True)
class _Stage:
    """LNIRT, vocabulary and samples of one pass over the history."""

    lnirt: LnirtParameters
    vocabulary: Vocabulary
    samples: tuple[Samples, Samples]


@dataclass(frozen=True, slots=True)
class _Network:
    """A trained network with its calibration; ``low`` and ``high`` belong to the time's interval."""

    fitted: FittedNetwork
    calibration: Calibration
    low: float = -1.2816
    high: float = 1.2816


def train_version(
    table: AnswerTable,
    *,
    version: str,
    seed: int = 0,
    on_progress: Progress = lambda _: None,
    threads: int = 2,
) -> TrainedVersion:
    """Train the version called ``version``. Raises TrainingSkipped for too few answers or one class only.

    ``on_progress`` gets {"phase": "features" | "lnirt" | "correctness" | "time" | "final" | "evaluate"}, and in the
    networks' phases epoch, epochs, loss and val_loss. ``threads`` bounds TensorFlow's pools.
    """
    begun = time.monotonic()
    _check(table)
    _prepare_tensorflow(threads)
    newest = validation_rows(table)
    first = _stage(table, ~newest, seed, on_progress)
    networks = _validated_networks(first, table, newest, seed, on_progress)
    files = _files(first, networks)
    on_progress({"phase": "evaluate"})
    validated = _predictor(version, files)
    scores = holdout_scores(validated, table, newest)
    on_progress({"phase": "final"})
    final = _stage(table, np.ones(len(table), dtype=np.bool_), seed, on_progress)
    finished = _final_networks(final, networks, table, newest, seed, on_progress)
    stand_in = (replace(finished[0], fitted=networks[0].fitted), replace(finished[1], fitted=networks[1].fitted))
    if stand_in != networks:
        # A network was given up in the final pass: then the gate must not judge it either.
        validated = _predictor(version, _files(first, stand_in))
    metadata = _metadata(version, table, finished, scores, final.vocabulary.has_time)
    metadata["trained_seconds"] = round(time.monotonic() - begun, 2)
    return TrainedVersion(_files(final, finished), metadata, validated)


def _check(table: AnswerTable) -> None:
    if len(table) < MIN_SAMPLES:
        raise TrainingSkipped(f"{len(table)} samples, at least {MIN_SAMPLES} are needed")
    if table.is_correct.all() or not table.is_correct.any():
        raise TrainingSkipped(f"all {len(table)} samples are {'correct' if table.is_correct[0] else 'incorrect'}")


def _prepare_tensorflow(threads: int) -> None:
    import tensorflow as tf

    # The graph optimiser takes a third of a second per network and gains nothing measurable on graphs this small.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        # Only possible before TensorFlow's first operation: a second training in one process keeps the first's pools.
        _LOG.debug("thread bounds stay as they are: %s", error)


def _stage(table: AnswerTable, known: Rows, seed: int, on_progress: Progress) -> _Stage:
    """Everything that is computed before the networks, from the ``known`` rows only."""
    on_progress({"phase": "lnirt"})
    lnirt = rounded(fit_lnirt(table.select(known)))
    on_progress({"phase": "features"})
    vocabulary = build_vocabulary(table, known, lnirt)
    history = read_history_by_others(table, known, lnirt, vocabulary, seed)
    mean, scale = spread_of(history.dense[known])
    vocabulary = replace(vocabulary, mean=mean, scale=scale)
    targets = clipped_times(table) if table.timed.any() else table
    return _Stage(lnirt, vocabulary, samples_of(targets, lnirt, vocabulary, history))


def _shapes(stage: _Stage) -> tuple[NetworkShape, NetworkShape]:
    vocabulary = stage.vocabulary
    layouts = (("correctness", vocabulary.correctness_pooled), ("time", vocabulary.time_pooled))
    correctness, timing = (
        NetworkShape(name, len(vocabulary.topics) + 1, len(vocabulary.users) + 1, len(vocabulary.mean), layout.width)
        for name, layout in layouts
    )
    return correctness, timing


def _validated_networks(
    stage: _Stage, table: AnswerTable, newest: Rows, seed: int, on_progress: Progress
) -> tuple[_Network, _Network]:
    """Both networks trained on the older answers and calibrated on the newest ones."""
    shapes = _shapes(stage)
    return (
        _correctness(stage, shapes[0], table, newest, seed, on_progress),
        _timing(stage, shapes[1], table, newest, seed, on_progress),
    )


def _correctness(
    stage: _Stage, shape: NetworkShape, table: AnswerTable, newest: Rows, seed: int, on_progress: Progress
) -> _Network:
    samples = stage.samples[0]
    fitted = fit_network(samples, shape, ~newest, newest, seed=seed, on_progress=on_progress)
    judged = newest & _asked(samples)
    prior, output = samples.prior[judged], predict_rows(fitted.model, samples, judged)
    return _Network(fitted, calibrated(prior, output, samples.target[judged], table.user[judged], binary=True))


def _timing(
    stage: _Stage, shape: NetworkShape, table: AnswerTable, newest: Rows, seed: int, on_progress: Progress
) -> _Network:
    samples, timed = stage.samples[1], table.timed
    if stage.lnirt.time is None or not (timed & ~newest).any():
        return _Network(FittedNetwork(build_network(shape), shape, 0), PRIOR_ONLY)
    validated = newest & timed
    fitted = fit_network(samples, shape, ~newest & timed, validated, seed=seed, on_progress=on_progress)
    judged = validated & _asked(samples)
    prior, output = samples.prior[judged], predict_rows(fitted.model, samples, judged)
    calibration = calibrated(prior, output, samples.target[judged], table.user[judged], binary=False)
    spread = np.sqrt(samples.history.log_seconds_variance[judged])
    errors = table.log_seconds[judged] - (prior + calibration.scale * (output - prior))
    low, high = interval_quantiles(errors / spread)
    return _Network(fitted, calibration, low, high)


def _asked(samples: Samples) -> Rows:
    """The answers for which serving asks a network at all. Shape (N,)."""
    return samples.history.topic_known & (samples.history.n_answers > 0)


def _final_networks(
    stage: _Stage,
    validated: tuple[_Network, _Network],
    table: AnswerTable,
    newest: Rows,
    seed: int,
    on_progress: Progress,
) -> tuple[_Network, _Network]:
    """Networks over the final LNIRT: trained on all answers where the residual is used, untrained where it is not.

    A network that even knows the newest answers and is worse than LNIRT on them went wrong: then LNIRT serves.
    """
    rows = (np.ones(len(table), dtype=np.bool_), table.timed)
    finished: list[_Network] = []
    for network, shape, samples, known in zip(validated, _shapes(stage), stage.samples, rows, strict=True):
        if network.calibration.scale > 0.0:
            fitted = fit_members(
                samples,
                shape,
                known,
                epochs=max(network.fitted.best_epoch, 1),
                members=MEMBERS if int(known.sum()) >= MANY_ANSWERS else 1,
                seed=seed,
                on_progress=on_progress,
            )
            judged = newest & known & _asked(samples)
            prior, output = samples.prior[judged], predict_rows(fitted.model, samples, judged)
            binary = shape.name == "correctness"
            if beats_prior(prior, output, samples.target[judged], network.calibration, binary=binary):
                finished.append(replace(network, fitted=fitted))
                continue
            _LOG.warning("the final %s network is worse than LNIRT on the newest answers: LNIRT serves", shape.name)
            network = _prior_only(stage.lnirt, network)
        finished.append(replace(network, fitted=FittedNetwork(build_network(shape), shape, 0)))
    return finished[0], finished[1]


def _prior_only(lnirt: LnirtParameters, network: _Network) -> _Network:
    """The network at scale 0, which is exactly LNIRT, with LNIRT's own interval of time."""
    if lnirt.time is None:
        return replace(network, calibration=PRIOR_ONLY)
    return replace(network, calibration=PRIOR_ONLY, low=lnirt.time.low, high=lnirt.time.high)


def _files(stage: _Stage, networks: tuple[_Network, _Network]) -> dict[str, bytes]:
    timing = networks[1]
    vocabulary = replace(stage.vocabulary, time_low=timing.low, time_high=timing.high)
    archives = [
        archive_bytes(
            rescaled(item.fitted.model, item.fitted.shape, item.calibration.scale, item.calibration.temperature)
        )
        for item in networks
    ]
    return {
        "correctness_model.keras": archives[0],
        "time_model.keras": archives[1],
        "lnirt.json": to_json(stage.lnirt),
        "vocabulary.json": vocabulary.to_json(),
    }


def _predictor(version: str, files: Mapping[str, bytes]) -> Predictor:
    from chalicelib.domain.lnirt_json import from_json
    from chalicelib.prediction.vocabulary import read_vocabulary

    return Predictor(
        version,
        from_json(files["lnirt.json"]),
        read_vocabulary(files["vocabulary.json"]),
        Networks(read_keras(files["correctness_model.keras"]), read_keras(files["time_model.keras"])),
    )


def _metadata(
    version: str, table: AnswerTable, networks: tuple[_Network, _Network], scores: Mapping[str, Any], has_time: bool
) -> dict[str, Any]:
    correctness, timing = networks
    figures = {name: _short(value) for name, value in scores.items() if not isinstance(value, np.ndarray)}
    return {
        "version": version,
        "feature_schema": FEATURE_SCHEMA,
        "state_schema": STATE_SCHEMA,
        "decay_answers": DECAY_ANSWERS.tolist(),
        "n_samples": len(table),
        "n_users": len(np.unique(table.user)),
        "n_topics": len(np.unique(table.topic)),
        "n_timed": int(table.timed.sum()),
        "time": "lognormal" if has_time else "none",
        "validation": figures,
        "against_lnirt": against_lnirt(scores),
        "correctness_scale": correctness.calibration.scale,
        "temperature": _short(correctness.calibration.temperature),
        "time_scale": timing.calibration.scale,
        "epochs": [correctness.fitted.best_epoch, timing.fitted.best_epoch],
        "libraries": {name: library_version(name) for name in ("keras", "numpy", "h5py")},
    }


def _short(value: float | int | None) -> float | None:
    return value if value is None or isinstance(value, int) else float(f"{value:.5g}")
