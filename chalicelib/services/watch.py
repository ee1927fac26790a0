"""Metrics for the operator, which the sweeper logs once a minute.

They show a training that is due while no worker trains, and predictions that no longer agree with the results.
"""

from __future__ import annotations

import logging
from typing import Any

from chalicelib import logs, metrics
from chalicelib.domain.training import TrackerRow, TrainingPolicy, TrainingState
from chalicelib.metrics import CALIBRATION_ERROR, COUNTER_OVER_THRESHOLD, Metric
from chalicelib.ports import AnalyticsStore, Tracker
from chalicelib.services.drift import drift

LOGGER = "studysmart.watch"
_log = logging.getLogger(LOGGER)

NEWEST = 1_000
"""Number of newest completions, of all students, from which the calibration error is computed."""

MINIMUM_PREDICTIONS = 500
"""Minimum number of predictions by a model among them. With fewer, an error of 0.05 can be due to chance."""


def watch(tracker: Tracker, analytics: AnalyticsStore, policy: TrainingPolicy, cohort: str) -> None:
    """Log one line with the metrics and the figures behind them."""
    row = tracker.read(cohort)
    over = completions_over_threshold(row, policy)
    values: dict[Metric, float] = {COUNTER_OVER_THRESHOLD: over}
    known: dict[str, Any] = {"counter": row.n_samples_since_training, "training": row.state.value}
    for window in drift(analytics, NEWEST, NEWEST).windows:
        error, judged = window.expected_calibration_error, window.sources.embedding + window.sources.lnirt
        known |= {"newest": window.n, "judged": judged, "calibration_error": error}
        known |= {"error_by_chance": window.calibration_error_by_chance, "fallback_rate": window.fallback_rate}
        if error is not None and judged >= MINIMUM_PREDICTIONS:
            values[CALIBRATION_ERROR] = error
    logs.info(_log, "counter over threshold: %d", over, extra={**known, **metrics.fields(values)})


def completions_over_threshold(row: TrackerRow, policy: TrainingPolicy) -> int:
    """Return the counter if a training is due and need not wait, and no worker trains, else 0."""
    due = row.next_training_at is None and policy.is_due(row.n_samples_since_training, row.n_samples_total)
    return row.n_samples_since_training if due and row.state is not TrainingState.RUNNING else 0
