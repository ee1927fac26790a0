"""Trains one version from a history: LNIRT, the two networks over it, and how far to trust them.

Stages: LNIRT on the older answers; networks on the older answers with early stopping on the newest ones; scale,
temperature and interval chosen on the newest; then LNIRT, and every network that proved useful, once more on all
answers. The newest answers decide, the final version knows them too. That costs up to twice the training time, and
a stationary validation would be cheaper, but students' latest answers are the ones that serving resembles.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version as library_version
from typing import Any

import numpy as np

from chalicelib.domain.lnirt_json import to_json
from chalicelib.features.inputs import FEATURE_SCHEMA
from chalicelib.features.state import DECAY_ANSWERS, STATE_SCHEMA
from chalicelib.prediction.archive import read_keras
from chalicelib.prediction.network import Networks
from chalicelib.prediction.predictor import Predictor
from training_job.fit.networks import archive_bytes, rescaled
from training_job.fit.passes import Progress, Stage, TrainedNetwork, final_networks, stage_of, validated_networks
from training_job.fit.split import validation_rows
from training_job.history.answers import AnswerTable
from training_job.scores import against_lnirt, holdout_scores

MIN_SAMPLES = 10

_LOG = logging.getLogger("studysmart.training")


class TrainingSkipped(Exception):  # noqa: N818  (a decision with a reason, not an error)
    """There is nothing sensible to train on; the message is the reason."""


@dataclass(frozen=True, slots=True)
class TrainedVersion:
    """The four files of a version by name, what ``metadata.json`` says of them, and the version of the first stage,
    which has learnt from the older answers only (:func:`training_job.fit.split.validation_rows`)."""

    files: dict[str, bytes]
    metadata: dict[str, Any]
    validated: Predictor


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
    check_samples(table)
    _prepare_tensorflow(threads)
    newest = validation_rows(table)
    first = stage_of(table, ~newest, seed, on_progress)
    networks = validated_networks(first, table, newest, seed, on_progress)
    files = _files(first, networks)
    on_progress({"phase": "evaluate"})
    validated = _predictor(version, files)
    scores = holdout_scores(validated, table, newest)
    on_progress({"phase": "final"})
    final = stage_of(table, np.ones(len(table), dtype=np.bool_), seed, on_progress)
    finished = final_networks(final, networks, table, newest, seed, on_progress)
    stand_in = (replace(finished[0], fitted=networks[0].fitted), replace(finished[1], fitted=networks[1].fitted))
    if stand_in != networks:
        # A network was given up in the final pass: then the gate must not judge it either.
        validated = _predictor(version, _files(first, stand_in))
    metadata = _metadata(version, table, finished, scores, final.vocabulary.has_time)
    metadata["trained_seconds"] = round(time.monotonic() - begun, 2)
    return TrainedVersion(_files(final, finished), metadata, validated)


def check_samples(table: AnswerTable) -> None:
    """Raise TrainingSkipped for too few answers, or for answers that are all correct or all wrong."""
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


def _files(stage: Stage, networks: tuple[TrainedNetwork, TrainedNetwork]) -> dict[str, bytes]:
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
    version: str,
    table: AnswerTable,
    networks: tuple[TrainedNetwork, TrainedNetwork],
    scores: Mapping[str, Any],
    has_time: bool,
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
