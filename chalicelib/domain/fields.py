"""Descriptions and examples of fields. The OpenAPI document is made from them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta

_NONE: Any = object()


def about(description: str, example: Any = _NONE, schema_format: str | None = None, **bounds: Any) -> Meta:
    """Return the description of a field. ``bounds`` are those of msgspec, such as ``ge``.

    Clients read the example as JSON. An optional field without an example is left out of the examples of bodies.
    """
    if example is not _NONE:
        bounds["examples"] = [example]
    if schema_format is not None:
        bounds["extra_json_schema"] = {"format": schema_format}
    return Meta(description=description, **bounds)


SubjectText = Annotated[str, about("Subject as it was written", "Mathematics")]
TopicText = Annotated[str, about("Topic as it was written", "Fractions")]
NCompleted = Annotated[int, about("Number of completed tasks", 42)]
NCorrect = Annotated[int, about("Number of correct answers", 30)]
Accuracy = Annotated[float, about("Share of correct answers; null without completed tasks", 0.714)]
PredictedAccuracy = Annotated[float, about("Mean probability that models predicted; null without predictions", 0.69)]
DueAt = Annotated[
    datetime,
    about(
        "Time at which the chance falls below the target; null if it does not within a month",
        "2026-03-09T09:00:00Z",
        "date-time",
    ),
]
MedianSeconds = Annotated[float, about("Median time in seconds; null without measured times", 38.5)]
TimeRatio = Annotated[
    float, about("Geometric mean of actual / predicted seconds: 1.2 is 20 % slower than predicted", 1.05)
]
BrierScore = Annotated[float, about("Mean squared difference of probability and result", 0.18)]
CalibrationError = Annotated[
    float, about("Expected calibration error: mean distance of predicted and actual shares over the bins", 0.031)
]
Version = Annotated[str, about("Name of a model version", "20260301T101500Z-1b9d6bcd")]
ServedVersion = Annotated[
    str, about("Model version that serves; null before the first one", "20260301T101500Z-1b9d6bcd")
]
LnirtVersion = Annotated[
    str,
    about(
        "Source and version of the prediction: `embedding_<version>`, `lnirt_<version>` or `fallback_default`",
        "embedding_20260301T101500Z-1b9d6bcd",
    ),
]
Timestamp = Annotated[str, about("Time in ISO 8601", "2026-03-01T10:20:30+00:00")]
LearnerId = Annotated[
    str,
    about(
        "Id of the learner; the caller if it is left out",
        "9b2c1f7e-52a1-4c0f-9d3e-0a6f2f4f8f11",
        min_length=1,
        max_length=200,
    ),
]
