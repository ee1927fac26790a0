"""What nobody asks for and an operator must hear of: said by the sweeper at regular times, as metrics.

A counter that is full while nothing trains, and predictions that no longer agree with the results.
"""

from __future__ import annotations

import logging
from typing import Any

from chalicelib import metrics
from chalicelib.domain.training import TrackerRow, TrainingPolicy, TrainingState
from chalicelib.metrics import CALIBRATION_ERROR, COUNTER_OVER_THRESHOLD, Metric
from chalicelib.ports import AnalyticsStore, Tracker
from chalicelib.services.drift import drift

LOGGER = "studysmart.watch"
_log = logging.getLogger(LOGGER)

NEWEST = 1_000
"""Completions of all students that the calibration error is of."""

LEAST = 500
"""Predictions by a model among them below which chance could sound the alarm: in 500 it shows an error of .05."""


def watch(tracker: Tracker, analytics: AnalyticsStore, policy: TrainingPolicy, cohort: str) -> None:
    """Log one line with the metrics, and with the figures that they come from."""
    row = tracker.read(cohort)
    over = completions_over_threshold(row, policy)
    values: dict[Metric, float] = {COUNTER_OVER_THRESHOLD: over}
    known: dict[str, Any] = {"counter": row.n_samples_since_training, "training": row.state.value}
    for window in drift(analytics, NEWEST, NEWEST).windows:
        error, judged = window.expected_calibration_error, window.sources.embedding + window.sources.lnirt
        known |= {"newest": window.n, "judged": judged, "calibration_error": error}
        known |= {"error_by_chance": window.calibration_error_by_chance, "fallback_rate": window.fallback_rate}
        if error is not None and judged >= LEAST:
            values[CALIBRATION_ERROR] = error
    _log.info("counter over threshold: %d", over, extra={**known, **metrics.fields(values)})


def completions_over_threshold(row: TrackerRow, policy: TrainingPolicy) -> int:
    """Completions at and above the threshold that no worker is training on; 0 while there are too few samples."""
    due = policy.is_due(row.n_samples_since_training, row.n_samples_total)
    return row.n_samples_since_training if due and row.state is not TrainingState.RUNNING else 0
