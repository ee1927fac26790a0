"""Metrics for the operator, which the sweeper logs once a minute.

They show a training that is due while no worker trains, and predictions that no longer agree with the results.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from chalicelib import logs, metrics
from chalicelib.domain.training import TrackerRow, TrainingPolicy, TrainingState
from chalicelib.metrics import CALIBRATION_ERROR, COUNTER_OVER_THRESHOLD, Metric
from chalicelib.ports import AnalyticsStore, Tracker
from chalicelib.services.drift import drift

LOGGER = "studysmart.watch"
_log = logging.getLogger(LOGGER)

NEWEST = 1_000
"""Number of newest completions, of all students of a cohort, from which the calibration error is computed."""

MINIMUM_PREDICTIONS = 500
"""Minimum number of predictions by a model among them. With fewer, an error of 0.05 can be due to chance."""


COHORTS_AT_ONCE = 20
"""Number of cohorts whose predictions are compared with the results in a minute. With more, they take turns."""


def watch(
    tracker: Tracker, own: str, analytics_of: Callable[[str], AnalyticsStore], policy: TrainingPolicy, now: float
) -> None:
    """Log a line with the metrics and the figures behind them, and lines about further cohorts.

    The first line is about the cohort whose training is the most overdue, by default the deployment's ``own``. So the
    metric is 0 only if no cohort waits for a worker. ``now`` is in seconds.
    """
    rows = {own: tracker.read(own)} | {row.cohort: row for row in tracker.rows()}
    over = {cohort: completions_over_threshold(row, policy) for cohort, row in rows.items()}
    first = max(over, key=over.__getitem__)
    _log_cohort(rows[first], analytics_of(first), over[first], {COUNTER_OVER_THRESHOLD: over[first]})
    others = sorted(set(rows) - {first})
    start = int(now // 60) * COHORTS_AT_ONCE
    for place in range(start, start + min(COHORTS_AT_ONCE, len(others))):
        cohort = others[place % len(others)]
        _log_cohort(rows[cohort], analytics_of(cohort), over[cohort], {})


def _log_cohort(row: TrackerRow, analytics: AnalyticsStore, over: int, values: dict[Metric, float]) -> None:
    known: dict[str, Any] = {"cohort": row.cohort, "counter": row.n_samples_since_training}
    known["training"] = row.state.value
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
