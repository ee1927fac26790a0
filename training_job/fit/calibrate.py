"""Fits on the validation answers how far to trust a network: the scale of its residual, and its temperature.

Both change little where the answers change little: a choice among candidates would jump from one to another when a few
accounts answer differently. A network must show on later answers that it helps, otherwise the version serves exactly
LNIRT. Standard errors are clustered by student, because the answers of one student are alike. The network is then
compared with LNIRT alone once more, and so is the network that has gone on. So no version is worse than LNIRT on its
hold-out, whatever went wrong before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import MAX_ABS_LOGIT, FloatArray, sigmoid
from training_job.fit.optimise import losses_of

MIN_VALIDATION = 30
"""Number of validation answers below which the residual is not used at all."""

PRIOR_SCALE, SCALE_SD = 1.0, 0.2
"""Prior of the scale: mean and standard deviation. The network judged here was trained without the newest answers. The
published one is trained on all answers, so it deserves more than the scale that fits best."""

DOUBT = 1.645
"""Number of standard errors by which a network must be better than LNIRT at the chosen scale, as in a test at 5 %."""

TEMPERATURE_SD = 0.025
MAX_LOG_TEMPERATURE = 0.15
"""Prior standard deviation and bound of the logarithm of the temperature: it may correct a network, not refit it."""

NEWTON_STEPS, MAX_SCALE = 20, 5.0
"""Number of Newton's steps, and bound of the best scale before it is shrunk."""

TINY = 1e-12


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
    """Return the scale in [0, 1] that the validation answers support. All arrays are (N,).

    It is the one with the smallest loss, by Newton's method, shrunk towards PRIOR_SCALE by its standard error. The loss
    is nearly quadratic, so scales up to twice the best one are no worse than LNIRT. This bound counts with DOUBT
    standard errors less, so that the scale of a doubtful network goes to 0 without a jump.
    """
    residual = output - prior
    if len(target) < MIN_VALIDATION or not np.isfinite(residual).all() or not residual.any():
        return 0.0
    best = PRIOR_SCALE
    for _ in range(NEWTON_STEPS):
        served = prior + best * residual
        expected = sigmoid(served) if binary else served
        score = residual * (target - expected)
        curvature = float((residual**2 * (expected * (1.0 - expected) if binary else 1.0)).mean())
        best = float(np.clip(best + np.clip(score.mean() / max(curvature, TINY), -0.5, 0.5), -MAX_SCALE, MAX_SCALE))
    error = _standard_error(score, user) / max(curvature, TINY)
    shrunk = PRIOR_SCALE + (best - PRIOR_SCALE) * SCALE_SD**2 / (SCALE_SD**2 + error**2)
    return float(np.clip(min(shrunk, 2.0 * (best - DOUBT * error)), 0.0, 1.0))


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
    log_slope = 0.0
    for _ in range(NEWTON_STEPS):
        scaled = logit * np.exp(log_slope)
        p = sigmoid(scaled)
        gradient = float(((target - p) * scaled).sum()) - log_slope / TEMPERATURE_SD**2
        curvature = float((p * (1 - p) * scaled**2).sum()) + 1.0 / TEMPERATURE_SD**2
        log_slope = float(np.clip(log_slope + gradient / curvature, -MAX_LOG_TEMPERATURE, MAX_LOG_TEMPERATURE))
    return float(np.exp(-log_slope))
