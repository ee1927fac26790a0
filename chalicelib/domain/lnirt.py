"""LNIRT: the joint model of correctness and response time that every prediction starts from.

After van der Linden (2007), "A hierarchical framework for modeling speed and accuracy on test items", with a two
parameter logistic model for correctness and a lognormal model for time, per topic x difficulty:

    logit P(correct) = discrimination * ability + easiness + practice(attempts) + offset(student, topic)
    log seconds      = intensity - speed + practice(attempts) + offset(student, topic) + noise

Ability is standard normal in the population; speed is normal, in log seconds. Both are estimated from sums over a
student's answers only (a sum of log-likelihoods on a fixed grid of abilities; a precision and a weighted sum for
speed), so that an estimate is the same whether it is updated answer by answer or computed from a stored state.
Parameters of a topic the model does not know are those of the average topic, kept as the last row of each array.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.domain.numerics import OF_ARRAYS, Column, Columns, Functions, Row, columns_of, functions_for, picked

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

N_LEVELS = 4
"""Levels of difficulty."""

ABILITY_GRID: FloatArray = np.linspace(-4.0, 4.0, 41)
"""Abilities at which likelihoods are kept, in population standard deviations. Shape (G,)."""

LOG_PRIOR: FloatArray = -0.5 * ABILITY_GRID**2
"""Log density of the population on the grid, up to a constant."""

_MOMENTS: FloatArray = np.exp(LOG_PRIOR)[:, None] * ABILITY_GRID[:, None] ** np.arange(3)

MAX_ABS_LOGIT = 4.6
"""Prior logits are kept within this: odds of 99 to 1. Nobody is that sure of a practice task."""

MAX_LOG_SHIFT = 2.0
"""Speeds and offsets are kept within this many log seconds: one time of 20 hours must not rule a student's next."""


@dataclass(frozen=True)
class TimeParameters:
    """The lognormal model of time. T topics, the average topic last.

    ``intensity`` (T+1, 4) log seconds at speed 0; ``intensity_variance`` (T+1, 4) how uncertain it is;
    ``residual_variance`` (T+1,); ``practice`` (T+1, 2) shift and slope on log(1 + attempts);
    ``low``/``high`` the standardised residuals between which 80 % of times lie.
    """

    intensity: FloatArray
    intensity_variance: FloatArray
    residual_variance: FloatArray
    practice: FloatArray
    speed_variance: float
    offset_variance: float
    low: float
    high: float

    @cached_property
    def of_cells(self) -> FloatArray:
        """Intensity, its variance, residual variance, practice's shift and slope, and the four intensities.

        By topic x difficulty: row ``topic * 4 + level``. Shape ((T+1) * 4, 9).
        """
        of_topics = np.column_stack([self.residual_variance, self.practice, self.intensity])
        of_cells = [self.intensity.ravel(), self.intensity_variance.ravel()]
        return np.column_stack([*of_cells, of_topics.repeat(N_LEVELS, axis=0)])


class _Codes(dict[str, int]):
    """Rows by topic key, the number of topics for one that is not among them."""

    def __init__(self, topics: Iterable[str]) -> None:
        super().__init__((topic, code) for code, topic in enumerate(topics))

    def __missing__(self, topic: str) -> int:
        return len(self)


@dataclass(frozen=True)
class LnirtParameters:
    """A fitted model. ``discrimination`` (T+1,), ``easiness`` (T+1, 4), ``practice`` (T+1, 2) shift and slope.

    ``topics`` holds T topic keys; ``time`` is None when it was trained without times.
    """

    topics: tuple[str, ...]
    discrimination: FloatArray
    easiness: FloatArray
    practice: FloatArray
    offset_variance: float
    time: TimeParameters | None
    _codes: _Codes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_codes", _Codes(self.topics))

    @property
    def unknown(self) -> int:
        """The code of a topic that the model does not know: the average topic's row."""
        return len(self.topics)

    def code(self, topic: str) -> int:
        """The row of a topic key, :attr:`unknown` for one that the model does not know."""
        return self._codes[topic]

    def codes(self, topics: Sequence[str]) -> IntArray:
        """The rows of R topic keys, (R,)."""
        return np.fromiter(map(self._codes.__getitem__, topics), dtype=np.int64, count=len(topics))

    def expected_success(self) -> FloatArray:
        """Probability of a correct answer at ability 0, without practice. Shape (T+1, 4)."""
        return self._expected_success

    @cached_property
    def _expected_success(self) -> FloatArray:
        return sigmoid(self.easiness)

    @cached_property
    def of_cells(self) -> FloatArray:
        """Easiness, expected success, discrimination, practice's shift and slope, and the four easinesses.

        By topic x difficulty: row ``topic * 4 + level``. Shape ((T+1) * 4, 9).
        """
        of_topics = np.column_stack([self.discrimination, self.practice, self.easiness])
        of_cells = [self.easiness.ravel(), self.expected_success().ravel()]
        return np.column_stack([*of_cells, of_topics.repeat(N_LEVELS, axis=0)])


class SuccessPrior(msgspec.Struct, frozen=True):
    """What LNIRT expects of an answer's correctness."""

    logit: Column
    offset: Column


class TimePrior(msgspec.Struct, frozen=True):
    """What LNIRT expects of an answer's time. ``log_seconds`` is the median's logarithm."""

    log_seconds: Column
    variance: Column
    speed: Column
    speed_sd: Column
    offset: Column


def sigmoid(logit: npt.NDArray[np.floating]) -> FloatArray:
    """The logistic function, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(logit, dtype=np.float64)))


def mean_log_attempts(attempts: npt.NDArray[np.floating]) -> FloatArray:
    """Mean of log(1 + k) over k = 0 .. attempts - 1, by Stirling's formula; 0 for one attempt or none."""
    means: FloatArray = _mean_log_attempts(np.asarray(attempts, dtype=np.float64), OF_ARRAYS)
    return means


def _mean_log_attempts(attempts: Column, f: Functions) -> Column:
    n = f.most(attempts, 1.0)
    log_factorial = n * f.log(n) - n + 0.5 * f.log(2 * np.pi * n) + 1 / (12 * n)
    return f.where(n > 1, log_factorial / n, 0.0)


def grid_log_likelihoods(discrimination: FloatArray, easiness: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Log P(correct) and log P(wrong) on the ability grid; shapes (M,) and (M,) give two (M, G)."""
    logit = discrimination[:, None] * ABILITY_GRID + easiness[:, None]
    right = -np.logaddexp(0.0, -logit)
    return right, right - logit


def ability_from(log_likelihood: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Expected a posteriori ability and its standard deviation; (N, G) gives two (N,)."""
    ability, ability_sd = mean_and_sd(columns_of(ability_moments(log_likelihood)), OF_ARRAYS)
    return ability, ability_sd


def ability_moments(log_likelihood: FloatArray) -> FloatArray:
    """Mass, first and second moment of the posterior, up to a common factor; (N, G) gives (N, 3)."""
    likelihood = log_likelihood - log_likelihood.max(axis=1, keepdims=True)
    np.exp(likelihood, out=likelihood)
    moments: FloatArray = likelihood @ _MOMENTS
    return moments


def mean_and_sd(moments: Sequence[Column], f: Functions) -> tuple[Column, Column]:
    """Mean and standard deviation of a distribution with these moments."""
    mass, first, second = moments
    mean = first / mass
    return mean, f.sqrt(f.most(second / mass - mean * mean, 1e-6))


def success_prior(
    model: LnirtParameters,
    topic: Row,
    level: Row,
    ability: Column,
    ability_sd: Column,
    attempts: Columns,
    correct: Columns,
) -> SuccessPrior:
    """The predicted logit of a correct answer.

    ``topic`` rows, ``level`` 0..3, ``attempts`` and ``correct`` the student's answers on that topic, by level. The
    student's offset on the topic is one shrunken Newton step from what its answers leave unexplained. The uncertainty
    of ability and offset pulls the logit towards 0 (MacKay's approximation of the mean of a logit).
    """
    f = functions_for(topic)
    easiness, _, slope, shift, rate, *easinesses = picked(model.of_cells, topic * N_LEVELS + level)
    tried = columns_of(attempts)
    total = sum(tried)
    able = slope * ability
    practised = able + shift + rate * _mean_log_attempts(total, f)
    precision, unexplained = 1.0 / model.offset_variance, 0.0
    for easy, n, right in zip(easinesses, tried, columns_of(correct), strict=True):
        p = f.logistic(practised + easy)
        precision = precision + n * p * (1.0 - p)
        unexplained = unexplained + right - n * p
    offset = unexplained / precision
    logit = able + easiness + shift + rate * f.log1p(total) + offset
    spread = slope * ability_sd
    logit = logit / f.sqrt(1.0 + np.pi / 8.0 * (spread * spread + 1.0 / precision))
    return SuccessPrior(f.bounded(logit, -MAX_ABS_LOGIT, MAX_ABS_LOGIT), offset)


def time_prior(
    model: TimeParameters,
    topic: Row,
    level: Row,
    speed_precision: Column,
    speed_weighted: Column,
    attempts: Columns,
    timed: Columns,
    log_seconds: Columns,
) -> TimePrior:
    """The predicted logarithm of the seconds, and its variance.

    ``speed_precision`` and ``speed_weighted`` are the sums over the student's timed answers of 1/variance and of
    (intensity - log seconds)/variance; ``attempts``, ``timed``, ``log_seconds`` belong to the topic, by level.
    """
    f = functions_for(topic)
    cell = topic * N_LEVELS + level
    intensity, intensity_variance, noise, shift, rate, *intensities = picked(model.of_cells, cell)
    speed_variance = 1.0 / (1.0 / model.speed_variance + speed_precision)
    speed = f.bounded(speed_weighted * speed_variance, -MAX_LOG_SHIFT, MAX_LOG_SHIFT)
    total, with_time = sum(columns_of(attempts)), columns_of(timed)
    n_timed = sum(with_time)
    practised = shift + rate * _mean_log_attempts(total, f) - speed
    explained = n_timed * practised + sum(n * beta for n, beta in zip(with_time, intensities, strict=True))
    offset_variance = 1.0 / (1.0 / model.offset_variance + n_timed / noise)
    offset = (sum(columns_of(log_seconds)) - explained) / noise * offset_variance
    offset = f.bounded(offset, -MAX_LOG_SHIFT, MAX_LOG_SHIFT)
    expected = intensity - speed + shift + rate * f.log1p(total) + offset
    variance = noise + speed_variance + offset_variance + intensity_variance
    return TimePrior(expected, variance, speed, f.sqrt(speed_variance), offset)
