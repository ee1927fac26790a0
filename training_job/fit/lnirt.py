"""Fits LNIRT to a history of answers: marginal likelihood by EM for success, alternating means for time.

Stages: sums per student x topic x difficulty; EM (Bock & Aitkin 1981) with the ability on a grid; normal means for
time with outliers clipped; then practice effects and student x topic offsets (:mod:`training_job.fit.practice`),
fitted to one-step-ahead predictions. Every parameter has a prior, so that ten answers give a sane model and nothing
needs a special case for little data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chalicelib.domain.lnirt import (
    ABILITY_GRID,
    LOG_PRIOR,
    N_LEVELS,
    FloatArray,
    IntArray,
    LnirtParameters,
    TimeParameters,
    grid_log_likelihoods,
    sigmoid,
)
from training_job.fit.levels import SUCCESS_LEVELS, TIME_LEVELS, fit_levels
from training_job.fit.practice import fit_success_practice, fit_time_practice
from training_job.history.answers import AnswerTable

MIN_TIMED = 5
"""Timed answers below which no model of time is fitted."""

EM_ROUNDS = 20
TIME_ROUNDS = 10
CHUNK_ROWS = 60_000

DISCRIMINATION = 1.0
DISCRIMINATION_SD = 0.3
TOPIC_DISCRIMINATION_SD = 0.25
"""The mean discrimination's prior, and the spread of topics around it, in logits per standard deviation of ability."""

RESIDUAL_VARIANCE = 0.35
SPEED_VARIANCE = 0.15
VARIANCE_WEIGHT = 20.0
"""Prior variances of log seconds, and how many answers (or students) they count for."""


@dataclass(frozen=True, slots=True)
class _Sums:
    """Answers summed by student x cell, sorted by student; a cell is topic * 4 + level."""

    user: IntArray
    cell: IntArray
    attempts: FloatArray
    correct: FloatArray


def fit_lnirt(table: AnswerTable) -> LnirtParameters:
    """The model of a history. Raises ``ValueError`` for an empty table.

    How near the parameters come to those that answers were simulated from: docs/model.md, "Parameter recovery".
    """
    if not len(table):
        raise ValueError("there are no answers to fit")
    table, topics = _seen_topics(table)
    discrimination, easiness = _fit_success(_sum(table), len(topics))
    static = LnirtParameters(topics, discrimination, easiness, np.zeros((len(topics) + 1, 2)), 0.25, None)
    time = None
    if int(table.timed.sum()) >= MIN_TIMED:
        table = clipped_times(table)
        time = _fit_time(table, len(topics))
    return fit_time_practice(fit_success_practice(static, table), time, table)


def clipped_times(table: AnswerTable) -> AnswerTable:
    """The table with times pulled in to four robust standard deviations (of log seconds) around the median."""
    logs = np.log(table.seconds[table.timed])
    middle = float(np.median(logs))
    reach = 4.0 * max(1.4826 * float(np.median(np.abs(logs - middle))), 0.25)
    seconds = np.exp(np.clip(np.log(table.seconds), middle - reach, middle + reach))
    return AnswerTable(
        table.user, table.user_ids, table.topic, table.topics, table.difficulty, table.is_correct, seconds,
        table.at, table.order,
    )  # fmt: skip


def _seen_topics(table: AnswerTable) -> tuple[AnswerTable, tuple[str, ...]]:
    """The table with codes for the topics that have answers, and these topics."""
    seen, codes = np.unique(table.topic, return_inverse=True)
    topics = tuple(table.topics[code] for code in seen)
    return AnswerTable(
        table.user, table.user_ids, codes.astype(np.int32), topics, table.difficulty, table.is_correct,
        table.seconds, table.at, table.order,
    ), topics  # fmt: skip


def _cells(table: AnswerTable) -> IntArray:
    return table.topic.astype(np.int64) * N_LEVELS + table.difficulty - 1


def _sum(table: AnswerTable) -> _Sums:
    n_cells = len(table.topics) * N_LEVELS
    users = np.unique(table.user, return_inverse=True)[1].astype(np.int64)
    keys, group = np.unique(users * n_cells + _cells(table), return_inverse=True)
    attempts = np.bincount(group).astype(np.float64)
    return _Sums(keys // n_cells, keys % n_cells, attempts, np.bincount(group, weights=table.is_correct))


def _fit_success(sums: _Sums, n_topics: int) -> tuple[FloatArray, FloatArray]:
    """Discrimination (T+1,) and easiness (T+1, 4) by EM."""
    n_cells = n_topics * N_LEVELS
    attempts = np.bincount(sums.cell, weights=sums.attempts, minlength=n_cells)
    correct = np.bincount(sums.cell, weights=sums.correct, minlength=n_cells)
    rate = (correct + 1.0) / (attempts + 2.0)
    easiness = fit_levels(
        np.log(rate / (1 - rate)).reshape(-1, N_LEVELS), (attempts * rate * (1 - rate)).reshape(-1, N_LEVELS),
        SUCCESS_LEVELS,
    ).values  # fmt: skip
    discrimination = np.full(n_topics + 1, DISCRIMINATION)
    for _ in range(EM_ROUNDS):
        tried, right = _expected_counts(sums, discrimination, easiness, n_cells)
        easiness = _update_easiness(tried, right, discrimination, easiness)
        discrimination = _update_discrimination(tried, right, discrimination, easiness)
    return discrimination, easiness


def _expected_counts(
    sums: _Sums, discrimination: FloatArray, easiness: FloatArray, n_cells: int
) -> tuple[FloatArray, FloatArray]:
    """Attempts and correct answers per cell at each ability of the grid, two (C, G), given the students' posteriors."""
    log_right, log_wrong = grid_log_likelihoods(np.repeat(discrimination[:-1], N_LEVELS), easiness[:-1].ravel())
    tried, right = np.zeros((n_cells, len(ABILITY_GRID))), np.zeros((n_cells, len(ABILITY_GRID)))
    starts = np.append(np.flatnonzero(np.diff(sums.user, prepend=-1)), len(sums.user))
    begin = 0
    while begin < len(sums.user):
        end = int(starts[min(int(np.searchsorted(starts, begin + CHUNK_ROWS)), len(starts) - 1)])
        user, cell = sums.user[begin:end] - sums.user[begin], sums.cell[begin:end]
        n, c = sums.attempts[begin:end, None], sums.correct[begin:end, None]
        likelihood = c * log_right[cell] + (n - c) * log_wrong[cell]
        first = np.flatnonzero(np.diff(user, prepend=-1))
        posterior = np.add.reduceat(likelihood, first, axis=0) + LOG_PRIOR
        posterior = np.exp(posterior - posterior.max(axis=1, keepdims=True))
        posterior /= posterior.sum(axis=1, keepdims=True)
        by_cell = np.argsort(cell, kind="stable")
        cells, at = np.unique(cell[by_cell], return_index=True)
        weights = posterior[user[by_cell]]
        tried[cells] += np.add.reduceat(weights * n[by_cell], at, axis=0)
        right[cells] += np.add.reduceat(weights * c[by_cell], at, axis=0)
        begin = end
    return tried, right


def _curvature(
    tried: FloatArray, right: FloatArray, discrimination: FloatArray, easiness: FloatArray
) -> tuple[FloatArray, FloatArray]:
    p = sigmoid(np.repeat(discrimination[:-1], N_LEVELS)[:, None] * ABILITY_GRID + easiness[:-1].reshape(-1, 1))
    return right - tried * p, tried * p * (1 - p)


def _update_easiness(
    tried: FloatArray, right: FloatArray, discrimination: FloatArray, easiness: FloatArray
) -> FloatArray:
    score, weight = _curvature(tried, right, discrimination, easiness)
    information = weight.sum(axis=1)
    step = np.clip(score.sum(axis=1) / np.maximum(information, 1e-9), -2.0, 2.0)
    working = easiness[:-1].ravel() + step
    return fit_levels(working.reshape(-1, N_LEVELS), information.reshape(-1, N_LEVELS), SUCCESS_LEVELS).values


def _update_discrimination(
    tried: FloatArray, right: FloatArray, discrimination: FloatArray, easiness: FloatArray
) -> FloatArray:
    score, weight = _curvature(tried, right, discrimination, easiness)
    slope = (score @ ABILITY_GRID).reshape(-1, N_LEVELS).sum(axis=1)
    information = (weight @ ABILITY_GRID**2).reshape(-1, N_LEVELS).sum(axis=1)
    within, between = 1.0 / TOPIC_DISCRIMINATION_SD**2, 1.0 / DISCRIMINATION_SD**2
    mean = (within * discrimination[:-1].sum() + between * DISCRIMINATION) / (
        within * (len(discrimination) - 1) + between
    )
    step = (slope - within * (discrimination[:-1] - mean)) / (information + within)
    return np.append(np.clip(discrimination[:-1] + np.clip(step, -0.5, 0.5), 0.2, 3.0), mean)


def _fit_time(table: AnswerTable, n_topics: int) -> TimeParameters:
    """Intensities, residual variances and the spread of speed, by alternating between students and cells."""
    timed = table.timed
    logs, topic, cell = np.log(table.seconds[timed]), table.topic[timed], _cells(table)[timed]
    user = np.unique(table.user[timed], return_inverse=True)[1]
    count = np.bincount(cell, minlength=n_topics * N_LEVELS).astype(np.float64)
    of_topic = np.bincount(topic, minlength=n_topics).astype(np.float64)
    speed, speed_variance = np.zeros(user.max() + 1), SPEED_VARIANCE
    residual = np.full(n_topics, RESIDUAL_VARIANCE)
    for _ in range(TIME_ROUNDS):
        sums = np.bincount(cell, weights=logs + speed[user], minlength=n_topics * N_LEVELS)
        precision = count / np.repeat(residual, N_LEVELS)
        fit = fit_levels(
            (sums / np.maximum(count, 1.0)).reshape(-1, N_LEVELS), precision.reshape(-1, N_LEVELS), TIME_LEVELS
        )
        beyond = fit.values[:-1].ravel()[cell] - logs
        uncertainty = 1.0 / (np.bincount(user, weights=1.0 / residual[topic]) + 1.0 / speed_variance)
        speed = np.bincount(user, weights=beyond / residual[topic]) * uncertainty
        speed_variance = float(
            ((speed**2 + uncertainty).sum() + VARIANCE_WEIGHT * SPEED_VARIANCE) / (len(speed) + VARIANCE_WEIGHT)
        )
        squares = np.bincount(topic, weights=(beyond - speed[user]) ** 2 + uncertainty[user], minlength=n_topics)
        overall = (squares.sum() + VARIANCE_WEIGHT * RESIDUAL_VARIANCE) / (of_topic.sum() + VARIANCE_WEIGHT)
        residual = (squares + VARIANCE_WEIGHT * overall) / (of_topic + VARIANCE_WEIGHT)
    return TimeParameters(
        fit.values, fit.variances, np.append(residual, overall), np.zeros((n_topics + 1, 2)), speed_variance,
        0.1, -1.2816, 1.2816,
    )  # fmt: skip
