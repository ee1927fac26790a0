"""Fits LNIRT to a history of answers: success by marginal likelihood (EM), time by alternating means.

Stages: sums per student, topic and difficulty; EM with the ability on a grid (Bock & Aitkin 1981); normal means of the
log seconds, with outliers clipped; then the practice effects and offsets (:mod:`training_job.fit.practice`). Every
parameter has a prior, so ten answers give a sane model and nothing needs a special case for little data.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
from chalicelib.domain.topics import split_key
from training_job.fit.forgetting import fit_forgetting
from training_job.fit.levels import SUCCESS_LEVELS, TIME_LEVELS, LevelFit, LevelPrior, fit_levels
from training_job.fit.practice import NORMAL_80, fit_success_practice, fit_time_practice
from training_job.history.answers import AnswerTable
from training_job.history.scan import group_bounds, group_chunks

MIN_TIMED = 5
"""Number of timed answers below which no model of time is fitted."""

MAX_TOPICS = 20_000
"""Maximum number of topics with parameters of their own, well below the bound of a version.

A less practised topic is predicted by the average topic, as an unknown one is.
"""

EM_ROUNDS = 20
TIME_ROUNDS = 10
CHUNK_ROWS = 60_000

DISCRIMINATION = 1.0
DISCRIMINATION_SD = 0.3
TOPIC_DISCRIMINATION_SD = 0.25
"""Prior of the mean discrimination, and the spread of topics around it, in logits per standard deviation of ability."""

RESIDUAL_VARIANCE, SPEED_VARIANCE = 0.35, 0.15
"""Prior variances of the residual and of the speed, in squared log seconds."""

PSEUDO_COUNT = 20.0
"""Number of answers (or students) for which a prior variance counts."""


_LOG = logging.getLogger("studysmart.training")


@dataclass(frozen=True, slots=True)
class Sums:
    """Answers summed by student and cell (topic * 4 + level), sorted by student. (n,) each.

    ``user`` numbers the students of the table that have answers.
    """

    user: IntArray
    cell: IntArray
    attempts: FloatArray
    correct: FloatArray


def fit_lnirt(table: AnswerTable) -> LnirtParameters:
    """Return the model of a history. Raises ValueError for an empty table.

    docs/model.md, "Parameter recovery", shows how well the parameters of simulated answers are recovered.
    """
    if not len(table):
        raise ValueError("there are no answers to fit")
    table = _most_practised(table)
    seen, codes = np.unique(table.topic, return_inverse=True)
    topics = tuple(table.topics[code] for code in seen)
    table = replace(table, topic=codes.astype(np.int32), topics=topics)
    subjects, subject = subjects_of(topics)
    discrimination, easiness = fit_success(sums_of(table), len(topics), subject=subject)
    practice = np.zeros((len(easiness), 2))
    static = LnirtParameters(topics, discrimination, easiness, practice, 0.25, None, subjects)
    time = None
    if int(table.timed.sum()) >= MIN_TIMED:
        table = clipped_times(table)
        time = _fit_time(table, len(topics), subject)
    return fit_time_practice(fit_forgetting(fit_success_practice(static, table), table), time, table)


def subjects_of(topics: Sequence[str]) -> tuple[tuple[str, ...], IntArray | None]:
    """Return the keys of the S subjects of T topic keys, and the topics' subjects (T,); no subjects if there is one."""
    names, codes = coded([split_key(topic)[0] for topic in topics])
    return (names, codes) if len(names) > 1 else ((), None)


def coded(names: Sequence[str]) -> tuple[tuple[str, ...], IntArray]:
    """Return the different names in the order of their first use, and the code (N,) of each name."""
    known: dict[str, int] = {}
    codes = np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int64)
    return tuple(known), codes


def _most_practised(table: AnswerTable) -> AnswerTable:
    """Return the answers on the topics that are fitted."""
    answers = np.bincount(table.topic, minlength=len(table.topics))
    if np.count_nonzero(answers) <= MAX_TOPICS:
        return table
    kept = np.argsort(-answers, kind="stable")[:MAX_TOPICS]
    _LOG.warning("%d topics are fitted, of %d: the most practised", MAX_TOPICS, np.count_nonzero(answers))
    return table.select(np.isin(table.topic, kept))


def clipped_times(table: AnswerTable) -> AnswerTable:
    """Return the table with log seconds clipped to four robust standard deviations around their median."""
    logs = np.log(table.seconds[table.timed])
    middle = float(np.median(logs))
    # The median absolute deviation times 1.4826 is the standard deviation of a normal distribution.
    reach = 4.0 * max(1.4826 * float(np.median(np.abs(logs - middle))), 0.25)
    return replace(table, seconds=np.exp(np.clip(np.log(table.seconds), middle - reach, middle + reach)))


def _cells(table: AnswerTable) -> IntArray:
    return table.topic * N_LEVELS + table.level


def _fit_cells(observed: FloatArray, weight: FloatArray, prior: LevelPrior, subject: IntArray | None) -> LevelFit:
    """Smooth the observed values of cells (C,) of precision ``weight`` (C,)."""
    return fit_levels(observed.reshape(-1, N_LEVELS), weight.reshape(-1, N_LEVELS), prior, subject)


def sums_of(table: AnswerTable) -> Sums:
    """Sum a table's answers."""
    n_cells = len(table.topics) * N_LEVELS
    users = np.unique(table.user, return_inverse=True)[1].astype(np.int64)
    keys, group = np.unique(users * n_cells + _cells(table), return_inverse=True)
    attempts = np.bincount(group).astype(np.float64)
    return Sums(keys // n_cells, keys % n_cells, attempts, np.bincount(group, weights=table.is_correct))


def fit_success(
    sums: Sums, n_topics: int, rounds: int = EM_ROUNDS, subject: IntArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Return discrimination (T+1+S,) and easiness (T+1+S, 4), by EM. ``subject`` is that of :func:`fit_levels`."""
    n_cells = n_topics * N_LEVELS
    attempts = np.bincount(sums.cell, weights=sums.attempts, minlength=n_cells)
    correct = np.bincount(sums.cell, weights=sums.correct, minlength=n_cells)
    rate = (correct + 1.0) / (attempts + 2.0)
    easiness = _fit_cells(np.log(rate / (1 - rate)), attempts * rate * (1 - rate), SUCCESS_LEVELS, subject).values
    discrimination = np.full(len(easiness), DISCRIMINATION)
    for _ in range(rounds):
        counts = _expected_counts(sums, discrimination, easiness, n_cells)
        easiness = _update_easiness(*counts, discrimination, easiness, subject)
        discrimination = _update_discrimination(*counts, discrimination, easiness)
    return discrimination, easiness


def _expected_counts(
    sums: Sums, discrimination: FloatArray, easiness: FloatArray, n_cells: int
) -> tuple[FloatArray, FloatArray]:
    """Return attempts and correct answers of the C cells at each of G abilities, expected by the posteriors. (C, G)."""
    slope, level_easiness = _of_cells(discrimination, easiness, n_cells)
    log_correct, log_incorrect = grid_log_likelihoods(slope, level_easiness)
    attempts, correct = np.zeros((2, n_cells, len(ABILITY_GRID)))
    for rows in group_chunks(sums.user, CHUNK_ROWS):
        cell, first = sums.cell[rows], group_bounds(sums.user[rows])[:-1]
        n, c = sums.attempts[rows, None], sums.correct[rows, None]
        likelihood = c * log_correct[cell] + (n - c) * log_incorrect[cell]
        posterior = np.add.reduceat(likelihood, first, axis=0) + LOG_PRIOR
        posterior = np.exp(posterior - posterior.max(axis=1, keepdims=True))
        posterior /= posterior.sum(axis=1, keepdims=True)
        by_cell = np.argsort(cell, kind="stable")
        cells, at = np.unique(cell[by_cell], return_index=True)
        weights = posterior[(sums.user[rows] - sums.user[rows.start])[by_cell]]
        attempts[cells] += np.add.reduceat(weights * n[by_cell], at, axis=0)
        correct[cells] += np.add.reduceat(weights * c[by_cell], at, axis=0)
    return attempts, correct


def _of_cells(discrimination: FloatArray, easiness: FloatArray, n_cells: int) -> tuple[FloatArray, FloatArray]:
    """Return discrimination and easiness of the C cells of known topics. (C,) each."""
    return np.repeat(discrimination, N_LEVELS)[:n_cells], easiness.ravel()[:n_cells]


def _score_and_weight(
    attempts: FloatArray, correct: FloatArray, discrimination: FloatArray, easiness: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the derivative of the log-likelihood by the logit, and its negative second derivative. (C, G) each."""
    slope, level_easiness = _of_cells(discrimination, easiness, len(attempts))
    p = sigmoid(slope[:, None] * ABILITY_GRID + level_easiness[:, None])
    return correct - attempts * p, attempts * p * (1 - p)


def _update_easiness(
    attempts: FloatArray,
    correct: FloatArray,
    discrimination: FloatArray,
    easiness: FloatArray,
    subject: IntArray | None,
) -> FloatArray:
    score, weight = _score_and_weight(attempts, correct, discrimination, easiness)
    information = weight.sum(axis=1)
    step = np.clip(score.sum(axis=1) / np.maximum(information, 1e-9), -2.0, 2.0)
    return _fit_cells(easiness.ravel()[: len(step)] + step, information, SUCCESS_LEVELS, subject).values


def _update_discrimination(
    attempts: FloatArray, correct: FloatArray, discrimination: FloatArray, easiness: FloatArray
) -> FloatArray:
    score, weight = _score_and_weight(attempts, correct, discrimination, easiness)
    slope = (score @ ABILITY_GRID).reshape(-1, N_LEVELS).sum(axis=1)
    information = (weight @ ABILITY_GRID**2).reshape(-1, N_LEVELS).sum(axis=1)
    within, between = 1.0 / TOPIC_DISCRIMINATION_SD**2, 1.0 / DISCRIMINATION_SD**2
    of_topics, others = discrimination[: len(slope)], len(discrimination) - len(slope)
    mean = (within * of_topics.sum() + between * DISCRIMINATION) / (within * len(slope) + between)
    step = (slope - within * (of_topics - mean)) / (information + within)
    return np.append(np.clip(of_topics + np.clip(step, -0.5, 0.5), 0.2, 3.0), np.full(others, mean))


def _fit_time(table: AnswerTable, n_topics: int, subject: IntArray | None) -> TimeParameters:
    """Return intensities, residual variances and the variance of speed, by alternating between students and cells."""
    timed = table.timed
    logs, topic, cell = np.log(table.seconds[timed]), table.topic[timed], _cells(table)[timed]
    user = np.unique(table.user[timed], return_inverse=True)[1]
    count = np.bincount(cell, minlength=n_topics * N_LEVELS).astype(np.float64)
    of_topic = np.bincount(topic, minlength=n_topics).astype(np.float64)
    speed, speed_variance = np.zeros(user.max() + 1), SPEED_VARIANCE
    residual = np.full(n_topics, RESIDUAL_VARIANCE)
    for _ in range(TIME_ROUNDS):
        sums = np.bincount(cell, weights=logs + speed[user], minlength=n_topics * N_LEVELS)
        fit = _fit_cells(sums / np.maximum(count, 1.0), count / np.repeat(residual, N_LEVELS), TIME_LEVELS, subject)
        beyond = fit.values.ravel()[cell] - logs
        uncertainty = 1.0 / (np.bincount(user, weights=1.0 / residual[topic]) + 1.0 / speed_variance)
        speed = np.bincount(user, weights=beyond / residual[topic]) * uncertainty
        total = float((speed**2 + uncertainty).sum())
        speed_variance = (total + PSEUDO_COUNT * SPEED_VARIANCE) / (len(speed) + PSEUDO_COUNT)
        squares = np.bincount(topic, weights=(beyond - speed[user]) ** 2 + uncertainty[user], minlength=n_topics)
        overall = (squares.sum() + PSEUDO_COUNT * RESIDUAL_VARIANCE) / (of_topic.sum() + PSEUDO_COUNT)
        residual = (squares + PSEUDO_COUNT * overall) / (of_topic + PSEUDO_COUNT)
    rows = len(fit.values)
    return TimeParameters(
        fit.values, fit.variances, np.append(residual, np.full(rows - n_topics, overall)), np.zeros((rows, 2)),
        speed_variance, 0.1, -NORMAL_80, NORMAL_80,
    )  # fmt: skip
