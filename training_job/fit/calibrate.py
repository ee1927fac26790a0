"""What the validation answers decide: how far to trust the residual, its temperature, and the time's interval.

The residual's scale leans to 0 by two standard errors while it is in doubt: a network must show on later answers that
it is worth it, else the version serves exactly LNIRT. One would not do, since the number of passes and the factor were
chosen on the same answers. Errors are clustered by student, since one student's answers
are alike. What was chosen is then held against LNIRT alone once more, and so is the network of the final pass:
whatever went wrong on the way, no version is worse than LNIRT on its hold-out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import MAX_ABS_LOGIT, FloatArray, sigmoid
from training_job.fit.optimise import losses_of

SCALES = np.linspace(0.0, 1.0, 11)
MIN_VALIDATION = 30
"""Validation answers below which the residual is not used at all."""

DOUBT = 2.0
"""Standard errors of the validation loss by which the factor leans to 0."""

CLEAR_GAIN = 4.0
"""Standard errors of the gain over LNIRT from which there is no doubt left, and the factor leans to 1 instead of 0."""

MIN_TEMPERATURE_ANSWERS = 1000
TEMPERATURE_SD = 0.05
MAX_LOG_TEMPERATURE = 0.15
"""Prior and bound of the logarithm of the temperature: it may correct a network, not replace its fit."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The residual's factor in [0, 1], and what its output is divided by."""

    scale: float
    temperature: float


PRIOR_ONLY = Calibration(0.0, 1.0)
"""The version's network is exactly LNIRT."""


def calibrated(
    prior: FloatArray, output: FloatArray, target: FloatArray, user: npt.NDArray[np.integer], *, binary: bool
) -> Calibration:
    """The calibration of a network's ``output`` on validation answers; PRIOR_ONLY where LNIRT is no worse. All (N,)."""
    scale = choose_scale(prior, output, target, user, binary=binary)
    temperature = choose_temperature(prior + scale * (output - prior), target) if binary and scale else 1.0
    chosen = Calibration(scale, temperature)
    return chosen if beats_prior(prior, output, target, chosen, binary=binary) else PRIOR_ONLY


def beats_prior(
    prior: FloatArray, output: FloatArray, target: FloatArray, calibration: Calibration, *, binary: bool
) -> bool:
    """Whether the calibrated network has a smaller mean loss than its prior, and a finite one. All (N,)."""
    with np.errstate(invalid="ignore"):
        served = (prior + calibration.scale * (output - prior)) / calibration.temperature
    if not len(target) or not np.isfinite(served).all():
        return False
    if binary:
        served, prior = (np.clip(logits, -MAX_ABS_LOGIT, MAX_ABS_LOGIT) for logits in (served, prior))
    return bool(losses_of(served, target, binary).mean() < losses_of(prior, target, binary).mean())


def choose_scale(
    prior: FloatArray, output: FloatArray, target: FloatArray, user: npt.NDArray[np.integer], *, binary: bool
) -> float:
    """The smallest factor whose validation loss is within two standard errors of the best one's. All (N,).

    Where the network is better than its prior beyond doubt, it is the largest within one, each at its own temperature:
    what is judged here is one network that does not know the newest answers, and the mean of several that do, which
    is published in its place, errs less.
    """
    if len(target) < MIN_VALIDATION:
        return 0.0
    outputs = [prior + scale * (output - prior) for scale in SCALES]
    losses = np.stack([losses_of(logit, target, binary) for logit in outputs])
    gain = losses[0] - losses[losses.mean(axis=1).argmin()]
    clear = gain.mean() > CLEAR_GAIN * _standard_error(gain, user)
    if clear and binary:
        losses = np.stack([losses_of(logit / choose_temperature(logit, target), target, binary) for logit in outputs])
    best = int(losses.mean(axis=1).argmin())
    for candidate in range(len(SCALES) - 1, best, -1) if clear else range(best):
        worse = losses[candidate] - losses[best]
        if worse.mean() <= (1.0 if clear else DOUBT) * _standard_error(worse, user):
            return float(SCALES[candidate])
    return float(SCALES[best])


def _standard_error(difference: FloatArray, user: npt.NDArray[np.integer]) -> float:
    """Standard error of the mean difference, clustered by user; not less than that of independent answers.

    A few students say little of how students differ: with G of them the error is Student's, of G - 1 degrees of freedom
    (the quantile at which a normal error is one), and what one alone shows says nothing of others.
    """
    from scipy.special import ndtr, stdtrit

    centred = difference - difference.mean()
    n = len(difference)
    names, groups = np.unique(user, return_inverse=True)
    if len(names) < 2:
        return math.inf
    sums = np.bincount(groups, weights=centred)
    students = len(names) - 1
    clustered = math.sqrt((sums**2).sum() * len(names) / students) / n * float(stdtrit(students, ndtr(1.0)))
    return max(clustered, float(centred.std()) / math.sqrt(n))


def choose_temperature(logit: FloatArray, target: FloatArray) -> float:
    """The temperature that fits validation best, shrunk towards 1. All (N,)."""
    if len(target) < MIN_TEMPERATURE_ANSWERS:
        return 1.0
    log_slope = 0.0
    for _ in range(20):
        scaled = logit * np.exp(log_slope)
        p = sigmoid(scaled)
        gradient = float(((target - p) * scaled).sum()) - log_slope / TEMPERATURE_SD**2
        curvature = float((p * (1 - p) * scaled**2).sum()) + 1.0 / TEMPERATURE_SD**2
        log_slope = float(np.clip(log_slope + gradient / curvature, -MAX_LOG_TEMPERATURE, MAX_LOG_TEMPERATURE))
    return float(np.exp(-log_slope))
