"""Fits the practice effects of LNIRT and the variance of its offsets of a student on a topic.

Students who practise a topic for long are those who find it hard, so a regression on all answers would find practice
harmful. Here each answer is predicted from the earlier answers of its student, as in serving. A practice effect is a
shift and a slope on log(1 + attempts). Both are fitted to what the prediction leaves unexplained: first for all topics
together, then per topic, shrunk towards the common values by the spread that the topics show. With little data they
show none, and the topics keep the common values. The offsets' variance is the best of a few candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from chalicelib.domain.lnirt import FloatArray, IntArray, LnirtParameters, TimeParameters, TimePrior, sigmoid
from chalicelib.features.constants import VersionConstants
from chalicelib.features.inputs import success_priors, time_priors
from chalicelib.features.summary import Summary
from chalicelib.prediction.interval import TimeInterval
from training_job.history.answers import AnswerTable
from training_job.history.summaries import summarise_history, user_chunks

OFFSET_LOG_SD = 0.7
"""Prior standard deviation of the logarithm of the offsets' variance, around the middle candidate."""

NORMAL_80 = 1.2816
"""Half the width of the interval that holds 80 % of a standard normal distribution."""

PSEUDO_RESIDUALS = 50.0
"""Number of residuals for which the normal quantiles count in those of an interval."""

NORMAL_INTERVAL = TimeInterval.constant(-NORMAL_80, NORMAL_80)

FIFTHS, PSEUDO_OF_FIFTH = 5, 300.0
"""Number of parts of the predicted times with an interval of their own, and the number of residuals for which the
quantiles of all times count in those of a part."""

TOPIC_SD_PSEUDO_TOPICS = 10.0
"""Number of topics for which the prior of the topics' spread counts."""

COMMON_ROUNDS, TOPIC_ROUNDS = 2, 4
NUDGE = 1e-3


@dataclass(frozen=True, slots=True)
class PracticePrior:
    """Priors of shift and slope: common values, their standard deviations, and those of topics around them. (2,) each.

    ``topic_sd`` is the prior of a spread that is fitted, from ``largest_topic_sd`` downwards. ``offset_variances`` are
    the candidates for the offsets' variance.
    """

    centre: FloatArray
    common_sd: FloatArray
    topic_sd: FloatArray
    largest_topic_sd: FloatArray
    offset_variances: tuple[float, ...]


SUCCESS_PRACTICE = PracticePrior(
    centre=np.array([0.0, 0.0]),
    common_sd=np.array([0.2, 0.1]),
    topic_sd=np.array([0.05, 0.03]),
    largest_topic_sd=np.array([0.25, 0.15]),
    offset_variances=(0.05, 0.12, 0.25, 0.5, 0.9),
)
TIME_PRACTICE = PracticePrior(
    centre=np.array([0.0, -0.05]),
    common_sd=np.array([0.1, 0.05]),
    topic_sd=np.array([0.02, 0.01]),
    largest_topic_sd=np.array([0.1, 0.05]),
    offset_variances=(0.002, 0.01, 0.03, 0.08, 0.2),
)

Predict = Callable[[FloatArray, float], FloatArray]
"""Returns the predictions (N,) for practice effects (T+1+S, 2) and a variance of the offsets."""

Loss = Callable[[FloatArray], tuple[float, FloatArray, FloatArray]]
"""Returns the total loss of predictions (N,), its negative derivative by each of them, and the curvature."""


@dataclass(frozen=True, slots=True)
class _Problem:
    topic: IntArray
    n_topics: int
    n_rows: int
    predict: Predict
    loss: Loss
    prior: PracticePrior

    def spread(self, common: FloatArray) -> FloatArray:
        """Return the common effects (2,) for every topic. Shape (T+1+S, 2)."""
        return np.tile(common, (self.n_rows, 1))


def past_of(constants: VersionConstants, table: AnswerTable) -> list[Summary]:
    """Return, for each answer of a table, what its student's earlier answers tell about the student.

    These are chunks of whole students, in the order of the table.
    """
    return [summarise_history(table, rows, constants) for rows in user_chunks(table)]


def fit_success_practice(model: LnirtParameters, table: AnswerTable, past: Sequence[Summary]) -> LnirtParameters:
    """Return the model with the practice effects and the offsets' variance of correctness.

    ``past`` is the result of :func:`past_of` for this table and a model without practice effects.
    """
    correct = table.is_correct.astype(np.float64)

    def predict(practice: FloatArray, variance: float) -> FloatArray:
        trial = replace(model, practice=practice, offset_variance=variance)
        return np.concatenate([success_priors(part, trial).logit for part in past])

    def loss(logit: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        p = sigmoid(logit)
        return float((np.logaddexp(0.0, logit) - correct * logit).sum()), correct - p, p * (1 - p)

    topic = np.concatenate([part.topic_row for part in past])
    practice, variance = _solve(
        _Problem(topic, len(model.topics), len(model.easiness), predict, loss, SUCCESS_PRACTICE)
    )
    return replace(model, practice=practice, offset_variance=variance)


def fit_time_practice(
    model: LnirtParameters, time: TimeParameters, table: AnswerTable, past: Sequence[Summary]
) -> TimeParameters:
    """Return the parameters of time with their practice effects, the offsets' variance and the interval of 80 %.

    ``model`` has the parameters of correctness. ``past`` is the result of :func:`past_of` for this table and a model
    that has ``time`` and no practice effects.
    """
    timed, logs = table.timed.astype(np.float64), table.log_seconds
    scale = float(time.residual_variance[-1])

    def trial(practice: FloatArray, variance: float) -> LnirtParameters:
        return replace(model, time=replace(time, practice=practice, offset_variance=variance))

    def predict(practice: FloatArray, variance: float) -> FloatArray:
        return np.concatenate([prior.log_seconds for prior in _time_priors(past, trial(practice, variance))])

    def loss(expected: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        residual = timed * (logs - expected)
        return float((residual**2).sum() / (2 * scale)), residual / scale, timed / scale

    topic = np.concatenate([part.topic_row for part in past])
    practice, variance = _solve(_Problem(topic, len(model.topics), len(model.easiness), predict, loss, TIME_PRACTICE))
    priors = _time_priors(past, trial(practice, variance))
    spread = np.sqrt(np.concatenate([prior.variance for prior in priors]))
    standardised = (logs - np.concatenate([prior.log_seconds for prior in priors])) / spread
    low, high = interval_quantiles(standardised[table.timed])
    return replace(time, practice=practice, offset_variance=variance, low=low, high=high)


def interval_quantiles(
    standardised: FloatArray,
    prior: tuple[float, float] = (-NORMAL_80, NORMAL_80),
    pseudo_residuals: float = PSEUDO_RESIDUALS,
) -> tuple[float, float]:
    """Return the 10 % and 90 % quantiles of standardised residuals (n,), shrunk towards ``prior`` ones.

    These count as ``pseudo_residuals`` residuals.
    """
    if not len(standardised):
        return prior
    trust = len(standardised) / (len(standardised) + pseudo_residuals)
    low, high = trust * np.quantile(standardised, [0.1, 0.9]) + (1 - trust) * np.array(prior)
    return float(min(low, -0.1)), float(max(high, 0.1))


def interval_of(standardised: FloatArray, predicted: FloatArray) -> TimeInterval:
    """Return the interval of times from standardised residuals (n,) and predicted log seconds (n,).

    Each fifth of the predicted times has quantiles of its own, shrunk towards those of all residuals.
    """
    overall = interval_quantiles(standardised)
    fifths = np.array_split(np.argsort(predicted, kind="stable"), FIFTHS) if len(predicted) >= FIFTHS else []
    knots = [
        (float(np.median(predicted[rows])), *interval_quantiles(standardised[rows], overall, PSEUDO_OF_FIFTH))
        for rows in fifths
    ]
    knots = [knot for number, knot in enumerate(knots) if number == 0 or knot[0] > knots[number - 1][0]]
    return TimeInterval(*map(tuple, zip(*knots, strict=True))) if knots else TimeInterval.constant(*overall)


def _time_priors(past: Sequence[Summary], model: LnirtParameters) -> list[TimePrior]:
    return [prior for part in past if (prior := time_priors(part, model)) is not None]


def _solve(problem: _Problem) -> tuple[FloatArray, float]:
    """Return the practice effects (T+1+S, 2) and the offsets' variance."""
    candidates = problem.prior.offset_variances
    middle = candidates[len(candidates) // 2]
    trials: list[tuple[float, float, FloatArray]] = []
    for variance in candidates:
        common = _common(problem, variance, problem.prior.centre)
        loss, _, _ = problem.loss(problem.predict(problem.spread(common), variance))
        trials.append((loss + 0.5 * (float(np.log(variance / middle)) / OFFSET_LOG_SD) ** 2, variance, common))
    _, variance, common = min(trials, key=lambda trial: trial[0])
    common = _common(problem, variance, common)
    return _topics(problem, common, variance), variance


def _slopes(problem: _Problem, practice: FloatArray, variance: float) -> tuple[FloatArray, FloatArray]:
    """Return the predictions (N,) and their derivatives by shift and slope (N, 2)."""
    base = problem.predict(practice, variance)
    nudged = [problem.predict(practice + nudge, variance) for nudge in np.eye(2) * NUDGE]
    return base, (np.stack(nudged, axis=1) - base[:, None]) / NUDGE


def _common(problem: _Problem, variance: float, common: FloatArray) -> FloatArray:
    """Return shift and slope common to all topics, by Newton's method from ``common``. Shape (2,)."""
    centre, precision = problem.prior.centre, np.diag(1.0 / problem.prior.common_sd**2)
    for _ in range(COMMON_ROUNDS):
        predicted, slopes = _slopes(problem, problem.spread(common), variance)
        _, score, weight = problem.loss(predicted)
        normal = slopes.T @ (weight[:, None] * slopes) + precision
        common = common + np.clip(np.linalg.solve(normal, slopes.T @ score - precision @ (common - centre)), -1.0, 1.0)
    return common


def _topics(problem: _Problem, common: FloatArray, variance: float) -> FloatArray:
    """Return the shift and slope of every topic, shrunk towards the common ones. Shape (T+1+S, 2).

    After each Newton step, the variance of the topics' effects is what their deviations show, divided by the number of
    topics of which the answers say something (MacKay 1992, "Bayesian interpolation").
    """
    practice, prior = problem.spread(common), problem.prior.topic_sd**2
    variances = problem.prior.largest_topic_sd**2
    for _ in range(TOPIC_ROUNDS):
        practice, remaining = _topic_step(problem, practice, common, variances, variance)
        informed = (1.0 - remaining / variances).sum(axis=0)
        squares = ((practice - common) ** 2).sum(axis=0)
        variances = (squares + TOPIC_SD_PSEUDO_TOPICS * prior) / (informed + TOPIC_SD_PSEUDO_TOPICS)
    return practice


def _topic_step(
    problem: _Problem, practice: FloatArray, common: FloatArray, variances: FloatArray, variance: float
) -> tuple[FloatArray, FloatArray]:
    """Take one Newton step of the shift and slope of every topic. Returns them and their variances, (T+1+S, 2) each."""
    predicted, slopes = _slopes(problem, practice, variance)
    _, score, weight = problem.loss(predicted)
    size, precision = len(practice), np.diag(1.0 / variances)
    normal, target = np.empty((size, 2, 2)), np.empty((size, 2))
    for i in range(2):
        target[:, i] = np.bincount(problem.topic, weights=score * slopes[:, i], minlength=size)
        for j in range(2):
            products = weight * slopes[:, i] * slopes[:, j]
            normal[:, i, j] = np.bincount(problem.topic, weights=products, minlength=size)
    target -= (practice - common) @ precision
    inverse = np.linalg.inv(normal + precision)
    step = (inverse @ target[..., None])[..., 0]
    stepped: FloatArray = practice + np.clip(step, -1.0, 1.0)
    stepped[problem.n_topics :] = common
    return stepped, np.diagonal(inverse, axis1=1, axis2=2)
