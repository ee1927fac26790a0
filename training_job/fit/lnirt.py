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
from chalicelib.features.constants import VersionConstants
from training_job.fit.forgetting import fit_forgetting
from training_job.fit.levels import SUCCESS_LEVELS, TIME_LEVELS, LevelFit, LevelPrior, fit_levels
from training_job.fit.practice import NORMAL_80, fit_success_practice, fit_time_practice, past_of
from training_job.fit.sums import Matrices, Sums, cells_of, sums_of
from training_job.history.answers import AnswerTable

MIN_TIMED = 5
"""Number of timed answers below which no model of time is fitted."""

MAX_TOPICS = 20_000
"""Maximum number of topics with parameters of their own, well below the bound of a version.

A less practised topic is predicted by the average topic, as an unknown one is.
"""

MAX_FITTED = 150_000
"""Maximum number of answers that practice effects, offsets and forgetting are fitted to. More would not change them."""

EM_ROUNDS = 20
TIME_ROUNDS = 10
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
class _Expected:
    """Sums for each of C cells that the M step of EM needs, expected by the posteriors of the students' abilities.

    ``attempts`` (C, G) are those by students of each of G abilities. ``ability_sum`` (C,) is the sum of the students'
    mean abilities over the correct answers, and ``correct`` (C,) the number of these.
    """

    attempts: FloatArray
    ability_sum: FloatArray
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
    sample = table.sample(MAX_FITTED)
    past = past_of(VersionConstants.of_lnirt(replace(static, time=time)), sample)
    model = fit_success_practice(static, sample, past)
    time = None if time is None else fit_time_practice(model, time, sample, past)
    del past  # the forgetting needs as much memory
    return replace(fit_forgetting(model, sample), time=time)


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


def _fit_cells(observed: FloatArray, weight: FloatArray, prior: LevelPrior, subject: IntArray | None) -> LevelFit:
    """Smooth the observed values of cells (C,) of precision ``weight`` (C,)."""
    return fit_levels(observed.reshape(-1, N_LEVELS), weight.reshape(-1, N_LEVELS), prior, subject)


def fit_success(
    sums: Sums,
    n_topics: int,
    rounds: int = EM_ROUNDS,
    subject: IntArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return discrimination (T+1+S,) and easiness (T+1+S, 4), by EM. ``subject`` is that of :func:`fit_levels`."""
    n_cells = n_topics * N_LEVELS
    attempts = np.bincount(sums.cell, weights=sums.attempts, minlength=n_cells)
    correct = np.bincount(sums.cell, weights=sums.correct, minlength=n_cells)
    rate = (correct + 1.0) / (attempts + 2.0)
    easiness = _fit_cells(np.log(rate / (1 - rate)), attempts * rate * (1 - rate), SUCCESS_LEVELS, subject).values
    discrimination = np.full(len(easiness), DISCRIMINATION)
    chunks = [chunk.matrices() for chunk in sums.chunks()]
    for _ in range(rounds):
        expected = _Expected(*_expected(chunks, discrimination, easiness, n_cells), correct)
        easiness = _update_easiness(expected, discrimination, easiness, subject)
        discrimination = _update_discrimination(expected, discrimination, easiness)
    return discrimination, easiness


def _expected(
    chunks: Sequence[Matrices], discrimination: FloatArray, easiness: FloatArray, n_cells: int
) -> tuple[FloatArray, FloatArray]:
    """Return attempts (C, G) and sums of abilities (C,) for :class:`_Expected`."""
    slope, level_easiness = _of_cells(discrimination, easiness, n_cells)
    _, log_incorrect = grid_log_likelihoods(slope, level_easiness)
    attempts, ability_sum = np.zeros((n_cells, len(ABILITY_GRID))), np.zeros(n_cells)
    for chunk in chunks:
        found = _expected_of(chunk, log_incorrect[chunk.cells], slope[chunk.cells])
        attempts[chunk.cells] += found[0]
        ability_sum[chunk.cells] += found[1]
    return attempts, ability_sum


def _expected_of(students: Matrices, log_incorrect: FloatArray, slope: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return what a chunk of students adds to :func:`_expected` in its k cells: attempts (k, G), ability sums (k,).

    ``log_incorrect`` (k, G) are log-probabilities of an incorrect answer, and ``slope`` (k,) discriminations.
    """
    # log P(correct) - log P(incorrect) is slope * ability + easiness, and the easiness does not change a posterior.
    posterior = students.attempts @ log_incorrect + np.outer(students.correct @ slope, ABILITY_GRID) + LOG_PRIOR
    posterior = np.exp(posterior - posterior.max(axis=1, keepdims=True))
    posterior /= posterior.sum(axis=1, keepdims=True)
    return students.attempts.T @ posterior, students.correct.T @ (posterior @ ABILITY_GRID)


def _of_cells(discrimination: FloatArray, easiness: FloatArray, n_cells: int) -> tuple[FloatArray, FloatArray]:
    """Return discrimination and easiness of the C cells of known topics. (C,) each."""
    return np.repeat(discrimination, N_LEVELS)[:n_cells], easiness.ravel()[:n_cells]


def _expected_correct(
    attempts: FloatArray, discrimination: FloatArray, easiness: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the correct answers that the parameters expect of ``attempts``, and their variance. (C, G) each."""
    slope, level_easiness = _of_cells(discrimination, easiness, len(attempts))
    p = sigmoid(slope[:, None] * ABILITY_GRID + level_easiness[:, None])
    return attempts * p, attempts * p * (1 - p)


def _update_easiness(
    expected: _Expected, discrimination: FloatArray, easiness: FloatArray, subject: IntArray | None
) -> FloatArray:
    correct, variance = _expected_correct(expected.attempts, discrimination, easiness)
    information = variance.sum(axis=1)
    step = np.clip((expected.correct - correct.sum(axis=1)) / np.maximum(information, 1e-9), -2.0, 2.0)
    return _fit_cells(easiness.ravel()[: len(step)] + step, information, SUCCESS_LEVELS, subject).values


def _update_discrimination(expected: _Expected, discrimination: FloatArray, easiness: FloatArray) -> FloatArray:
    correct, variance = _expected_correct(expected.attempts, discrimination, easiness)
    slope = (expected.ability_sum - correct @ ABILITY_GRID).reshape(-1, N_LEVELS).sum(axis=1)
    information = (variance @ ABILITY_GRID**2).reshape(-1, N_LEVELS).sum(axis=1)
    within, between = 1.0 / TOPIC_DISCRIMINATION_SD**2, 1.0 / DISCRIMINATION_SD**2
    of_topics, others = discrimination[: len(slope)], len(discrimination) - len(slope)
    mean = (within * of_topics.sum() + between * DISCRIMINATION) / (within * len(slope) + between)
    step = (slope - within * (of_topics - mean)) / (information + within)
    return np.append(np.clip(of_topics + np.clip(step, -0.5, 0.5), 0.2, 3.0), np.full(others, mean))


def _fit_time(table: AnswerTable, n_topics: int, subject: IntArray | None) -> TimeParameters:
    """Return intensities, residual variances and the variance of speed, by alternating between students and cells."""
    timed = table.timed
    logs, topic, cell = np.log(table.seconds[timed]), table.topic[timed], cells_of(table)[timed]
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
