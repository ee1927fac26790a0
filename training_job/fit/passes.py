"""The two passes over a history: networks that the newest answers judge, and networks that know them too."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import LnirtParameters
from chalicelib.domain.lnirt_json import rounded
from chalicelib.prediction.vocabulary import Vocabulary
from training_job.fit.calibrate import PRIOR_ONLY, Calibration, beats_prior, calibrated
from training_job.fit.lnirt import clipped_times, fit_lnirt
from training_job.fit.networks import NetworkShape, build_network
from training_job.fit.optimise import FittedNetwork, fit_members, fit_network, predict_rows
from training_job.fit.practice import interval_quantiles
from training_job.fit.samples import Samples, build_vocabulary, read_history_by_others, samples_of, spread_of
from training_job.history.answers import AnswerTable

MEMBERS, MANY_ANSWERS = 3, 50_000
"""Networks whose mean is published, and the answers from which it is more than one: before, it gains nothing."""

_LOG = logging.getLogger("studysmart.training")

Progress = Callable[[Mapping[str, Any]], None]
Rows = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Stage:
    """LNIRT, vocabulary and samples of one pass over the history."""

    lnirt: LnirtParameters
    vocabulary: Vocabulary
    samples: tuple[Samples, Samples]


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """A trained network with its calibration; ``low`` and ``high`` belong to the time's interval."""

    fitted: FittedNetwork
    calibration: Calibration
    low: float = -1.2816
    high: float = 1.2816


def stage_of(table: AnswerTable, known: Rows, seed: int, on_progress: Progress) -> Stage:
    """Everything that is computed before the networks, from the ``known`` rows only."""
    on_progress({"phase": "lnirt"})
    lnirt = rounded(fit_lnirt(table.select(known)))
    on_progress({"phase": "features"})
    vocabulary = build_vocabulary(table, known, lnirt)
    history = read_history_by_others(table, known, lnirt, vocabulary, seed)
    mean, scale = spread_of(history.dense[known])
    vocabulary = replace(vocabulary, mean=mean, scale=scale)
    targets = clipped_times(table) if table.timed.any() else table
    return Stage(lnirt, vocabulary, samples_of(targets, lnirt, vocabulary, history))


def _shapes(stage: Stage) -> tuple[NetworkShape, NetworkShape]:
    vocabulary = stage.vocabulary
    layouts = (("correctness", vocabulary.correctness_pooled), ("time", vocabulary.time_pooled))
    correctness, timing = (
        NetworkShape(name, len(vocabulary.topics) + 1, len(vocabulary.users) + 1, len(vocabulary.mean), layout.width)
        for name, layout in layouts
    )
    return correctness, timing


def validated_networks(
    stage: Stage, table: AnswerTable, newest: Rows, seed: int, on_progress: Progress
) -> tuple[TrainedNetwork, TrainedNetwork]:
    """Both networks trained on the older answers and calibrated on the newest ones."""
    shapes = _shapes(stage)
    return (
        _correctness(stage, shapes[0], table, newest, seed, on_progress),
        _timing(stage, shapes[1], table, newest, seed, on_progress),
    )


def _correctness(
    stage: Stage, shape: NetworkShape, table: AnswerTable, newest: Rows, seed: int, on_progress: Progress
) -> TrainedNetwork:
    samples = stage.samples[0]
    fitted = fit_network(samples, shape, ~newest, newest, seed=seed, on_progress=on_progress)
    judged = newest & _asked(samples)
    prior, output = samples.prior[judged], predict_rows(fitted.model, samples, judged)
    return TrainedNetwork(fitted, calibrated(prior, output, samples.target[judged], table.user[judged], binary=True))


def _timing(
    stage: Stage, shape: NetworkShape, table: AnswerTable, newest: Rows, seed: int, on_progress: Progress
) -> TrainedNetwork:
    samples, timed = stage.samples[1], table.timed
    if stage.lnirt.time is None or not (timed & ~newest).any():
        return TrainedNetwork(FittedNetwork(build_network(shape), shape, 0), PRIOR_ONLY)
    validated = newest & timed
    fitted = fit_network(samples, shape, ~newest & timed, validated, seed=seed, on_progress=on_progress)
    judged = validated & _asked(samples)
    prior, output = samples.prior[judged], predict_rows(fitted.model, samples, judged)
    calibration = calibrated(prior, output, samples.target[judged], table.user[judged], binary=False)
    spread = np.sqrt(samples.history.log_seconds_variance[judged])
    errors = table.log_seconds[judged] - (prior + calibration.scale * (output - prior))
    low, high = interval_quantiles(errors / spread)
    return TrainedNetwork(fitted, calibration, low, high)


def _asked(samples: Samples) -> Rows:
    """The answers for which serving asks a network at all. Shape (N,)."""
    return samples.history.topic_known & (samples.history.n_answers > 0)


def final_networks(
    stage: Stage,
    validated: tuple[TrainedNetwork, TrainedNetwork],
    table: AnswerTable,
    newest: Rows,
    seed: int,
    on_progress: Progress,
) -> tuple[TrainedNetwork, TrainedNetwork]:
    """Networks over the final LNIRT: trained on all answers where the residual is used, untrained where it is not.

    A network that even knows the newest answers and is worse than LNIRT on them went wrong: then LNIRT serves.
    """
    rows = (np.ones(len(table), dtype=np.bool_), table.timed)
    finished: list[TrainedNetwork] = []
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


def _prior_only(lnirt: LnirtParameters, network: TrainedNetwork) -> TrainedNetwork:
    """The network at scale 0, which is exactly LNIRT, with LNIRT's own interval of time."""
    if lnirt.time is None:
        return replace(network, calibration=PRIOR_ONLY)
    return replace(network, calibration=PRIOR_ONLY, low=lnirt.time.low, high=lnirt.time.high)
