"""LNIRT: the joint model of correctness and response time that every prediction starts from.

It follows van der Linden (2007), "A hierarchical framework for modeling speed and accuracy on test items": a
two-parameter logistic model for correctness and a lognormal model for time, per topic and difficulty.

    logit P(correct) = discrimination * ability + easiness + practice(attempts) + offset(student, topic) - forgetting
    log seconds      = intensity - speed + practice(attempts) + offset(student, topic) + noise

Ability is standard normal in the population; speed is normal, in log seconds. Both are estimated from sums over a
student's answers only: log-likelihoods on a fixed grid of abilities, and a precision and a weighted sum for speed. So
an estimate is the same whether it is updated answer by answer or computed from a stored state.

Every array has one row for each of T topics, then one for the average topic, then one for the average topic of each of
S subjects. Where all topics are of one subject, S is 0. A topic that the model does not know gets the parameters of its
subject's average topic, or of the average topic if the subject is not known either. A *cell* is a topic and a level:
cell ``topic_row * 4 + level``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.domain.digests import row_of, row_of_topic
from chalicelib.domain.forgetting import Forgetting
from chalicelib.domain.numerics import (
    OF_ARRAYS,
    Column,
    Columns,
    Functions,
    Row,
    columns_of,
    functions_for,
    table_columns,
)
from chalicelib.domain.topics import split_key

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

N_LEVELS = 4
"""Number of levels. A level is 0..3: a difficulty of 1..4, less one."""

ABILITY_GRID: FloatArray = np.linspace(-4.0, 4.0, 41)
"""Abilities at which likelihoods are kept, in population standard deviations. Shape (G,)."""

LOG_PRIOR: FloatArray = -0.5 * ABILITY_GRID**2
"""Log density of the population on the grid, up to a constant."""

_MOMENTS: FloatArray = np.exp(LOG_PRIOR)[:, None] * ABILITY_GRID[:, None] ** np.arange(3)

MAX_ABS_LOGIT = 4.6
"""Bound of a prior logit: odds of 99 to 1, since no outcome of a practice task is more certain."""

MAX_LOG_SHIFT = 2.0
"""Bound of speeds and offsets in log seconds: one time of 20 hours must not dominate a student's next predictions."""


@dataclass(frozen=True)
class TimeParameters:
    """The lognormal model of time for T topics, the average topic, and those of S subjects."""

    intensity: FloatArray
    """Log seconds at speed 0. Shape (T+1+S, 4)."""
    intensity_variance: FloatArray
    """Squared standard error of the intensity. Shape (T+1+S, 4)."""
    residual_variance: FloatArray
    """Variance of the noise, in squared log seconds. Shape (T+1+S,)."""
    practice: FloatArray
    """Shift, and slope on log(1 + attempts), in log seconds. Shape (T+1+S, 2)."""
    speed_variance: float
    """Variance of speed in the population."""
    offset_variance: float
    """Variance of the offset of a student on a topic."""
    low: float
    """10 % quantile of the residuals, in standard deviations: 80 % of the times lie between ``low`` and ``high``."""
    high: float
    """90 % quantile of the residuals, in standard deviations."""

    @cached_property
    def by_cell(self) -> FloatArray:
        """The parameters of each cell, side by side so that one index reads them all. Shape ((T+1+S) * 4, 9).

        Columns: intensity, its variance, residual variance, practice shift and slope, intensities of the four levels.
        """
        of_topics = np.column_stack([self.residual_variance, self.practice, self.intensity])
        of_cells = [self.intensity.ravel(), self.intensity_variance.ravel()]
        return np.column_stack([*of_cells, of_topics.repeat(N_LEVELS, axis=0)])


class _TopicRows(dict[str, int]):
    """The row of each topic key, also by its digest or by its name; that of an average topic for any other key."""

    def __init__(self, topics: Sequence[str], subjects: Sequence[str]) -> None:
        super().__init__((topic, row) for row, topic in enumerate(topics))
        self._average_row = len(topics)
        self._subject_rows = {subject: len(topics) + 1 + n for n, subject in enumerate(subjects)}

    def __missing__(self, topic: str) -> int:
        row = row_of_topic(topic, self, -1)
        return row if row >= 0 else row_of(split_key(topic)[0], self._subject_rows, self._average_row)


@dataclass(frozen=True)
class LnirtParameters:
    """A fitted model of T topics, the average topic, and those of S subjects."""

    topics: tuple[str, ...]
    """The T topic keys or their digests, in the order of the rows."""
    discrimination: FloatArray
    """Logits per standard deviation of ability. Shape (T+1+S,)."""
    easiness: FloatArray
    """Logit of a correct answer at ability 0, without practice. Shape (T+1+S, 4)."""
    practice: FloatArray
    """Shift, and slope on log(1 + attempts), in logits. Shape (T+1+S, 2)."""
    offset_variance: float
    """Variance of the offset of a student on a topic, in squared logits."""
    time: TimeParameters | None
    """The model of time; None if the model was trained without times."""
    subjects: tuple[str, ...] = ()
    """The S keys of subjects or their digests, in the order of their rows."""
    forgetting: Forgetting | None = None
    """What pauses cost; None if the training had no dates, or too few pauses."""
    _topic_rows: _TopicRows = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_topic_rows", _TopicRows(self.topics, self.subjects))

    @property
    def average_row(self) -> int:
        """The row of the average topic."""
        return len(self.topics)

    def knows(self, row: Row) -> Any:
        """Return whether a row is that of a topic and not of an average one. (N,) gives (N,)."""
        return row < self.average_row

    def topic_row(self, topic: str) -> int:
        """Return the row of a topic key, that of its subject's average or of the average topic for an unknown one."""
        return self._topic_rows[topic]

    def topic_rows(self, topics: Sequence[str]) -> IntArray:
        """Return the rows of R topic keys. Shape (R,)."""
        return np.fromiter(map(self._topic_rows.__getitem__, topics), dtype=np.int64, count=len(topics))

    @cached_property
    def expected_success(self) -> FloatArray:
        """Probability of a correct answer at ability 0, without practice. Shape (T+1+S, 4)."""
        return sigmoid(self.easiness)

    @cached_property
    def by_cell(self) -> FloatArray:
        """The parameters of each cell, side by side so that one index reads them all. Shape ((T+1+S) * 4, 9).

        Columns: easiness, expected success, discrimination, practice shift and slope, easinesses of the four levels.
        """
        of_topics = np.column_stack([self.discrimination, self.practice, self.easiness])
        of_cells = [self.easiness.ravel(), self.expected_success.ravel()]
        return np.column_stack([*of_cells, of_topics.repeat(N_LEVELS, axis=0)])


class SuccessPrior(msgspec.Struct, frozen=True):
    """LNIRT's prediction of correctness: the logit, and the student's offset on the topic within it."""

    logit: Column
    offset: Column


class TimePrior(msgspec.Struct, frozen=True):
    """LNIRT's prediction of time, in log seconds.

    ``log_seconds`` is the logarithm of the median and ``variance`` its predictive variance. ``speed`` with its standard
    deviation and ``offset`` are the estimates behind it.
    """

    log_seconds: Column
    variance: Column
    speed: Column
    speed_sd: Column
    offset: Column


def sigmoid(logit: npt.NDArray[np.floating]) -> FloatArray:
    """Return the logistic function of an array, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(logit, dtype=np.float64)))


def mean_log_attempts(attempts: Column, f: Functions) -> Column:
    """Return the mean of log(1 + k) over k = 0 .. attempts - 1; 0 for at most one attempt.

    It follows Stirling's formula, which needs no sum over the attempts.
    """
    n = f.maximum(attempts, 1.0)
    log_factorial = n * f.log(n) - n + 0.5 * f.log(2 * np.pi * n) + 1 / (12 * n)
    return f.where(n > 1, log_factorial / n, 0.0)


def grid_log_likelihoods(discrimination: FloatArray, easiness: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return log P(correct) and log P(incorrect) on the ability grid; two (M,) give two (M, G)."""
    logit = discrimination[:, None] * ABILITY_GRID + easiness[:, None]
    correct = -np.logaddexp(0.0, -logit)
    return correct, correct - logit


def ability_from(log_likelihood: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return expected a posteriori abilities and their standard deviations; (N, G) gives two (N,)."""
    ability, ability_sd = mean_and_sd(columns_of(ability_moments(log_likelihood)), OF_ARRAYS)
    return ability, ability_sd


def ability_moments(log_likelihood: FloatArray) -> FloatArray:
    """Return mass, first and second moment of the posterior, up to a common factor; (N, G) gives (N, 3)."""
    likelihood = log_likelihood - log_likelihood.max(axis=1, keepdims=True)
    np.exp(likelihood, out=likelihood)
    moments: FloatArray = likelihood @ _MOMENTS
    return moments


def mean_and_sd(moments: Sequence[Column], f: Functions) -> tuple[Column, Column]:
    """Return mean and standard deviation of a distribution from its mass, first and second moment."""
    mass, first, second = moments
    mean = first / mass
    return mean, f.sqrt(f.maximum(second / mass - mean * mean, 1e-6))


def success_prior(
    lnirt: LnirtParameters,
    topic_row: Row,
    level: Row,
    ability: Column,
    ability_sd: Column,
    attempts: Columns,
    correct: Columns,
) -> SuccessPrior:
    """Return the predicted logit of a correct answer.

    ``level`` is 0..3; ``attempts`` and ``correct`` are the student's answers on the topic, by level. The student's
    offset on the topic is one shrunken Newton step from the answers that the other terms leave unexplained. The
    uncertainty of ability and offset pulls the logit towards 0: MacKay's approximation of the expected logistic
    function (MacKay 1992, "The evidence framework applied to classification networks").
    """
    f = functions_for(topic_row)
    easiness, _, slope, shift, rate, *easinesses = table_columns(lnirt.by_cell, topic_row * N_LEVELS + level)
    attempts_by_level = columns_of(attempts)
    total = sum(attempts_by_level)
    from_ability = slope * ability
    practised = from_ability + shift + rate * mean_log_attempts(total, f)
    precision, unexplained = 1.0 / lnirt.offset_variance, 0.0
    for easy, n, n_correct in zip(easinesses, attempts_by_level, columns_of(correct), strict=True):
        p = f.logistic(practised + easy)
        precision = precision + n * p * (1.0 - p)
        unexplained = unexplained + n_correct - n * p
    offset = unexplained / precision
    logit = from_ability + easiness + shift + rate * f.log1p(total) + offset
    spread = slope * ability_sd
    logit = logit / f.sqrt(1.0 + np.pi / 8.0 * (spread * spread + 1.0 / precision))
    return SuccessPrior(f.bounded(logit, -MAX_ABS_LOGIT, MAX_ABS_LOGIT), offset)


def time_prior(
    parameters: TimeParameters,
    topic_row: Row,
    level: Row,
    speed_precision: Column,
    speed_weighted: Column,
    attempts: Columns,
    timed: Columns,
    log_seconds: Columns,
) -> TimePrior:
    """Return the predicted logarithm of the seconds, and its variance.

    ``speed_precision`` and ``speed_weighted`` are the sums of 1/variance and of (intensity - log seconds)/variance
    over the student's timed answers; ``attempts``, ``timed`` and ``log_seconds`` belong to the topic, by level.
    """
    f = functions_for(topic_row)
    cell = topic_row * N_LEVELS + level
    intensity, intensity_variance, noise, shift, rate, *intensities = table_columns(parameters.by_cell, cell)
    speed_variance = 1.0 / (1.0 / parameters.speed_variance + speed_precision)
    speed = f.bounded(speed_weighted * speed_variance, -MAX_LOG_SHIFT, MAX_LOG_SHIFT)
    total, timed_by_level = sum(columns_of(attempts)), columns_of(timed)
    n_timed = sum(timed_by_level)
    practised = shift + rate * mean_log_attempts(total, f) - speed
    explained = n_timed * practised + sum(
        n * level_mean for n, level_mean in zip(timed_by_level, intensities, strict=True)
    )
    offset_variance = 1.0 / (1.0 / parameters.offset_variance + n_timed / noise)
    offset = (sum(columns_of(log_seconds)) - explained) / noise * offset_variance
    offset = f.bounded(offset, -MAX_LOG_SHIFT, MAX_LOG_SHIFT)
    expected = intensity - speed + shift + rate * f.log1p(total) + offset
    variance = noise + speed_variance + offset_variance + intensity_variance
    return TimePrior(expected, variance, speed, f.sqrt(speed_variance), offset)
