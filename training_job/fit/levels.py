"""Hierarchical shrinkage of the parameters of topics and difficulties (cells).

    value(topic, level) = mean + level effect + topic effect + cell effect

A cell with few answers is shrunk towards its topic, a topic towards the population, and a level without answers towards
the level effects. These are ordered: each level is harder and takes longer than the one before, by a minimum step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chalicelib.domain.lnirt import N_LEVELS, FloatArray

REFERENCE_LEVEL = 1
"""Medium: the level whose effect is 0."""

GAP_SD, CELL_SD, TOPIC_SD = 0.3, 0.3, 0.7
"""Standard deviations of the priors of the step between levels, the cell effect and the topic effect."""

TOPIC_SD_PSEUDO_TOPICS = 10.0
"""Number of topics for which the prior of the topic effect's spread counts."""

SWEEPS = 12


@dataclass(frozen=True, slots=True)
class LevelPrior:
    """Prior mean of the step from one level to the next, and its minimum size."""

    gap: float
    min_step: float


SUCCESS_LEVELS = LevelPrior(gap=-0.5, min_step=0.05)
"""Each level is half a logit harder than the one before."""

TIME_LEVELS = LevelPrior(gap=0.25, min_step=0.02)
"""Each level takes about 28 % longer than the one before."""


@dataclass(frozen=True, slots=True)
class LevelFit:
    """Smoothed values and their variances. Shapes (T+1, 4).

    The last row is for topics without any answer: the values of the average topic, with the variances of a new topic.
    """

    values: FloatArray
    variances: FloatArray


def fit_levels(observed: FloatArray, weight: FloatArray, prior: LevelPrior) -> LevelFit:
    """Smooth observed values (T, 4) of precision ``weight`` (T, 4), which is 0 where nothing was observed.

    ``base`` (4,) is mean plus level effects. Each sweep fits it to the values without the topic effects, and then fits
    the topic effects and the variance of their prior.
    """
    # The cell effect is integrated out: its variance lowers the weight of the effects above it.
    marginal = 1.0 / (1.0 / np.maximum(weight, 1e-12) + CELL_SD**2) * (weight > 0)
    per_topic = marginal.sum(axis=1)
    topic_effect = np.zeros(len(observed))
    spread = TOPIC_SD**2
    for _ in range(SWEEPS):
        base = _population(observed - topic_effect[:, None], marginal, prior)
        leftover = (marginal * (observed - base)).sum(axis=1)
        topic_precision = per_topic + 1.0 / spread
        topic_effect = leftover / topic_precision
        # The mean of the topic effects moves into the base, so that the base is the average topic.
        mean_effect = topic_effect.mean() if len(topic_effect) else 0.0
        topic_effect -= mean_effect
        base = base + mean_effect
        squares = (topic_effect**2 + 1.0 / topic_precision).sum()
        spread = (squares + TOPIC_SD_PSEUDO_TOPICS * TOPIC_SD**2) / (len(observed) + TOPIC_SD_PSEUDO_TOPICS)
    expected = base + topic_effect[:, None]
    cell_precision = weight + 1.0 / CELL_SD**2
    values = expected + weight * (observed - expected) / cell_precision
    # A value is a mean of observed and expected. So its variance is that of the cell effect, plus that of the topic
    # effect times the square of the share of the expected value.
    expected_share = 1.0 / (1.0 + weight * CELL_SD**2)
    variances = 1.0 / cell_precision + expected_share**2 / topic_precision[:, None]
    values = _ordered(values, cell_precision, prior)
    new_topic_variance = spread + CELL_SD**2
    return LevelFit(np.vstack([values, base]), np.vstack([variances, np.full((1, N_LEVELS), new_topic_variance)]))


def _population(observed: FloatArray, weight: FloatArray, prior: LevelPrior) -> FloatArray:
    """Return mean plus level effects, by ridge regression on the steps between levels. Shape (4,)."""
    steps = np.tril(np.ones((N_LEVELS, N_LEVELS - 1)), -1)
    design = np.hstack([np.ones((N_LEVELS, 1)), steps - steps[REFERENCE_LEVEL]])
    by_level = weight.sum(axis=0)
    precision = np.diag([1e-6] + [1.0 / GAP_SD**2] * (N_LEVELS - 1))
    centre = np.array([0.0] + [prior.gap] * (N_LEVELS - 1))
    normal = design.T @ (by_level[:, None] * design) + precision
    target = design.T @ (weight * observed).sum(axis=0) + precision @ centre
    solution = np.linalg.solve(normal, target)
    gaps = np.sign(prior.gap) * np.maximum(np.sign(prior.gap) * solution[1:], prior.min_step)
    effects: FloatArray = design @ np.concatenate([solution[:1], gaps])
    return effects


def _ordered(values: FloatArray, weight: FloatArray, prior: LevelPrior) -> FloatArray:
    """Return values (T, 4) whose levels differ by the minimum step at least, in the direction of the gap.

    Neighbours that are too near are pooled (isotonic regression by pool-adjacent-violators, Ayer et al. 1955).
    """
    direction = np.sign(prior.gap)
    steps = prior.min_step * np.arange(N_LEVELS)
    ordered = values.copy()
    for row in np.flatnonzero((np.diff(values, axis=1) * direction < prior.min_step).any(axis=1)):
        blocks: list[tuple[float, float, int]] = []
        for value, mass in zip(values[row] * direction - steps, weight[row], strict=True):
            blocks.append((float(value), float(mass), 1))
            while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
                (v1, m1, n1), (v2, m2, n2) = blocks[-2:]
                blocks[-2:] = [((v1 * m1 + v2 * m2) / (m1 + m2), m1 + m2, n1 + n2)]
        pooled = np.concatenate([np.full(count, value) for value, _, count in blocks])
        ordered[row] = (pooled + steps) * direction
    return ordered
