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
    return SeenState(state, model).summaries(wanted, now, population)


class SeenState:
    """A student's state as a model sees it: R rows, and what the model knows of each row's topic and difficulty.

    What is needed of a state are sums over its rows, of their numbers times constants of their topics, so that the
    work does not grow by more than some nanoseconds per row and number.
    """

    def __init__(self, state: UserState, model: LnirtParameters) -> None:
        self.state, self.model = state, model
        self.columns = columns = state.columns
        self.code_list = [model.code(topic) for topic in columns.topics]
        self._code = np.array(self.code_list, dtype=np.int64)
        self.level = columns.levels
        cell = self._code * N_LEVELS + self.level
        self._attempts, self._correct, self._timed, log_seconds = columns.statistics.T
        self._expected = model.expected_success().ravel().take(cell)
        self._beyond = self._correct - self._attempts * self._expected
        self._log_right = model.log_right.take(cell, axis=0)
        if model.time is None:
            self._timed = self._intensity = self._slow = np.zeros(len(columns))
        else:
            self._intensity = model.time.intensity.ravel().take(cell)
            self._slow = log_seconds - self._timed * self._intensity

    def summaries(self, wanted: Wanted, now: datetime | None, population: Population) -> Summaries:
        """What N predictions need, on topics and difficulties that may repeat."""
        asked = _Asked(self, list(dict.fromkeys(topic for topic, _ in wanted)), now)
        by_level = asked.by_level()
        ability, ability_sd, ability_if_wrong = self._abilities(asked)
        trait_success, trait_log_seconds = self._traits(asked, population)
        keys = keys_of_state(
            self.columns, self.code_list, asked.code_list, asked.topics, by_level[:, 0].sum(axis=1).tolist()
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
            "paths": population.paths.lookup(keys),
        }
        if len(asked.topics) < len(wanted):
            which = [asked.position[topic] for topic, _ in wanted]
            by_topic = {name: values.take(which, axis=0) for name, values in by_topic.items()}
        for_all = np.empty((7, len(wanted)))
        precision, weighted = self._speed()
        of_all = (self.state.n_answers, ability, ability_sd, precision, weighted, self._hours_any(now), self._n_topics)
        for_all.T[:] = of_all
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
        np.multiply(successes + failures, self._expected[:, None], out=expected)
        np.subtract(stored[:, LOG_SECONDS], self._intensity[:, None] * timed, out=beyond)
        return sums

    def hours_since(self, row: int, now: datetime | None) -> float:
        """Hours since a row's last answer, NaN where a time is not known."""
        last_at = float(self.columns.last_at[row])
        if now is None or math.isnan(last_at):
            return math.nan
        return max(now.timestamp() - last_at, 0.0) / 3600.0

    @property
    def _n_topics(self) -> int:
        return len(set(self.columns.topics))

    def _hours_any(self, now: datetime | None) -> float:
        if not len(self.columns):
            return math.nan
        return self.hours_since(int(self.columns.last_index.argmax()), now)

    def _abilities(self, asked: _Asked) -> tuple[float, float, FloatArray]:
        """Ability and its standard deviation, and ability had the last answer on each topic been wrong, (T,).

        Log P(wrong) is log P(correct) less the logit, and what is the same for all abilities does not count.
        """
        discrimination = self.model.discrimination
        failures = float((self._attempts - self._correct) @ discrimination.take(self._code))
        turned = np.zeros(1 + len(asked.topics))
        turned[1:] = (asked.last > 0) * discrimination.take(asked.code)
        log_likelihood = self._attempts @ self._log_right - (failures + turned)[:, None] * ABILITY_GRID
        ability, ability_sd = ability_from(log_likelihood)
        return float(ability[0]), float(ability_sd[0]), ability[1:]

    def _speed(self) -> tuple[float, float]:
        """The precision of the speed, and its weighted sum."""
        if self.model.time is None:
            return 0.0, 0.0
        weight = self.model.time.weight.take(self._code)
        return float(self._timed @ weight), -float(self._slow @ weight)

    def _traits(self, asked: _Asked, population: Population) -> tuple[FloatArray, FloatArray]:
        """What the traits foretell on each topic had its last answer been wrong, (T,) each."""
        traits = population.traits
        total = traits.total(self._code, self._attempts, self._beyond, self._timed, self._slow)
        scores = traits.scores_if_wrong(total, asked.code, (asked.last > 0).astype(np.float64))
        return traits.expected(asked.code, scores)


class _Asked:
    """T topics that are asked for, and which rows of a state are theirs.

    ``hours``, ``gap`` and ``last`` (T,): as in :class:`Summaries`.
    """

    def __init__(self, seen: SeenState, topics: list[str], now: datetime | None) -> None:
        self.topics, self.position = topics, {topic: i for i, topic in enumerate(topics)}
        self.code_list = [seen.model.code(topic) for topic in topics]
        self.code = np.array(self.code_list, dtype=np.int64)
        self._seen = seen
        self._rows = [row for row, topic in enumerate(seen.columns.topics) if topic in self.position]
        self._topic_of_row = [self.position[seen.columns.topics[row]] for row in self._rows]
        last_index = seen.columns.last_index
        latest: dict[int, int] = {}
        for topic, row in zip(self._topic_of_row, self._rows, strict=True):
            if topic not in latest or last_index[row] > last_index[latest[topic]]:
                latest[topic] = row
        n = len(topics)
        self.hours, self.gap, self.last = np.full(n, math.nan), np.zeros(n), np.zeros(n)
        for topic, row in latest.items():
            self.hours[topic] = seen.hours_since(row, now)
            self.gap[topic] = seen.state.n_answers - last_index[row]
            self.last[topic] = 2.0 * seen.columns.last_correct[row] - 1.0

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
