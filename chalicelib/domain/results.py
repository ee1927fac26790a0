"""Aggregates of completed tasks, as a store reads them: what the figures of the analytics are computed from."""

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
    """One day's completions, the day as the reader's clock has it."""

    day: date
    completed: int
    correct: int
    median_time_seconds: float | None


class TopicRow(Struct, frozen=True):
    """One topic's completions; ``weight`` and ``weighted_correct`` are sums decayed as mastery wants them."""

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
    """Sums over the completed predictions of one model version whose predicted chance falls into one bin (0..9).

    ``timed`` predictions have a positive actual time; of those, ``with_interval`` carried an interval, and
    ``inside`` fell into it. Time errors are natural logarithms of actual / predicted.
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
    """One completed task that a model had predicted, and its result. Times are in seconds."""

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
    """Sums over the completions of one window whose prediction has one source and falls into one bin (0..9).

    Window 0 holds the newest completions. ``timed`` ones have a positive actual time; ``sum_log_ratio`` is of natural
    logarithms of actual / predicted.
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
