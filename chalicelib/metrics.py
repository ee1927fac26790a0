"""The product's metrics, in CloudWatch's embedded metric format.

CloudWatch reads metrics from the fields of a log line. The fields are added to lines that are written anyway: the line
of a request, which also has the request's id, the student and the model's version, and lines of the worker and the
sweeper. Nothing is kept between lines, so threads share nothing (decision 17).

The alarms and the dashboard in ``infra/`` watch these metrics; a test compares them with this table.

The format: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, NamedTuple

from chalicelib.domain.predictions import Source

NAMESPACE: Final = "StudySmart"

STACK: Final = "stack"
"""First dimension of every metric, so that two stacks in one account have metrics of their own."""

FIELD: Final = "_aws"
"""The field in which a line tells CloudWatch which of its other fields are metrics."""


class Metric(NamedTuple):
    """A CloudWatch metric: its name, its unit and the names of its dimensions after :data:`STACK`."""

    name: str
    unit: str
    dimensions: tuple[str, ...] = ()


PREDICTIONS: Final = Metric("Predictions", "Count", ("source",))
"""Predictions that were answered, by source: embedding, lnirt or default."""

FALLBACK_RATE: Final = Metric("FallbackRate", "None")
"""1 for a prediction of source default, else 0. The average is the share of defaults."""

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
"""Trainings that failed. Each failed attempt counts."""

COUNTER_OVER_THRESHOLD: Final = Metric("CounterOverThreshold", "Count")
"""The counter while a training is due and no worker trains, else 0. The sweeper logs it each minute."""

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


def fields(values: Mapping[Metric, float]) -> dict[str, Any]:
    """Return the fields of a log line from which CloudWatch reads ``values``.

    Pass them as ``extra`` to :func:`chalicelib.logs.info`, which adds the stack. The line must also have the metrics'
    other dimensions, as text.
    """
    if not values:
        return {}
    described = {"Timestamp": int(time.time() * 1_000), "CloudWatchMetrics": _directives(tuple(values))}
    return {FIELD: described, **{metric.name: value for metric, value in values.items()}}


def of_request(noted: Mapping[str, Any], status: int, milliseconds: float) -> dict[str, Any]:
    """Return the fields of a request's log line, from the facts that :func:`chalicelib.logs.note` collected.

    ``source`` stands for a prediction, ``counter`` for a counted completion and ``training_request_id`` for a
    requested training. A prediction counts only in a successful answer. A completion counts once it is stored,
    whatever status the request ends with.
    """
    values: dict[Metric, float] = {}
    if "source" in noted and status < 400:
        values[PREDICTIONS] = 1
        values[FALLBACK_RATE] = int(noted["source"] == Source.DEFAULT)
        values[PREDICTION_LATENCY] = milliseconds
    if "counter" in noted:
        values[COMPLETIONS] = 1
        values[COMPLETION_LATENCY] = milliseconds
    if "training_request_id" in noted:
        values[TRAINING_TRIGGERS] = 1
    return {**noted, "status": status, "duration_ms": milliseconds, **fields(values)}


@cache
def _directives(metrics: tuple[Metric, ...]) -> list[dict[str, Any]]:
    """Return CloudWatch's description of the metrics: one directive for each set of dimensions."""
    by_dimensions: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for metric in metrics:
        by_dimensions.setdefault(metric.dimensions, []).append({"Name": metric.name, "Unit": metric.unit})
    return [
        {"Namespace": NAMESPACE, "Dimensions": [[STACK, *names]], "Metrics": described}
        for names, described in by_dimensions.items()
    ]
