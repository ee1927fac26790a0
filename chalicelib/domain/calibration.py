"""Expected calibration error: one definition for the pages, the drift watch and a version's metadata."""

from __future__ import annotations

from collections.abc import Iterable

N_BINS = 10
"""Bins of the predicted probability, equally wide over 0..1."""


def share(part: float, whole: float) -> float | None:
    """Return part / whole, None if there is nothing to divide."""
    return part / whole if whole else None


def expected_calibration_error(bins: Iterable[tuple[float, float, float]]) -> float | None:
    """Return the mean absolute difference between actual and predicted frequency, None without answers.

    Each bin is (answers, correct answers, sum of predicted probabilities). Naeini, Cooper & Hauskrecht (2015),
    "Obtaining well calibrated probabilities using Bayesian binning".
    """
    n = error = 0.0
    for answers, correct, predicted in bins:
        n, error = n + answers, error + abs(correct - predicted)
    return share(error, n)
