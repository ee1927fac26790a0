"""The two steps of a training: networks that the newest answers validate, and that then learn from them too."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from chalicelib.domain.lnirt import FloatArray, LnirtParameters
from chalicelib.domain.lnirt_json import rounded
from chalicelib.features.constants import VersionConstants
from chalicelib.prediction.interval import TimeInterval
from chalicelib.prediction.vocabulary import Vocabulary
from training_job.execution import INLINE, Execution
from training_job.fit.calibrate import PRIOR_ONLY, Calibration, beats_prior, calibrated
from training_job.fit.lnirt import clipped_times, fit_lnirt
from training_job.fit.networks import NetworkShape, build_network
from training_job.fit.optimise import FittedNetwork, Progress, fit_network, go_on, outputs_of
from training_job.fit.population import Population
from training_job.fit.practice import NORMAL_INTERVAL, interval_of
from training_job.fit.samples import (
    Samples,
    build_vocabulary,
    fit_constants,
    read_history_by_others,
    samples_of,
    spread_of,
)
from training_job.history.answers import AnswerTable, Rows

MEMBERS, MANY_ANSWERS = 2, 50_000
"""Number of members of a network, and the number of answers from which it has more than one."""

_LOG = logging.getLogger("studysmart.training")


class Part(NamedTuple):
    """One of the two networks in a stage: its shape, its samples, and the answers that it can learn from."""

    shape: NetworkShape
    samples: Samples
    known: Rows


@dataclass(frozen=True, slots=True)
class Stage:
    """LNIRT, vocabulary and the two networks' parts in one pass over a history."""

    population: Population
    lnirt: LnirtParameters
    vocabulary: Vocabulary
    correctness: Part
    time: Part

    @property
    def table(self) -> AnswerTable:
        """The answers that the networks learn from. Masks (n,) of a stage are of these."""
        return self.population.sample


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """A trained network with its calibration, and the interval of the times."""

    fitted: FittedNetwork
    calibration: Calibration
    interval: TimeInterval = NORMAL_INTERVAL


def stage_of(
    population: Population,
    known: Rows,
    seed: int,
    on_progress: Progress,
    execution: Execution = INLINE,
    statistics: VersionConstants | None = None,
) -> Stage:
    """Return all that is computed before the networks are trained, from the ``known`` (n,) answers of the sample.

    ``statistics`` come from older answers of other students too, and are fitted if they are not given.
    """
    table, older = population.sample, population.older(known)
    statistics = statistics or statistics_of(population.everything.select(older))
    lnirt = statistics.lnirt
    on_progress({"phase": "features"})
    vocabulary = build_vocabulary(table, known, statistics)
    history = read_history_by_others(population, older, lnirt, vocabulary, seed, execution)
    mean, scale = spread_of(history.dense, known)
    vocabulary = replace(vocabulary, mean=mean, scale=scale)
    targets = clipped_times(table) if table.timed.any() else table
    correctness, time = samples_of(targets, lnirt, vocabulary, history)
    sizes = (len(vocabulary.topics) + 1, len(vocabulary.users) + 1, len(mean))
    timed = table.timed if lnirt.time is not None else np.zeros_like(known)
    return Stage(
        population,
        lnirt,
        vocabulary,
        Part(
            NetworkShape("correctness", *sizes, vocabulary.correctness_pooled.width), correctness, np.ones_like(known)
        ),
        Part(NetworkShape("time", *sizes, vocabulary.time_pooled.width), time, timed),
    )


def validated_networks(
    stage: Stage, newest: Rows, seed: int, on_progress: Progress
) -> tuple[TrainedNetwork, TrainedNetwork]:
    """Train both networks on the older answers, and calibrate them on the ``newest`` (N,) ones."""
    correctness = _validated(stage, stage.correctness, newest, seed, on_progress)
    return correctness, _validated(stage, stage.time, newest, seed, on_progress)


def _validated(stage: Stage, part: Part, newest: Rows, seed: int, on_progress: Progress) -> TrainedNetwork:
    older = part.known & ~newest
    if not older.any():
        return TrainedNetwork(_untrained(part), PRIOR_ONLY)
    fitted = fit_network(
        part.samples,
        part.shape,
        older,
        part.known & newest,
        members=MEMBERS if int(part.known.sum()) >= MANY_ANSWERS else 1,
        seed=seed,
        on_progress=on_progress,
    )
    judged, prior, output, target = _judged(part, fitted, newest)
    binary = part.shape.binary
    calibration = calibrated(prior, output, target, stage.table.user[judged], binary=binary)
    if binary:
        return TrainedNetwork(fitted, calibration)
    spread = np.sqrt(part.samples.history.log_seconds_variance[judged])
    predicted = prior + calibration.scale * (output - prior)
    errors = stage.table.log_seconds[judged] - predicted
    return TrainedNetwork(fitted, calibration, interval_of(errors / spread, predicted))


def _untrained(part: Part) -> FittedNetwork:
    return FittedNetwork(build_network(part.shape), part.shape, 0)


def _judged(part: Part, fitted: FittedNetwork, newest: Rows) -> tuple[Rows, FloatArray, FloatArray, FloatArray]:
    """Return the ``newest`` answers for which serving would use the network, with their priors, outputs and targets."""
    samples = part.samples
    rows = newest & part.known & samples.history.topic_known & (samples.history.n_answers > 0)
    return rows, samples.prior[rows], outputs_of(fitted, samples, rows), samples.target[rows]


def statistics_of(table: AnswerTable) -> VersionConstants:
    """Return LNIRT, traits, sequences and items of a table."""
    return fit_constants(table, rounded(fit_lnirt(table)))


def both_statistics(population: Population, known: Rows) -> tuple[VersionConstants, VersionConstants]:
    """Return the statistics of a pass that learns from ``known`` (n,) of the sample, and those of all answers.

    They are fitted at the same time, because much of a fit uses one processor.
    """
    tables = [population.everything.select(population.older(known)), population.everything]
    with ThreadPoolExecutor(len(tables)) as threads:
        older, everything = threads.map(statistics_of, tables)
    return older, everything


def with_statistics(stage: Stage, final: VersionConstants) -> Stage:
    """Return the stage with LNIRT, traits, sequences and items that come from all answers.

    The vocabulary keeps mean and scale of the columns, because the networks were trained with them.
    """
    vocabulary = replace(
        stage.vocabulary,
        traits=final.traits,
        sequences=final.sequences,
        items=final.items,
        has_time=final.lnirt.time is not None,
    )
    return replace(stage, lnirt=final.lnirt, vocabulary=vocabulary)


def final_networks(
    stage: Stage, validated: tuple[TrainedNetwork, TrainedNetwork], newest: Rows, seed: int, on_progress: Progress
) -> tuple[TrainedNetwork, TrainedNetwork]:
    """Train each network that is used on the newest answers too, and leave the other ones untrained.

    A network that has learnt from the newest answers and is still worse than LNIRT on them went wrong: LNIRT serves.
    """
    correctness = _final(stage, stage.correctness, validated[0], newest, seed, on_progress)
    return correctness, _final(stage, stage.time, validated[1], newest, seed, on_progress)


def _final(
    stage: Stage, part: Part, network: TrainedNetwork, newest: Rows, seed: int, on_progress: Progress
) -> TrainedNetwork:
    if network.calibration.scale > 0.0:
        # LNIRT predicts an unknown topic by the average one here, and by its own parameters in the version.
        learnable = part.known & part.samples.history.topic_known
        fitted = go_on(network.fitted, part.samples, learnable, newest, seed=seed, on_progress=on_progress)
        _, prior, output, target = _judged(part, fitted, newest)
        if beats_prior(prior, output, target, network.calibration, binary=part.shape.binary):
            return replace(network, fitted=fitted)
        _LOG.warning("the final %s network is worse than LNIRT on the newest answers: LNIRT serves", part.shape.name)
        network = replace(network, calibration=PRIOR_ONLY)
        if stage.lnirt.time is not None:
            network = replace(network, interval=TimeInterval.constant(stage.lnirt.time.low, stage.lnirt.time.high))
    return replace(network, fitted=_untrained(part))
