"""Metrics in CloudWatch's embedded metric format: fields that a log line carries, from which CloudWatch makes metrics.

No line and no write is added. What the parts of a request note (:func:`chalicelib.logs.note`) becomes the metrics of
the request's one line, which also has the request's id, the student and the model's version; lines of the worker and of
the sweeper carry theirs in the same way. Nothing is kept between lines, so threads share nothing (decision 17).

The format: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from typing import Any

from chalicelib.domain.metric_names import (
    COMPLETION_LATENCY,
    COMPLETIONS,
    FALLBACK_RATE,
    NAMESPACE,
    PREDICTION_LATENCY,
    PREDICTIONS,
    TRAINING_TRIGGERS,
    Metric,
)
from chalicelib.domain.predictions import Source


def fields(values: Mapping[Metric, float]) -> dict[str, Any]:
    """The fields that make CloudWatch read ``values`` from a line: for ``extra`` of a logging call.

    What the metrics name as dimensions must be on the line under these names, as text.
    """
    if not values:
        return {}
    described = {"Timestamp": int(time.time() * 1_000), "CloudWatchMetrics": _directives(tuple(values))}
    return {"_aws": described, **{metric.name: value for metric, value in values.items()}}


def of_request(noted: Mapping[str, Any], status: int, milliseconds: float) -> dict[str, Any]:
    """The fields of a request's line, by what was noted of it.

    ``source``: it gave a prediction, ``counter``: it counted a completion, ``training_request_id``: it asked for a
    training. A prediction counts when it was answered with; a completion when it was stored, whatever came after.
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
    """What tells CloudWatch where the values are: one directive for each set of dimensions."""
    by_dimensions: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for metric in metrics:
        by_dimensions.setdefault(metric.dimensions, []).append({"Name": metric.name, "Unit": metric.unit})
    return [
        {"Namespace": NAMESPACE, "Dimensions": [list(names)], "Metrics": described}
        for names, described in by_dimensions.items()
    ]
