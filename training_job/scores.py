"""Scores of predictions: log-loss, area under the ROC curve, calibration error, log-time error."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import FloatArray

BINS = 15
"""Equally wide bins of the expected calibration error."""

Truth = npt.NDArray[np.bool_]


def log_losses(correct: Truth, probability: FloatArray) -> FloatArray:
    """Negative log-likelihood of each answer, in nats. All (N,)."""
    return -np.log(np.where(correct, probability, 1.0 - probability))


def auc(correct: Truth, score: FloatArray) -> float | None:
    """Probability that a correct answer has the higher score, ties counting half; None with one class only."""
    positive = int(correct.sum())
    negative = len(correct) - positive
    if not positive or not negative:
        return None
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    return float((ranks[correct].sum() - positive * (positive + 1) / 2.0) / (positive * negative))


def expected_calibration_error(correct: Truth, probability: FloatArray) -> float | None:
    """Mean absolute difference between predicted and actual frequency over 15 bins, weighted; None when empty."""
    if not len(correct):
        return None
    bins = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    difference = np.bincount(bins, weights=probability - correct, minlength=BINS)
    return float(np.abs(difference).sum() / len(correct))


def root_mean_square(errors: FloatArray) -> float | None:
    """Root of the mean square; None when empty."""
    return float(np.sqrt(np.mean(np.square(errors)))) if len(errors) else None
