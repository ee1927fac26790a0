"""How good predictions are: scores of a hold-out, and how sure the difference between two versions is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain import calibration
from chalicelib.domain.lnirt import FloatArray
from chalicelib.prediction.chain import bounded_probability
from chalicelib.prediction.predictor import Predictor
from training_job.history.answers import AnswerTable, Rows
from training_job.history.replay import predict_history, served_log_seconds

RESAMPLES = 1000
CONFIDENCE = 0.95
"""Probability with which the true difference lies above the lower bound, and below the upper one."""

MIN_STUDENTS = 10
"""Number of students below which single answers are resampled instead of students."""

DRAWN_AT_ONCE = 2_000_000


def log_losses(correct: Rows, probability: FloatArray) -> FloatArray:
    """Return the negative log-likelihood of each answer, in nats. All (N,)."""
    return -np.log(np.where(correct, probability, 1.0 - probability))


def auc(correct: Rows, score: FloatArray) -> float | None:
    """Return the area under the ROC curve, None where all answers are correct or none is. Both (N,).

    It is the probability that a correct answer has a higher score than an incorrect one. Ties count half.
    """
    n_correct = int(correct.sum())
    n_incorrect = len(correct) - n_correct
    if not n_correct or not n_incorrect:
        return None
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    return float((ranks[correct].sum() - n_correct * (n_correct + 1) / 2.0) / (n_correct * n_incorrect))


def expected_calibration_error(correct: Rows, probability: FloatArray) -> float | None:
    """Return the error of :mod:`chalicelib.domain.calibration`, None without answers. Both (N,)."""
    bins = np.minimum((probability * calibration.N_BINS).astype(np.int64), calibration.N_BINS - 1)
    columns = (np.bincount(bins), np.bincount(bins, weights=correct), np.bincount(bins, weights=probability))
    return calibration.expected_calibration_error(zip(*(column.tolist() for column in columns), strict=True))


def root_mean_square(errors: FloatArray) -> float | None:
    """Return the root of the mean square, None without errors."""
    return float(np.sqrt(np.mean(np.square(errors)))) if len(errors) else None


def short(value: float) -> float:
    """Return the value with five significant digits."""
    return float(f"{value:.5g}")


def holdout_scores(predictor: Predictor, table: AnswerTable, holdout: Rows) -> dict[str, Any]:
    """Score what ``predictor`` would have served for the ``holdout`` (N,) answers, each from the earlier ones.

    ``log_loss``, ``auc``, ``ece``, ``log_time_rmse`` and ``coverage80`` are scores of the served predictions, those
    with ``lnirt_`` of LNIRT alone. A score is None where the answers do not allow it. ``chances``, ``losses`` and
    ``log_time_squared_errors`` (n,), NaN without a time, are per answer in the table's order, for paired comparisons;
    ``users`` (n,) are their students. ``log_seconds`` (n,) are served, and ``inside`` (n,) is 1 where the time lies in
    its interval, 0 where it does not, NaN where there is none.
    """
    served = predict_history(predictor, table, holdout)
    rows = table.select(holdout)
    logs, timed = rows.log_seconds, rows.timed
    with_interval = timed & ~np.isnan(served.low)
    inside = np.where(with_interval, (logs >= served.low) & (logs <= served.high), np.nan)
    scores: dict[str, Any] = {"n": len(rows), "n_timed": int(timed.sum()), "users": rows.user}
    scores["ece"] = expected_calibration_error(rows.is_correct, served.correct)
    scores["coverage80"] = float(np.nanmean(inside)) if with_interval.any() else None
    scores |= {"inside": inside, "log_seconds": served.log_seconds}
    lnirt_correct = bounded_probability(served.lnirt_logit)
    for prefix, probability, log_seconds in (
        ("", served.correct, served.log_seconds),
        ("lnirt_", lnirt_correct, served_log_seconds(served.lnirt_log_seconds)),
    ):
        losses, errors = log_losses(rows.is_correct, probability), np.where(timed, logs - log_seconds, np.nan)
        scores |= {
            f"{prefix}log_loss": float(losses.mean()) if len(losses) else None,
            f"{prefix}auc": auc(rows.is_correct, probability),
            f"{prefix}log_time_rmse": root_mean_square(errors[timed]),
            f"{prefix}chances": probability,
            f"{prefix}losses": losses,
            f"{prefix}log_time_squared_errors": np.square(errors),
        }
    return scores


def against_lnirt(scores: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Compare the served predictions with LNIRT alone, by the losses that :func:`holdout_scores` returned.

    Returns the figures of ``log_loss`` and, where there are times, of ``log_time_mse``.
    """
    figures: dict[str, dict[str, float]] = {}
    for name, losses in (("log_loss", "losses"), ("log_time_mse", "log_time_squared_errors")):
        ours, theirs = scores[losses], scores[f"lnirt_{losses}"]
        known = np.isfinite(ours) & np.isfinite(theirs)
        if known.any():
            figures[name] = mean_difference(ours[known], theirs[known], scores["users"][known]).figures()
    return figures


def student_means(losses: FloatArray, user: npt.NDArray[np.integer]) -> FloatArray:
    """Return the mean loss of each student, sorted by code, from losses and students of answers. (N,) each."""
    _, number, answers = np.unique(user, return_inverse=True, return_counts=True)
    means: FloatArray = np.bincount(number.ravel(), weights=losses) / answers
    return means


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of our losses minus theirs over ``n`` answers, with a one-sided bound on each side.

    A positive mean says that ours are worse.
    """

    mean: float
    low: float
    high: float
    n: int

    def figures(self) -> dict[str, float]:
        """Return the numbers by name, for ``metadata.json``."""
        return {"difference": short(self.mean), "low": short(self.low), "high": short(self.high), "n": self.n}


def mean_difference(
    ours: FloatArray, theirs: FloatArray, user: npt.NDArray[np.integer], *, seed: int = 0
) -> Difference:
    """Return the mean difference of two losses of the same answers with bounds. All (N,).

    The bounds come from a paired bootstrap. Answers of one student are alike, so whole students are resampled (the
    cluster bootstrap, Field & Welsh 2007, "Bootstrapping clustered data"). A handful of students cannot be resampled:
    then single answers are, and the bounds are a little too narrow. The same losses give the same bounds. Raises
    ValueError without answers or for a loss that is not finite.
    """
    difference = ours - theirs
    if not len(difference) or not np.isfinite(difference).all():
        raise ValueError(f"{len(difference)} answers, of which {int(np.isfinite(difference).sum())} have finite losses")
    groups = np.unique(user, return_inverse=True)[1].ravel()
    if int(groups.max()) + 1 < MIN_STUDENTS:
        groups = np.arange(len(difference))
    means = _resampled_means(np.bincount(groups, weights=difference), np.bincount(groups), seed)
    low, high = np.quantile(means, [1.0 - CONFIDENCE, CONFIDENCE])
    return Difference(float(difference.mean()), float(low), float(high), len(difference))


def _resampled_means(sums: FloatArray, counts: npt.NDArray[np.integer], seed: int) -> FloatArray:
    """Return the mean over the answers of each resample (RESAMPLES,), from sums and counts of groups (G,)."""
    rng = np.random.default_rng(seed)
    means: list[FloatArray] = []
    left = RESAMPLES
    while left:
        size = min(left, max(1, DRAWN_AT_ONCE // len(sums)))
        drawn = rng.integers(len(sums), size=(size, len(sums)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
        left -= size
    return np.concatenate(means)


def resampled_aucs(
    correct: Rows, score: FloatArray, user: npt.NDArray[np.integer], seed: int, resamples: int = 200
) -> FloatArray:
    """Return the AUC of each resample of whole students (R,), from outcomes, scores and students of answers (N,).

    The same seed and students give the same resamples, so the AUCs of two scores are paired. It is NaN where all
    answers of a resample are correct or none is.
    """
    order = np.argsort(score, kind="stable")
    groups = np.unique(user, return_inverse=True)[1].ravel()[order]
    first, positive = np.flatnonzero(np.diff(score[order], prepend=np.nan) != 0), correct[order]
    rng, found = np.random.default_rng(seed), np.empty(resamples)
    for number in range(resamples):
        drawn = rng.integers(groups.max() + 1, size=groups.max() + 1)
        weight = np.bincount(drawn, minlength=len(drawn))[groups].astype(np.float64)
        n_correct = np.add.reduceat(weight * positive, first)
        n_incorrect = np.add.reduceat(weight * ~positive, first)
        # A correct answer beats the incorrect ones of lower score, and half of those of the same.
        won = n_correct @ (np.cumsum(n_incorrect) - n_incorrect / 2.0)
        pairs = n_correct.sum() * n_incorrect.sum()
        found[number] = won / pairs if pairs else np.nan
    return found
