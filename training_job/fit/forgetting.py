"""Fits how fast students forget, from what LNIRT leaves unexplained after longer and shorter pauses.

The common rates come from Newton's method under priors around 0, and are kept from being negative. The rate of a topic
is shrunk towards the common one. A rate is 0 if there are too few pauses to fit it, and without any
dates there is no forgetting at all.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from chalicelib.domain.forgetting import Forgetting, parts_of
from chalicelib.domain.lnirt import FloatArray, IntArray, LnirtParameters, sigmoid
from chalicelib.domain.numerics import OF_ARRAYS
from chalicelib.features.constants import VersionConstants
from chalicelib.features.inputs import success_priors
from training_job.fit.items import fit_items
from training_job.fit.practice import past_of
from training_job.history.answers import AnswerTable

MIN_PAUSES = 30
"""Number of answers after a pause of at least an hour (of six minutes for the short memory) for a rate to be fitted."""

RATE_SD, SHORT_SD, PAUSE_SD = 0.3, 0.5, 0.3
"""Prior standard deviations of the common rates, whose prior means are 0."""

TOPIC_RATE_SD = 0.1
"""Spread of the topics' rates around the common one."""

PSEUDO_ANSWERS = 20.0
"""Number of answers for which the mean pause of all topics counts in that of a topic."""

ROUNDS, SWEEPS, TOPIC_ROUNDS = 8, 30, 3
LONG = 0.63
"""Minimum of log(1 + hours), and of 1 - exp(-hours / 0.1), for an answer to count as one after a pause: about 53
minutes, and six minutes."""


def fit_forgetting(model: LnirtParameters, table: AnswerTable) -> LnirtParameters:
    """Return the model with its forgetting; the same model if the answers say nothing about it."""
    if np.count_nonzero(~np.isnan(table.at)) < MIN_PAUSES:
        return model
    # With the items, because the answers after a pause are not on the same items as others.
    constants = replace(VersionConstants.of_lnirt(model), items=fit_items(table, model))
    past = past_of(constants, table)
    logit, topic, since_topic, since_any = (
        np.concatenate(parts)
        for parts in zip(
            *(
                (success_priors(one, model).logit, one.topic_row, one.hours_since_topic, one.hours_since_any)
                for one in past
            ),
            strict=True,
        )
    )
    on_topic, at_all = ~np.isnan(since_topic), ~np.isnan(since_any)
    lost = np.stack([*parts_of(since_topic, OF_ARRAYS), parts_of(since_any, OF_ARRAYS)[0]], axis=1)
    known = np.stack([on_topic, on_topic, at_all], axis=1)
    typical = (lost * known).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    correct = table.is_correct.astype(np.float64)
    common = _common((lost - typical) * known * ((lost > LONG).sum(axis=0) >= MIN_PAUSES), logit, correct)
    if not common.any():
        return model
    of_topic = _means(lost[:, 0] * on_topic, on_topic, topic, len(model.easiness), typical[0])
    base = logit - ((lost - typical) * known)[:, 1:] @ common[1:]
    rate = np.full(len(model.easiness), common[0])
    if common[0] > 0.0:
        rate = _rates((lost[:, 0] - of_topic[topic]) * on_topic, base, correct, topic, rate)
        rate[len(model.topics) :] = common[0]
    return replace(
        model,
        forgetting=Forgetting(rate, of_topic, float(common[1]), float(typical[1]), float(common[2]), float(typical[2])),
    )


def _means(values: FloatArray, known: FloatArray, topic: IntArray, n_rows: int, prior: float) -> FloatArray:
    """Return the mean of each row's known values (n_rows,), shrunk towards ``prior``."""
    sums, counts = (np.bincount(topic, weights=part, minlength=n_rows) for part in (values, known))
    means: FloatArray = (sums + PSEUDO_ANSWERS * prior) / (counts + PSEUDO_ANSWERS)
    return means


def _common(lost: FloatArray, logit: FloatArray, correct: FloatArray) -> FloatArray:
    """Return the three common rates, none of them negative. ``lost`` (N, 3) are the parts beyond the typical ones."""
    rates, precision = np.zeros(3), 1.0 / np.square([RATE_SD, SHORT_SD, PAUSE_SD])
    for _ in range(ROUNDS):
        p = sigmoid(logit - lost @ rates)
        score = lost.T @ (p - correct) - precision * rates
        information = (lost * (p * (1.0 - p))[:, None]).T @ lost + np.diag(precision)
        # The maximum of the quadratic approximation under the bounds, one rate after the other.
        found = rates.copy()
        for _ in range(SWEEPS):
            for k in range(3):
                slope = score[k] - information[k] @ (found - rates)
                found[k] = max(found[k] + slope / information[k, k], 0.0)
        rates = found
    return rates


def _rates(lost: FloatArray, logit: FloatArray, correct: FloatArray, topic: IntArray, common: FloatArray) -> FloatArray:
    """Return the rate of each row, shrunk towards the ``common`` ones, by Newton's method. Shape (T+1+S,)."""
    rate, precision = common.copy(), 1.0 / TOPIC_RATE_SD**2
    for _ in range(TOPIC_ROUNDS):
        p = sigmoid(logit - lost * rate[topic])
        score = np.bincount(topic, weights=lost * (p - correct), minlength=len(rate)) - precision * (rate - common)
        information = np.bincount(topic, weights=lost**2 * p * (1.0 - p), minlength=len(rate)) + precision
        rate = np.maximum(rate + np.clip(score / information, -0.5, 0.5), 0.0)
    return rate
