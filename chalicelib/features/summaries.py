"""What a prediction needs to know of a student's past, read from a stored practice state.

:mod:`chalicelib.features.history` computes the same numbers for every answer of a whole history; a property test
holds the two equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np

from chalicelib.domain.lnirt import ABILITY_GRID, N_LEVELS, FloatArray, IntArray, LnirtParameters, ability_from
from chalicelib.features.knowledge import Evidence, Knowledge
from chalicelib.features.paths import keys_of_state
from chalicelib.features.population import Population
from chalicelib.features.practice_state import DECAY_ANSWERS, FAILURES, LOG_SECONDS, SUCCESSES, TIMED, UserState

Wanted = Sequence[tuple[str, int]]
"""Topic keys, each with a difficulty of 1..4."""

N_DECAYED = 5
"""Decayed sums of a summary: successes, failures, expected successes, log seconds beyond intensity, timed answers."""


@dataclass(frozen=True, slots=True)
class Summaries:
    """The past as N predictions see it.

    ``topic`` (N,) rows of the LNIRT parameters, ``level`` (N,) 0..3, ``n_answers`` (N,). Same topic by level, (N, 4):
    ``attempts``, ``correct``, ``timed``, ``log_seconds``. ``ability``, ``ability_sd``, ``speed_precision``,
    ``speed_weighted`` (N,). ``same`` and ``overall`` (N, 5, K): decayed sums on the topic and over all topics.
    ``hours_topic``, ``hours_any`` (N,): hours since the last answer, NaN where there is none or no time is known.
    ``gap`` (N,): answers since the last one on the topic, that one included, 0 for none; ``last`` (N,): 1 where that
    one was right, -1 where it was wrong, 0 for none; ``n_topics`` (N,) met so far. ``ability_if_wrong`` (N,), and what
    the student's traits foretell beyond the topic's means, ``trait_success`` and ``trait_log_seconds`` (N,), take the
    last answer on the topic for wrong (:func:`chalicelib.features.inputs.dense_columns` says why). ``paths`` (N,
    N_PATHS): how those fared who came the same way. Traits and paths are 0 where the population is not known.
    """

    topic: IntArray
    level: IntArray
    n_answers: FloatArray
    attempts: FloatArray
    correct: FloatArray
    timed: FloatArray
    log_seconds: FloatArray
    ability: FloatArray
    ability_sd: FloatArray
    speed_precision: FloatArray
    speed_weighted: FloatArray
    same: FloatArray
    overall: FloatArray
    hours_topic: FloatArray
    hours_any: FloatArray
    last: FloatArray
    ability_if_wrong: FloatArray
    trait_success: FloatArray
    trait_log_seconds: FloatArray
    paths: FloatArray
    gap: FloatArray
    n_topics: FloatArray


def summarise_state(
    state: UserState,
    topic: str,
    difficulty: int,
    now: datetime | None,
    model: LnirtParameters,
    population: Population,
) -> Summaries:
    """One prediction (N = 1) for a student's state, on a topic key and a difficulty of 1..4."""
    return summarise_many(state, [(topic, difficulty)], now, model, population)


def summarise_many(
    state: UserState, wanted: Wanted, now: datetime | None, model: LnirtParameters, population: Population
) -> Summaries:
    """The same for several topics and difficulties: what is the same for all is computed once."""
    return SeenState(state, Knowledge(model, population)).summaries(wanted, now)


class SeenState:
    """A student's state as a version sees it: R rows, and what the version knows of each row's topic and difficulty."""

    def __init__(self, state: UserState, knowledge: Knowledge) -> None:
        self.state, self.knowledge = state, knowledge
        self.columns = state.columns
        self.code_list = [knowledge.model.code(topic) for topic in self.columns.topics]
        self.level = self.columns.levels
        self._constants = knowledge.constants(np.array(self.code_list, dtype=np.int64), self.level)

    def summaries(self, wanted: Wanted, now: datetime | None) -> Summaries:
        """What N predictions need, on topics and difficulties that may repeat."""
        asked = _Asked(self, list(dict.fromkeys(topic for topic, _ in wanted)), now)
        by_level = asked.by_level()
        told = self.knowledge.evidence(self.columns.statistics, self._constants)
        ability, ability_sd, ability_if_wrong = self._abilities(told, asked)
        trait_success, trait_log_seconds = self._traits(told, asked)
        keys = keys_of_state(
            self.columns,
            self.code_list,
            asked.code_list,
            asked.topics,
            by_level[:, 0].sum(axis=1).tolist(),
            (by_level[:, 1].sum(axis=1) - (asked.last > 0)).tolist(),
        )
        by_topic: dict[str, Any] = {
            "topic": asked.code,
            "attempts": by_level[:, 0],
            "correct": by_level[:, 1],
            "timed": by_level[:, 2],
            "log_seconds": by_level[:, 3],
            "same": asked.same(),
            "hours_topic": asked.hours,
            "gap": asked.gap,
            "last": asked.last,
            "ability_if_wrong": ability_if_wrong,
            "trait_success": trait_success,
            "trait_log_seconds": trait_log_seconds,
            "paths": self.knowledge.population.paths.lookup_few(keys),
        }
        if len(asked.topics) < len(wanted):
            which = [asked.position[topic] for topic, _ in wanted]
            by_topic = {name: values.take(which, axis=0) for name, values in by_topic.items()}
        for_all = np.empty((7, len(wanted)))
        for_all.T[:] = (
            self.state.n_answers,
            ability,
            ability_sd,
            told.speed_precision,
            told.speed_weighted,
            self._hours_any(now),
            len(set(self.columns.topics)),
        )
        n_answers, abilities, ability_sds, precisions, weights, hours_any, n_topics = for_all
        return Summaries(
            level=np.array([difficulty - 1 for _, difficulty in wanted]),
            n_answers=n_answers,
            ability=abilities,
            ability_sd=ability_sds,
            speed_precision=precisions,
            speed_weighted=weights,
            overall=np.repeat(self.decayed.sum(axis=0)[None], len(wanted), axis=0),
            hours_any=hours_any,
            n_topics=n_topics,
            **by_topic,
        )

    @cached_property
    def decayed(self) -> FloatArray:
        """The summary's decayed sums of each row as of the student's next answer. Shape (R, 5, K)."""
        gap = self.columns.last_index - self.state.n_answers
        stored = self.columns.decayed * np.exp(gap[:, None] / DECAY_ANSWERS)[:, None, :]
        sums = np.empty((len(gap), N_DECAYED, len(DECAY_ANSWERS)))
        successes, failures, expected, beyond, timed = sums.transpose(1, 0, 2)
        successes[:], failures[:], timed[:] = stored[:, SUCCESSES], stored[:, FAILURES], stored[:, TIMED]
        constants = self._constants
        np.multiply(successes + failures, self.knowledge.expected(constants)[:, None], out=expected)
        np.subtract(stored[:, LOG_SECONDS], self.knowledge.intensity(constants)[:, None] * timed, out=beyond)
        return sums

    def hours_since(self, row: int, now: datetime | None) -> float:
        """Hours since a row's last answer, NaN where a time is not known."""
        last_at = float(self.columns.last_at[row])
        if now is None or math.isnan(last_at):
            return math.nan
        return max(now.timestamp() - last_at, 0.0) / 3600.0

    def _hours_any(self, now: datetime | None) -> float:
        if not len(self.columns):
            return math.nan
        return self.hours_since(int(self.columns.last_index.argmax()), now)

    def _abilities(self, told: Evidence, asked: _Asked) -> tuple[float, float, FloatArray]:
        """Ability and its standard deviation, and ability had the last answer on each topic been wrong, (T,).

        A success that becomes a failure takes its logit out of the log-likelihood.
        """
        discrimination = self.knowledge.model.discrimination
        slopes = [
            discrimination[code] if right else 0.0 for code, right in zip(asked.code_list, asked.right, strict=True)
        ]
        ability, ability_sd = ability_from(
            told.log_likelihood - np.array([[0.0], *([slope] for slope in slopes)]) * ABILITY_GRID
        )
        return float(ability[0]), float(ability_sd[0]), ability[1:]

    def _traits(self, told: Evidence, asked: _Asked) -> tuple[FloatArray, FloatArray]:
        """What the traits foretell on each topic had its last answer been wrong, (T,) each."""
        traits = self.knowledge.population.traits
        return traits.expected(asked.code, traits.scores_if_wrong(told.traits, asked.code, asked.right))


class _Asked:
    """T topics that are asked for, and which rows of a state are theirs.

    ``hours``, ``gap`` and ``last`` (T,): as in :class:`Summaries`; ``right`` (T,): whether the last answer was.
    """

    def __init__(self, seen: SeenState, topics: list[str], now: datetime | None) -> None:
        self.topics, self.position = topics, {topic: i for i, topic in enumerate(topics)}
        self.code_list = [seen.knowledge.model.code(topic) for topic in topics]
        self.code = np.array(self.code_list, dtype=np.int64)
        self._seen = seen
        self._rows = [row for row, topic in enumerate(seen.columns.topics) if topic in self.position]
        self._topic_of_row = [self.position[seen.columns.topics[row]] for row in self._rows]
        last_index = seen.columns.last_index
        latest: dict[int, int] = {}
        for topic, row in zip(self._topic_of_row, self._rows, strict=True):
            if topic not in latest or last_index[row] > last_index[latest[topic]]:
                latest[topic] = row
        rows = [latest.get(number) for number in range(len(topics))]
        self.hours = np.array([math.nan if row is None else seen.hours_since(row, now) for row in rows])
        self.gap = np.array([0.0 if row is None else seen.state.n_answers - last_index[row] for row in rows])
        right = seen.columns.last_correct
        self.last = np.array([0.0 if row is None else 2.0 * right[row] - 1.0 for row in rows])
        self.right = self.last > 0

    def by_level(self) -> FloatArray:
        """Attempts, correct, timed and log seconds on each topic by level. Shape (T, 4, 4)."""
        statistics = np.zeros((len(self.topics), 4, N_LEVELS))
        if self._rows:
            found = self._seen.columns.statistics.take(self._rows, axis=0)
            statistics[self._topic_of_row, :, self._seen.level.take(self._rows)] = found
        return statistics

    def same(self) -> FloatArray:
        """Decayed sums on each topic. Shape (T, 5, K)."""
        sums = np.zeros((len(self.topics), N_DECAYED, len(DECAY_ANSWERS)))
        if self._rows:
            np.add.at(sums, self._topic_of_row, self._seen.decayed.take(self._rows, axis=0))
        return sums


def answer_steps(
    topic: IntArray,
    level: IntArray,
    correct: FloatArray,
    timed: FloatArray,
    log_seconds: FloatArray,
    model: LnirtParameters,
) -> FloatArray:
    """What each answer adds to the decayed sums of a summary. All (n,); the result is (n, 5)."""
    expected = model.expected_success()[topic, level]
    intensity = model.time.intensity[topic, level] if model.time is not None else 0.0
    return np.stack([correct, 1.0 - correct, expected, timed * (log_seconds - intensity), timed], axis=1)
