"""Drift of the served predictions: which source they came from, and how well they agree with the results.

The newest completions of all students are cut into windows of equal size. The fallback rate of a window is the share
of predictions that the embedding model did not make. Its calibration error covers the predictions by a model. A small
window has such an error by chance alone, so the error expected by chance is reported next to it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from msgspec import Struct

from chalicelib.domain.calibration import N_BINS, expected_calibration_error, share
from chalicelib.domain.fields import Accuracy, BrierScore, CalibrationError, PredictedAccuracy, TimeRatio, about
from chalicelib.domain.predictions import Source
from chalicelib.domain.results import DriftRow
from chalicelib.ports import AnalyticsStore

NCompletions = Annotated[int, about("Number of completions", 200)]
FallbackRate = Annotated[float, about("Share of predictions that the networks did not make", 0.04)]


class Sources(Struct, frozen=True):
    """Numbers of completions by the source of their prediction."""

    embedding: Annotated[int, about("Predicted by the networks", 192)]
    lnirt: Annotated[int, about("Predicted by the statistical model", 6)]
    default: Annotated[int, about("Default predictions: 0.5 and 60 seconds", 2)]


class DriftWindow(Struct, frozen=True):
    """Figures of consecutive completions. A figure without data is null.

    The figures after ``fallback_rate`` cover predictions by a model only. ``calibration_error_by_chance`` is the
    expected error of perfectly calibrated predictions in a window of this size.
    """

    n: NCompletions
    first_completed_at: Annotated[datetime, about("Time of the oldest completion", "2026-03-01T08:00:00Z", "date-time")]
    last_completed_at: Annotated[datetime, about("Time of the newest completion", "2026-03-02T09:01:00Z", "date-time")]
    sources: Annotated[Sources, about("Completions by the source of their prediction")]
    fallback_rate: FallbackRate
    accuracy: Accuracy | None
    predicted_accuracy: PredictedAccuracy | None
    brier_score: BrierScore | None
    expected_calibration_error: CalibrationError | None
    calibration_error_by_chance: (
        Annotated[float, about("Calibration error that perfect predictions would have in such a window", 0.028)] | None
    )
    time_ratio: TimeRatio | None


class Drift(Struct, frozen=True):
    """The newest completions of all students: in total, and by window, newest first."""

    n: NCompletions
    sources: Annotated[Sources, about("Completions by the source of their prediction")]
    fallback_rate: FallbackRate | None
    windows: Annotated[list[DriftWindow], about("Windows of equal size, newest first")]


def drift(store: AnalyticsStore, limit: int, window: int) -> Drift:
    """Return the drift over the ``limit`` newest completions, in windows of ``window`` each.

    The oldest window may be smaller.
    """
    rows = store.drift(limit, window, N_BINS)
    by_window: dict[int, list[DriftRow]] = defaultdict(list)
    for row in rows:
        by_window[row.window].append(row)
    n = sum(row.n for row in rows)
    sources = _sources(rows)
    windows = [_window(by_window[number]) for number in sorted(by_window)]
    return Drift(n, sources, share(n - sources.embedding, n), windows)


def _sources(rows: Sequence[DriftRow]) -> Sources:
    def count(source: Source) -> int:
        return sum(row.n for row in rows if row.source is source)

    return Sources(count(Source.EMBEDDING), count(Source.LNIRT), count(Source.DEFAULT))


def _window(rows: Sequence[DriftRow]) -> DriftWindow:
    n, sources = sum(row.n for row in rows), _sources(rows)
    judged = [row for row in rows if row.source is not Source.DEFAULT]
    mean_log = share(sum(row.sum_log_ratio for row in judged), sum(row.timed for row in judged))
    n_judged = sum(row.n for row in judged)
    error, by_chance = _calibration_errors(judged)
    return DriftWindow(
        n=n,
        first_completed_at=min(row.first_at for row in rows),
        last_completed_at=max(row.last_at for row in rows),
        sources=sources,
        fallback_rate=(n - sources.embedding) / n,
        accuracy=share(sum(row.correct for row in judged), n_judged),
        predicted_accuracy=share(sum(row.sum_predicted for row in judged), n_judged),
        brier_score=share(sum(row.sum_squared_error for row in judged), n_judged),
        expected_calibration_error=error,
        calibration_error_by_chance=by_chance,
        time_ratio=None if mean_log is None else math.exp(mean_log),
    )


def _calibration_errors(rows: Sequence[DriftRow]) -> tuple[float | None, float | None]:
    """Return the expected calibration error over bins, and its expectation for perfectly calibrated predictions.

    The share of correct answers among n with probability p deviates from p by sqrt(2 p (1 - p) / (pi n)) on average:
    the mean absolute deviation of a normal distribution.
    """
    by_bin: dict[int, list[DriftRow]] = defaultdict(list)
    for row in rows:
        by_bin[row.bin].append(row)
    bins = [
        (sum(row.n for row in group), sum(row.correct for row in group), sum(row.sum_predicted for row in group))
        for group in by_bin.values()
    ]
    n, by_chance = sum(row.n for row in rows), 0.0
    for size, _, predicted in bins:
        by_chance += math.sqrt(2 * predicted * (size - predicted) / (math.pi * size))
    return expected_calibration_error(bins), share(by_chance, n)
