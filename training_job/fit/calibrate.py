"""Chooses on the validation answers how far to trust a network: the scale of its residual, and its temperature.

The scale is shrunk towards 0 by two standard errors of the loss: a network must show on later answers that it helps,
otherwise the version serves exactly LNIRT. One standard error is not enough, because the number of epochs and the
scale are chosen on the same answers. Standard errors are clustered by student, because the answers of one student are
alike. The chosen network is then compared with LNIRT alone once more, and so is the network of the final pass. So no
version is worse than LNIRT on its hold-out, whatever went wrong before.
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
"""Number of validation answers below which the residual is not used at all."""

DOUBT = 2.0
"""Number of standard errors of the validation loss by which the scale is shrunk towards 0."""

CLEAR_GAIN = 4.0
"""Gain over LNIRT, in standard errors, above which the network is clearly better: its scale is shrunk towards 1."""

MIN_TEMPERATURE_ANSWERS = 1000
TEMPERATURE_SD = 0.05
MAX_LOG_TEMPERATURE = 0.15
"""Prior standard deviation and bound of the logarithm of the temperature: it may correct a network, not refit it."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The factor of the residual, in [0, 1], and the divisor of the output."""

    scale: float
    temperature: float


PRIOR_ONLY = Calibration(0.0, 1.0)
"""The calibration by which a network predicts exactly as LNIRT does."""


def calibrated(
    prior: FloatArray, output: FloatArray, target: FloatArray, user: npt.NDArray[np.integer], *, binary: bool
) -> Calibration:
    """Return the calibration of a network by its ``output`` on validation answers. All arrays are (N,).

    It is PRIOR_ONLY where LNIRT is no worse than the network.
    """
    scale = choose_scale(prior, output, target, user, binary=binary)
    temperature = choose_temperature(prior + scale * (output - prior), target) if binary and scale else 1.0
    chosen = Calibration(scale, temperature)
    return chosen if beats_prior(prior, output, target, chosen, binary=binary) else PRIOR_ONLY


def beats_prior(
    prior: FloatArray, output: FloatArray, target: FloatArray, calibration: Calibration, *, binary: bool
) -> bool:
    """Return True if the calibrated network has a smaller mean loss than its prior. All arrays are (N,).

    A network with outputs that are not finite has not.
    """
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
    """Return the member of SCALES that the validation answers support. All arrays are (N,).

    Usually it is the smallest scale whose mean loss exceeds the smallest mean loss of all scales by at most two
    standard errors. If the network is clearly better than its prior (CLEAR_GAIN), it is the largest scale whose mean
    loss exceeds the smallest by at most one standard error, with each scale at its own temperature. Such a network
    deserves the larger scale: the network judged here was trained without the newest answers, and the published network
    is trained on all answers.
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
    """Return the standard error of the mean difference, clustered by student, and at least the unclustered error.

    With few students the spread between students is itself uncertain. So the clustered error is widened by a quantile
    of Student's t distribution: the quantile for the probability at which the normal distribution's quantile is 1. With
    one student the error is infinite, because one student does not show how students differ.
    """
    from scipy.special import ndtr, stdtrit

    centred = difference - difference.mean()
    n = len(difference)
    students, groups = np.unique(user, return_inverse=True)
    if len(students) < 2:
        return math.inf
    sums = np.bincount(groups, weights=centred)
    degrees = len(students) - 1
    clustered = math.sqrt((sums**2).sum() * len(students) / degrees) / n
    clustered *= float(stdtrit(degrees, ndtr(1.0)))
    return max(clustered, float(centred.std()) / math.sqrt(n))


def choose_temperature(logit: FloatArray, target: FloatArray) -> float:
    """Return the temperature with the smallest validation loss, shrunk towards 1, by Newton's method. All (N,)."""
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
