"""Aggregates of completed tasks, as a store returns them. The analytics are computed from them."""

from __future__ import annotations

from datetime import date, datetime

from msgspec import Struct

from chalicelib.domain.predictions import Source
from chalicelib.domain.tasks import Difficulty


class Totals(Struct, frozen=True):
    """Sums over all tasks of a student. Times are in seconds, of completed tasks that have one."""

    tasks: int
    completed: int
    correct: int
    predicted_accuracy: float | None
    mean_time_seconds: float | None
    median_time_seconds: float | None
    total_time_seconds: float


class DayRow(Struct, frozen=True):
    """The completions of one day of the reader's clock."""

    day: date
    completed: int
    correct: int
    median_time_seconds: float | None


class TopicRow(Struct, frozen=True):
    """The completions on one topic. ``weight`` and ``weighted_correct`` are decayed sums, for the mastery."""

    topic: str
    completed: int
    correct: int
    predicted_accuracy: float | None
    median_time_seconds: float | None
    mean_log_time_ratio: float | None
    weight: float
    weighted_correct: float
    last_completed_at: datetime | None


class CalibrationRow(Struct, frozen=True):
    """Sums over the completed predictions of one model version in one bin (0..9) of the predicted probability.

    ``timed`` counts those with a positive actual time, ``with_interval`` those of them with a predicted interval, and
    ``inside`` those whose time lies in it. A log ratio is ln(actual / predicted seconds).
    """

    lnirt_model_version: str
    bin: int
    n: int
    sum_predicted: float
    correct: int
    sum_squared_error: float
    timed: int
    sum_log_ratio: float
    sum_squared_log_ratio: float
    with_interval: int
    inside: int


class PredictedAnswer(Struct, frozen=True):
    """A completed task with the prediction of a model, and its result. Times are in seconds."""

    topic: str
    difficulty: Difficulty
    lnirt_model_version: str
    predicted_correct: float
    is_correct: bool
    predicted_time_seconds: int
    predicted_time_low: int | None
    predicted_time_high: int | None
    actual_time_seconds: float | None
    completed_at: datetime | None


class DriftRow(Struct, frozen=True):
    """Sums over the completions of one window by the source of their prediction and the bin (0..9) of its probability.

    Window 0 is the newest. ``timed`` counts completions with a positive actual time, ``sum_log_ratio`` sums
    ln(actual / predicted seconds).
    """

    window: int
    source: Source
    bin: int
    n: int
    sum_predicted: float
    correct: int
    sum_squared_error: float
    timed: int
    sum_log_ratio: float
    first_at: datetime
    last_at: datetime
