"""What a prediction needs to know of a student's past, read from a stored practice state.

:mod:`chalicelib.features.history` computes the same numbers for every answer of a whole history; a property test
holds the two equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from chalicelib.domain.lnirt import (
    N_LEVELS,
    FloatArray,
    IntArray,
    LnirtParameters,
    ability_from,
    grid_log_likelihoods,
)
from chalicelib.features.paths import keys_of_state
from chalicelib.features.population import Population
from chalicelib.features.practice_state import (
    DECAY_ANSWERS,
    FAILURES,
    LOG_SECONDS,
    SUCCESSES,
    TIMED,
    StateRow,
    UserState,
)

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
    seen = _Seen(state, list(dict.fromkeys(topic for topic, _ in wanted)), model)
    which = np.array([seen.position[topic] for topic, _ in wanted])
    n = len(wanted)
    ability, ability_sd, ability_if_wrong = seen.abilities(model)
    precision, weighted = _speed_of_rows(model, seen.codes, seen.levels, seen.statistics)
    asked = np.array([model.code(topic) for topic in seen.position])
    trait_success, trait_log_seconds = seen.traits(asked, model, population)
    keys = keys_of_state(state.rows, seen.codes.tolist(), list(zip(seen.position, asked.tolist(), strict=True)))
    decayed = decayed_rows(state, model)
    by_level = seen.per_topic(seen.at_level())
    return Summaries(
        topic=asked[which],
        level=np.array([difficulty - 1 for _, difficulty in wanted]),
        n_answers=np.full(n, float(state.n_answers)),
        attempts=by_level[which, 0],
        correct=by_level[which, 1],
        timed=by_level[which, 2],
        log_seconds=by_level[which, 3],
        ability=np.repeat(ability, n),
        ability_sd=np.repeat(ability_sd, n),
        speed_precision=np.repeat(precision, n),
        speed_weighted=np.repeat(weighted, n),
        same=seen.per_topic(decayed)[which],
        overall=np.repeat(decayed.sum(axis=0)[None], n, axis=0),
        hours_topic=np.array([_hours_since(row, now) for row in seen.last])[which],
        hours_any=np.repeat(_hours_since(max(state.rows, key=_by_last, default=None), now), n),
        gap=np.array([0.0 if row is None else float(state.n_answers - row.last_index) for row in seen.last])[which],
        last=np.array([0.0 if row is None else 2.0 * row.last_correct - 1.0 for row in seen.last])[which],
        n_topics=np.full(n, float(len({row.topic for row in state.rows}))),
        ability_if_wrong=ability_if_wrong[which],
        trait_success=trait_success[which],
        trait_log_seconds=trait_log_seconds[which],
        paths=population.paths.lookup(keys)[which],
    )


class _Seen:
    """A state's rows as arrays, and which of T asked topics each belongs to."""

    def __init__(self, state: UserState, topics: Sequence[str], model: LnirtParameters) -> None:
        rows = state.rows
        self.position = {topic: i for i, topic in enumerate(topics)}
        self.codes = np.array([model.code(row.topic) for row in rows], dtype=np.int64)
        self.levels = np.array([row.difficulty - 1 for row in rows], dtype=np.int64)
        self.statistics = np.array(
            [(row.attempts, row.correct, row.timed, row.sum_log_seconds) for row in rows], dtype=np.float64
        ).reshape(-1, 4)
        self._topic = np.array([self.position.get(row.topic, -1) for row in rows], dtype=np.int64)
        self.last: list[StateRow | None] = [None] * len(topics)
        self._right: list[tuple[int, int]] = []
        at: dict[int, int] = {}
        for number, (topic, row) in enumerate(zip(self._topic.tolist(), rows, strict=True)):
            before = self.last[topic] if topic >= 0 else row
            if before is None or row.last_index > before.last_index:
                self.last[topic], at[topic] = row, number
        # Asked topics whose last answer was right, each with the row that it counts in.
        self._right = [(topic, number) for topic, number in at.items() if rows[number].last_correct]

    def at_level(self) -> FloatArray:
        """Each row's statistics at its level. Shape (R, 4, 4)."""
        spread = np.zeros((len(self.levels), 4, N_LEVELS))
        spread[np.arange(len(self.levels)), :, self.levels] = self.statistics
        return spread

    def per_topic(self, values: FloatArray) -> FloatArray:
        """The rows' values (R, ...) summed by asked topic, (T, ...)."""
        sums = np.zeros((len(self.position), *values.shape[1:]))
        kept = self._topic >= 0
        np.add.at(sums, self._topic[kept], values[kept])
        return sums

    def abilities(self, model: LnirtParameters) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Ability and its standard deviation, (1,) each, and had the last answer on each topic been wrong, (T,)."""
        right, wrong = grid_log_likelihoods(model.discrimination[self.codes], model.easiness[self.codes, self.levels])
        attempts, correct = self.statistics[:, 0], self.statistics[:, 1]
        sums = np.repeat((correct @ right + (attempts - correct) @ wrong)[None], 1 + len(self.position), axis=0)
        for topic, row in self._right:
            sums[1 + topic] += wrong[row] - right[row]
        ability, ability_sd = ability_from(sums)
        return ability[:1], ability_sd[:1], ability[1:]

    def traits(self, asked: IntArray, model: LnirtParameters, population: Population) -> tuple[FloatArray, FloatArray]:
        """What the traits foretell on each topic had its last answer been wrong, (T,) each."""
        attempts, correct, timed, log_seconds = self.statistics.T
        beyond_success = correct - attempts * model.expected_success()[self.codes, self.levels]
        if model.time is None:
            timed, slow = np.zeros(len(timed)), np.zeros(len(timed))
        else:
            slow = log_seconds - timed * model.time.intensity[self.codes, self.levels]
        traits = population.traits
        told = traits.evidence(self.codes, attempts, beyond_success, timed, slow)
        right, nothing = np.zeros(len(asked)), np.zeros(len(asked))
        right[[topic for topic, _ in self._right]] = 1.0
        sums = told.sum(axis=0) - traits.evidence(asked, nothing, right, nothing, nothing)
        return traits.expected(asked, traits.scores(sums))


def _by_last(row: StateRow) -> int:
    return row.last_index


def decayed_rows(state: UserState, model: LnirtParameters) -> FloatArray:
    """The summary's decayed sums of each row as of the student's next answer. Shape (R, 5, K)."""
    if not state.rows:
        return np.zeros((0, N_DECAYED, len(DECAY_ANSWERS)))
    codes = np.array([model.code(row.topic) for row in state.rows])
    levels = np.array([row.difficulty - 1 for row in state.rows])
    gap = np.array([float(state.n_answers - row.last_index) for row in state.rows])
    stored = np.stack([row.decayed for row in state.rows])
    stored = stored * np.exp(-gap[:, None] / DECAY_ANSWERS)[:, None, :]
    answers = stored[:, SUCCESSES] + stored[:, FAILURES]
    expected = model.expected_success()[codes, levels][:, None] * answers
    intensity = model.time.intensity[codes, levels] if model.time is not None else np.zeros(len(codes))
    beyond = stored[:, LOG_SECONDS] - intensity[:, None] * stored[:, TIMED]
    return np.stack([stored[:, SUCCESSES], stored[:, FAILURES], expected, beyond, stored[:, TIMED]], axis=1)


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


def _speed_of_rows(
    model: LnirtParameters, codes: IntArray, levels: IntArray, statistics: FloatArray
) -> tuple[FloatArray, FloatArray]:
    if model.time is None:
        return np.zeros(1), np.zeros(1)
    noise, intensity = model.time.residual_variance[codes], model.time.intensity[codes, levels]
    timed, log_seconds = statistics[:, 2], statistics[:, 3]
    weighted = (timed * intensity - log_seconds) / noise
    return (timed / noise).sum(keepdims=True), weighted.sum(keepdims=True)


def _hours_since(last: StateRow | None, now: datetime | None) -> float:
    if last is None or last.last_at is None or now is None:
        return math.nan
    return max((now - last.last_at).total_seconds(), 0.0) / 3600.0
