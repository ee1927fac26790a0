"""What a prediction needs to know of a student's past, read from a stored practice state.

:mod:`training_job.history.summaries` computes the same numbers for every answer of a whole history; a property test
holds the two equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property

import msgspec
import numpy as np

from chalicelib.domain.lnirt import (
    ABILITY_GRID,
    N_LEVELS,
    FloatArray,
    LnirtParameters,
    ability_moments,
    mean_and_sd,
)
from chalicelib.domain.numerics import OF_FLOATS, Column, Columns, Row
from chalicelib.features.constants import Knowledge
from chalicelib.features.population import Population
from chalicelib.features.sequences import Course
from chalicelib.features.state import DECAY_ANSWERS, LOG_SECONDS, UserState

Wanted = Sequence[tuple[str, int]]
"""Topic keys, each with a difficulty of 1..4."""

N_DECAYED = 5
"""Decayed sums of a summary: successes, failures, expected successes, log seconds beyond intensity, timed answers."""


class Summaries(msgspec.Struct, frozen=True):
    """The past as one prediction sees it, in floats, or as N see it, in arrays of N rows.

    ``topic`` row of the LNIRT parameters, ``level`` 0..3, ``n_answers``. Same topic by level, 4 columns each:
    ``attempts``, ``correct``, ``timed``, ``log_seconds``. ``ability``, ``ability_sd``, ``speed_precision``,
    ``speed_weighted``. ``same`` and ``overall``, 5 x K columns: decayed sums on the topic and over all topics.
    ``hours_topic``, ``hours_any``: hours since the last answer, NaN where there is none or no time is known.
    ``gap``: answers since the last one on the topic, that one included, 0 for none; ``last``: 1 where that one was
    right, -1 where it was wrong, 0 for none; ``n_topics`` met so far. ``ability_if_wrong``, and what the student's
    traits foretell beyond the topic's means, ``trait_success`` and ``trait_log_seconds``, take the last answer on the
    topic for wrong (:func:`chalicelib.features.inputs.dense_columns` says why). ``paths``, N_PATHS columns: how those
    fared who came the same way. Traits and paths are 0 where the population is not known.
    """

    topic: Row
    level: Row
    n_answers: Column
    attempts: Columns
    correct: Columns
    timed: Columns
    log_seconds: Columns
    ability: Column
    ability_sd: Column
    speed_precision: Column
    speed_weighted: Column
    same: Columns
    overall: Columns
    hours_topic: Column
    hours_any: Column
    last: Column
    ability_if_wrong: Column
    trait_success: Column
    trait_log_seconds: Column
    paths: Columns
    gap: Column
    n_topics: Column


def summarise_state(
    state: UserState,
    topic: str,
    difficulty: int,
    now: datetime | None,
    model: LnirtParameters,
    population: Population,
) -> Summaries:
    """One prediction for a student's state, on a topic key and a difficulty of 1..4."""
    return SeenState(state, Knowledge(model, population)).summary(topic, difficulty, now)


def summarise_many(
    state: UserState, wanted: Wanted, now: datetime | None, model: LnirtParameters, population: Population
) -> Summaries:
    """The same for N topics and difficulties: what is the same for all is computed once."""
    return SeenState(state, Knowledge(model, population)).summaries(wanted, now)


class SeenState:
    """A student's state as a version sees it: R rows, and what the version knows of each row's topic and difficulty.

    ``codes`` (R,): rows of the LNIRT parameters.
    """

    def __init__(self, state: UserState, knowledge: Knowledge) -> None:
        self.state, self.knowledge = state, knowledge
        self.columns = state.columns
        self.codes = knowledge.model.codes(self.columns.topics)
        self._constants = knowledge.constants(self.codes, self.columns.levels)

    def summary(self, topic: str, difficulty: int, now: datetime | None) -> Summaries:
        """What one prediction needs."""
        (past,) = self._each([(topic, difficulty)], now)
        return past

    def summaries(self, wanted: Wanted, now: datetime | None) -> Summaries:
        """What N predictions need, on topics and difficulties that may repeat."""
        topics = dict(wanted)
        position = {topic: number for number, topic in enumerate(topics)}
        past = self._each(list(topics.items()), now)
        which = [position[topic] for topic, _ in wanted]
        columns = {
            name: np.array([getattr(one, name) for one in past]).take(which, axis=0)
            for name in Summaries.__struct_fields__
        }
        return Summaries(**{**columns, "level": np.array([difficulty - 1 for _, difficulty in wanted])})

    def _each(self, wanted: Wanted, now: datetime | None) -> list[Summaries]:
        """What each of N predictions needs."""
        model, population = self.knowledge.model, self.knowledge.population
        records = [_Record(self, topic, now) for topic, _ in wanted]
        told = self.knowledge.evidence(self.columns.statistics, self._constants)
        # A success that becomes a failure takes its logit out of the log-likelihood.
        slopes = [model.discrimination[record.code] if record.last > 0.0 else 0.0 for record in records]
        moments = ability_moments(
            told.log_likelihood - np.array([[0.0], *([slope] for slope in slopes)]) * ABILITY_GRID
        )
        (ability, ability_sd), *if_wrong = [mean_and_sd(one, OF_FLOATS) for one in moments.tolist()]
        foretold = population.traits.foretold_if_wrong(
            told.traits, [record.code for record in records], [record.last > 0.0 for record in records]
        )
        course = Course(self.columns, model.code)
        overall = self.decayed.sum(axis=2).tolist()
        hours_any, n_topics = self._hours_any(now), len(set(self.columns.topics))
        return [
            Summaries(
                topic=record.code,
                level=difficulty - 1,
                n_answers=float(self.state.n_answers),
                attempts=record.attempts,
                correct=record.correct,
                timed=record.timed,
                log_seconds=record.log_seconds,
                ability=ability,
                ability_sd=ability_sd,
                speed_precision=told.speed_precision,
                speed_weighted=told.speed_weighted,
                same=record.sums,
                overall=overall,
                hours_topic=record.hours,
                hours_any=hours_any,
                last=record.last,
                ability_if_wrong=ability_if_wrong,
                trait_success=trait_success,
                trait_log_seconds=trait_log_seconds,
                paths=population.paths.lookup_one(course.keys(record.code, topic, record.tries)),
                gap=record.gap,
                n_topics=float(n_topics),
            )
            for (topic, difficulty), record, (ability_if_wrong, _), (trait_success, trait_log_seconds) in zip(
                wanted, records, if_wrong, foretold, strict=True
            )
        ]

    @cached_property
    def decayed(self) -> FloatArray:
        """The summary's decayed sums of each row as of the student's next answer. Shape (5, K, R).

        Rows come last, so that numpy's inner loops are as long as the state.
        """
        stored, constants = self.columns.decayed.transpose(1, 2, 0), self._constants
        left = np.exp(_PER_ANSWER * (self.columns.last_index - self.state.n_answers))
        sums = np.empty((N_DECAYED, *left.shape))
        np.multiply(stored[:LOG_SECONDS], left, out=sums[:2])
        np.multiply(stored[LOG_SECONDS:], left, out=sums[3:])
        successes, failures, expected, beyond, timed = sums
        np.add(successes, failures, out=expected)
        expected *= self.knowledge.expected(constants)
        beyond -= self.knowledge.intensity(constants) * timed
        return sums

    def rows_of(self, topic: str) -> Sequence[int]:
        """The rows of a topic, at most one per level."""
        code = self.knowledge.model.code(topic)
        if code != self.knowledge.model.unknown:
            rows: list[int] = (self.codes == code).nonzero()[0].tolist()
            return rows
        return [row for row, other in enumerate(self.columns.topics) if other == topic]

    def _hours_any(self, now: datetime | None) -> float:
        if not len(self.columns):
            return math.nan
        return _hours_since(float(self.columns.last_at[self.columns.last_index.argmax()]), now)


class _Record:
    """What a student did on one topic, by the names of :class:`Summaries`.

    ``tries`` are the answers on it so far, and the successes among all but the last of them.
    """

    def __init__(self, seen: SeenState, topic: str, now: datetime | None) -> None:
        self.code = seen.knowledge.model.code(topic)
        statistics = [[0.0] * N_LEVELS for _ in range(4)]
        self.attempts, self.correct, self.timed, self.log_seconds = statistics
        self.sums, self.hours, self.gap, self.last = _NO_SUMS, math.nan, 0.0, 0.0
        rows = seen.rows_of(topic)
        if rows:
            self.sums = seen.decayed.take(rows, axis=2).sum(axis=2).tolist()
            latest = -1.0
            for difficulty, *counts, _, _, index, right, at in seen.columns.numbers.take(rows, axis=0).tolist():
                for by_level, count in zip(statistics, counts, strict=True):
                    by_level[int(difficulty) - 1] = count
                if index > latest:
                    latest, self.last, self.hours = index, 2.0 * right - 1.0, _hours_since(at, now)
            self.gap = seen.state.n_answers - latest
        self.tries = (int(sum(self.attempts)), int(sum(self.correct)) - (self.last > 0.0))


_PER_ANSWER: FloatArray = 1.0 / DECAY_ANSWERS[:, None]
_NO_SUMS = [[0.0] * len(DECAY_ANSWERS)] * N_DECAYED


def _hours_since(at: float, now: datetime | None) -> float:
    """Hours since a time in seconds since the epoch, NaN where one of the two is not known."""
    return math.nan if now is None or math.isnan(at) else max(now.timestamp() - at, 0.0) / 3600.0
