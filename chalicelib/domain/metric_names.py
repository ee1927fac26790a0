"""The metrics of the product, named once: what is emitted, and what the alarms and the dashboard of ``infra/`` watch.

A test holds the templates to this table.
"""

from __future__ import annotations

from typing import Final, NamedTuple

NAMESPACE: Final = "StudySmart"


class Metric(NamedTuple):
    """A metric of CloudWatch: its name, unit and the names of its dimensions."""

    name: str
    unit: str
    dimensions: tuple[str, ...] = ()


PREDICTIONS: Final = Metric("Predictions", "Count", ("source",))
"""Predictions that were given, by their source: embedding, lnirt or default."""

FALLBACK_RATE: Final = Metric("FallbackRate", "None")
"""For each prediction 1 when it is the default, else 0: the average is the share."""

PREDICTION_LATENCY: Final = Metric("PredictionLatency", "Milliseconds")
"""From the start of a request that predicts to its answer."""

COMPLETIONS: Final = Metric("Completions", "Count")
"""Completions that were counted."""

COMPLETION_LATENCY: Final = Metric("CompletionLatency", "Milliseconds")
"""From the start of a completion's request to its answer."""

TRAINING_TRIGGERS: Final = Metric("TrainingTriggers", "Count")
"""Training requests that were made."""

TRAINING_DURATION: Final = Metric("TrainingDuration", "Seconds")
"""From the receipt of a training message to the end of its training."""

TRAINING_FAILURES: Final = Metric("TrainingFailures", "Count")
"""Trainings that failed; one that is tried again and fails again is counted again."""

COUNTER_OVER_THRESHOLD: Final = Metric("CounterOverThreshold", "Count")
"""Completions at and above the threshold while no worker trains, 0 otherwise: the sweeper says it each minute."""

CALIBRATION_ERROR: Final = Metric("CalibrationError", "None")
"""Expected calibration error of the last 1,000 completions, 0..1."""

METRICS: Final = (
    PREDICTIONS,
    FALLBACK_RATE,
    PREDICTION_LATENCY,
    COMPLETIONS,
    COMPLETION_LATENCY,
    TRAINING_TRIGGERS,
    TRAINING_DURATION,
    TRAINING_FAILURES,
    COUNTER_OVER_THRESHOLD,
    CALIBRATION_ERROR,
)
