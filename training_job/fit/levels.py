"""Hierarchical shrinkage of topic x difficulty parameters.

    value(topic, level) = mean + level effect + topic effect + cell effect

Sparse cells lean on their topic, the topic on the population, and a level nobody has tried on the ordered level
effects: each level is predicted to be harder, and to take longer, than the one before, if only by a least step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chalicelib.domain.lnirt import N_LEVELS, FloatArray

REFERENCE_LEVEL = 1
"""Medium: the level whose effect is 0."""

GAP_SD = 0.3
CELL_SD = 0.3
TOPIC_SD = 0.7
TOPIC_SD_WEIGHT = 10.0
"""How many topics the prior guess of the topics' spread counts for."""

SWEEPS = 12


@dataclass(frozen=True, slots=True)
class LevelPrior:
    """What is assumed of the levels before any data: the step from one to the next, and its least size."""

    gap: float
    least: float


SUCCESS_LEVELS = LevelPrior(gap=-0.5, least=0.05)
"""Each level is half a logit harder than the one before."""

TIME_LEVELS = LevelPrior(gap=0.25, least=0.02)
"""Each level takes about 28 % longer than the one before."""


@dataclass(frozen=True, slots=True)
class LevelFit:
    """Smoothed values (T+1, 4), the average topic last, and their variances."""

    values: FloatArray
    variances: FloatArray


def fit_levels(observed: FloatArray, weight: FloatArray, prior: LevelPrior) -> LevelFit:
    """Smooth observed values (T, 4) that have precision ``weight`` (T, 4), 0 where nothing was observed."""
    # Integrating the cell effect out leaves its variance in the weight of the effects above it.
    marginal = 1.0 / (1.0 / np.maximum(weight, 1e-12) + CELL_SD**2) * (weight > 0)
    per_topic = marginal.sum(axis=1)
    topic_effect = np.zeros(len(observed))
    spread = TOPIC_SD**2
    for _ in range(SWEEPS):
        base = _population(observed - topic_effect[:, None], marginal, prior)
        leftover = (marginal * (observed - base)).sum(axis=1)
        precision = per_topic + 1.0 / spread
        topic_effect = leftover / precision
        centre = topic_effect.mean() if len(topic_effect) else 0.0
        topic_effect -= centre
        base = base + centre
        squares = (topic_effect**2 + 1.0 / precision).sum()
        spread = (squares + TOPIC_SD_WEIGHT * TOPIC_SD**2) / (len(observed) + TOPIC_SD_WEIGHT)
    expected = base + topic_effect[:, None]
    cell_precision = weight + 1.0 / CELL_SD**2
    values = expected + weight * (observed - expected) / cell_precision
    variances = 1.0 / cell_precision + (1.0 / (1.0 + weight * CELL_SD**2)) ** 2 / precision[:, None]
    values = _ordered(values, cell_precision, prior)
    average_variance = spread + CELL_SD**2
    return LevelFit(np.vstack([values, base]), np.vstack([variances, np.full((1, N_LEVELS), average_variance)]))


def _population(observed: FloatArray, weight: FloatArray, prior: LevelPrior) -> FloatArray:
    """Mean plus level effects, by ridge regression on the steps between levels. Shape (4,)."""
    steps = np.tril(np.ones((N_LEVELS, N_LEVELS - 1)), -1)
    design = np.hstack([np.ones((N_LEVELS, 1)), steps - steps[REFERENCE_LEVEL]])
    by_level = weight.sum(axis=0)
    precision = np.diag([1e-6] + [1.0 / GAP_SD**2] * (N_LEVELS - 1))
    centre = np.array([0.0] + [prior.gap] * (N_LEVELS - 1))
    normal = design.T @ (by_level[:, None] * design) + precision
    target = design.T @ (weight * observed).sum(axis=0) + precision @ centre
    solution = np.linalg.solve(normal, target)
    gaps = np.sign(prior.gap) * np.maximum(np.sign(prior.gap) * solution[1:], prior.least)
    effects: FloatArray = design @ np.concatenate([solution[:1], gaps])
    return effects


def _ordered(values: FloatArray, weight: FloatArray, prior: LevelPrior) -> FloatArray:
    """Rows made monotone in the direction of the gap, by pooling neighbours that are nearer than the least step."""
    direction = np.sign(prior.gap)
    least = prior.least * np.arange(N_LEVELS)
    ordered = values.copy()
    for row in np.flatnonzero((np.diff(values, axis=1) * direction < prior.least).any(axis=1)):
        blocks: list[tuple[float, float, int]] = []
        for value, mass in zip(values[row] * direction - least, weight[row], strict=True):
            blocks.append((float(value), float(mass), 1))
            while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
                (v1, m1, n1), (v2, m2, n2) = blocks[-2:]
                blocks[-2:] = [((v1 * m1 + v2 * m2) / (m1 + m2), m1 + m2, n1 + n2)]
        pooled = np.concatenate([np.full(count, value) for value, _, count in blocks])
        ordered[row] = (pooled + least) * direction
    return ordered
