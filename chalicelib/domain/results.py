"""Aggregates of completed tasks, as a store reads them: what the figures of the analytics are computed from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all tasks of a student. Times are in seconds, of completed tasks that have one."""

    tasks: int
    completed: int
    correct: int
    predicted_accuracy: float | None
    mean_time_seconds: float | None
    median_time_seconds: float | None
    total_time_seconds: float


@dataclass(frozen=True, slots=True)
class DayRow:
    """One day's completions, the day as the reader's clock has it."""

    day: date
    completed: int
    correct: int
    median_time_seconds: float | None


@dataclass(frozen=True, slots=True)
class TopicRow:
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


@dataclass(frozen=True, slots=True)
class CalibrationRow:
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
