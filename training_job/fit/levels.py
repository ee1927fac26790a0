"""Hierarchical shrinkage of the parameters of topics and difficulties (cells).

    value(topic, level) = mean + level effect + subject effect + topic effect + cell effect

A cell with few answers is shrunk towards its topic, a topic towards its subject, a subject towards the population, and
a level without answers towards the level effects. These are ordered: each level is harder and takes longer than the one
before, by a minimum step. Where all topics are of one subject, there is no subject effect.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chalicelib.domain.lnirt import N_LEVELS, FloatArray, IntArray

REFERENCE_LEVEL = 1
"""Medium: the level whose effect is 0."""

GAP_SD, CELL_SD, TOPIC_SD = 0.3, 0.3, 0.7
"""Standard deviations of the priors of the step between levels, the cell effect and the topic effect."""

TOPIC_SD_PSEUDO_TOPICS = 10.0
"""Number of topics for which the prior of the topic effect's spread counts."""

SUBJECT_SD, SUBJECT_SD_PSEUDO_SUBJECTS = 0.5, 3.0
"""Prior of the spread of the subject effects, and number of subjects for which it counts."""

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
    """Smoothed values and their variances. Shapes (T+1+S, 4).

    The last rows are for topics without any answer, with the variances of a new topic: the average topic, and the
    average topic of each of S subjects.
    """

    values: FloatArray
    variances: FloatArray


def fit_levels(
    observed: FloatArray, weight: FloatArray, prior: LevelPrior, subject: IntArray | None = None
) -> LevelFit:
    """Smooth observed values (T, 4) of precision ``weight`` (T, 4), which is 0 where nothing was observed.

    ``subject`` (T,) numbers the topics' subjects; None stands for one subject, and then S is 0. ``base`` (4,) is mean
    plus level effects. Each sweep fits it to the values without the other effects, and then fits the effects of
    subjects and topics and the variances of their priors. ``topic_effect`` contains the effect of the subject.
    """
    # The cell effect is integrated out: its variance lowers the weight of the effects above it.
    marginal = 1.0 / (1.0 / np.maximum(weight, 1e-12) + CELL_SD**2) * (weight > 0)
    per_topic = marginal.sum(axis=1)
    topic_effect, of_subject = np.zeros((2, len(observed)))
    effects, uncertainty = np.zeros((2, 0 if subject is None else int(subject.max()) + 1))
    spread, subject_spread = TOPIC_SD**2, SUBJECT_SD**2
    for _ in range(SWEEPS):
        base = _population(observed - topic_effect[:, None], marginal, prior)
        leftover = (marginal * (observed - base)).sum(axis=1)
        topic_precision = per_topic + 1.0 / spread
        topic_variance = 1.0 / topic_precision
        if subject is not None:
            # A topic's mean differs from its subject's by the topic's own effect and by chance.
            certainty = 1.0 / (1.0 + per_topic * spread)
            precision = np.bincount(subject, weights=per_topic * certainty) + 1.0 / subject_spread
            effects, uncertainty = np.bincount(subject, weights=leftover * certainty) / precision, 1.0 / precision
            of_subject = effects[subject]
            topic_variance = topic_variance + (per_topic / topic_precision) ** 2 * uncertainty[subject]
        topic_effect = of_subject + (leftover - per_topic * of_subject) / topic_precision
        # The mean of the effects moves into the base, so that the base is the average topic (of the average subject).
        mean_effect = float(np.mean(effects if len(effects) else topic_effect)) if len(topic_effect) else 0.0
        topic_effect -= mean_effect
        base = base + mean_effect
        if subject is not None:
            effects, of_subject = effects - mean_effect, of_subject - mean_effect
            squares = (effects**2 + uncertainty).sum() + SUBJECT_SD_PSEUDO_SUBJECTS * SUBJECT_SD**2
            subject_spread = squares / (len(effects) + SUBJECT_SD_PSEUDO_SUBJECTS)
        squares = ((topic_effect - of_subject) ** 2 + topic_variance).sum()
        spread = (squares + TOPIC_SD_PSEUDO_TOPICS * TOPIC_SD**2) / (len(observed) + TOPIC_SD_PSEUDO_TOPICS)
    expected = base + topic_effect[:, None]
    cell_precision = weight + 1.0 / CELL_SD**2
    values = expected + weight * (observed - expected) / cell_precision
    # A value is a mean of observed and expected. So its variance is that of the cell effect, plus that of the topic
    # effect times the square of the share of the expected value.
    expected_share = 1.0 / (1.0 + weight * CELL_SD**2)
    topic_variance = 1.0 / topic_precision
    if subject is not None:
        topic_variance = topic_variance + (1.0 / (spread * topic_precision)) ** 2 * uncertainty[subject]
    variances = 1.0 / cell_precision + expected_share**2 * topic_variance[:, None]
    values = _ordered(values, cell_precision, prior)
    # The average subject is that of a topic whose subject is unknown.
    of_new_topics = spread + CELL_SD**2 + np.append(subject_spread if len(effects) else 0.0, uncertainty)
    return LevelFit(
        np.vstack([values, base + np.append(0.0, effects)[:, None]]),
        np.vstack([variances, np.tile(of_new_topics[:, None], N_LEVELS)]),
    )


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
