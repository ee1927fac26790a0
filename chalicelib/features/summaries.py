"""What a prediction needs to know of a student's past, read from a stored practice state.

:mod:`chalicelib.features.history` computes the same numbers for every answer of a whole history; a property test
holds the two equal.
"""

from __future__ import annotations

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
from chalicelib.features.practice_state import (
    DECAY_ANSWERS,
    FAILURES,
    LOG_SECONDS,
    SUCCESSES,
    TIMED,
    StateRow,
    UserState,
)

N_DECAYED = 5
"""Decayed sums of a summary: successes, failures, expected successes, log seconds beyond intensity, timed answers."""


@dataclass(frozen=True, slots=True)
class Summaries:
    """The past as N predictions see it.

    ``topic`` (N,) rows of the LNIRT parameters, ``level`` (N,) 0..3, ``n_answers`` (N,). Same topic by level, (N, 4):
    ``attempts``, ``correct``, ``timed``, ``log_seconds``. ``ability``, ``ability_sd``, ``speed_precision``,
    ``speed_weighted`` (N,). ``same`` and ``overall`` (N, 5, K): decayed sums on the topic and over all topics.
    ``hours_topic``, ``hours_any`` (N,): hours since the last answer, NaN where there is none or no time is known.
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


def summarise_state(
    state: UserState, topic: str, difficulty: int, now: datetime | None, model: LnirtParameters
) -> Summaries:
    """One prediction (N = 1) for a student's state, on a topic key and a difficulty of 1..4."""
    rows = state.rows
    code = model.code(topic)
    codes = np.array([model.code(row.topic) for row in rows], dtype=np.int64)
    levels = np.array([row.difficulty - 1 for row in rows], dtype=np.int64)
    statistics = np.array(
        [(row.attempts, row.correct, row.timed, row.sum_log_seconds) for row in rows], dtype=np.float64
    ).reshape(-1, 4)
    is_same = np.array([row.topic == topic for row in rows], dtype=np.bool_)
    by_level = np.zeros((4, N_LEVELS))
    np.add.at(by_level.T, levels[is_same], statistics[is_same])
    ability, ability_sd = _ability_of_rows(model, codes, levels, statistics)
    precision, weighted = _speed_of_rows(model, codes, levels, statistics)
    decayed = decayed_rows(state, model)
    return Summaries(
        topic=np.array([code]),
        level=np.array([difficulty - 1]),
        n_answers=np.array([float(state.n_answers)]),
        attempts=by_level[0:1],
        correct=by_level[1:2],
        timed=by_level[2:3],
        log_seconds=by_level[3:4],
        ability=ability,
        ability_sd=ability_sd,
        speed_precision=precision,
        speed_weighted=weighted,
        same=decayed[is_same].sum(axis=0)[None],
        overall=decayed.sum(axis=0)[None],
        hours_topic=_hours_since([row for row in rows if row.topic == topic], now),
        hours_any=_hours_since(list(rows), now),
    )


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


def _ability_of_rows(
    model: LnirtParameters, codes: IntArray, levels: IntArray, statistics: FloatArray
) -> tuple[FloatArray, FloatArray]:
    right, wrong = grid_log_likelihoods(model.discrimination[codes], model.easiness[codes, levels])
    attempts, correct = statistics[:, 0], statistics[:, 1]
    return ability_from((correct @ right + (attempts - correct) @ wrong)[None])


def _speed_of_rows(
    model: LnirtParameters, codes: IntArray, levels: IntArray, statistics: FloatArray
) -> tuple[FloatArray, FloatArray]:
    if model.time is None:
        return np.zeros(1), np.zeros(1)
    noise, intensity = model.time.residual_variance[codes], model.time.intensity[codes, levels]
    timed, log_seconds = statistics[:, 2], statistics[:, 3]
    weighted = (timed * intensity - log_seconds) / noise
    return (timed / noise).sum(keepdims=True), weighted.sum(keepdims=True)


def _hours_since(rows: list[StateRow], now: datetime | None) -> FloatArray:
    last = max(rows, key=lambda row: row.last_index, default=None)
    if last is None or last.last_at is None or now is None:
        return np.array([np.nan])
    return np.array([max((now - last.last_at).total_seconds(), 0.0) / 3600.0])
