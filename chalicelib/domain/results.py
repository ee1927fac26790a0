"""Aggregates of completed tasks, as a store returns them. The analytics are computed from them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

from msgspec import Struct

from chalicelib.domain.fields import LnirtVersion, NCorrect, SubjectText, TopicText, about
from chalicelib.domain.predictions import HighTime, LowTime, MedianTime, Probability, Source
from chalicelib.domain.tasks import DifficultyField, ItemId


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

    subject: str
    topic: str
    completed: int
    correct: int
    predicted_accuracy: float | None
    median_time_seconds: float | None
    mean_log_time_ratio: float | None
    weight: float
    weighted_correct: float
    last_completed_at: datetime | None


class ItemResult(Struct, frozen=True):
    """A student's results on an item. Names and text are those of the newest answer."""

    item_id: ItemId | None
    subject: SubjectText
    topic: TopicText
    difficulty: DifficultyField
    task_content: Annotated[str, about("The beginning of the exercise, at most 200 characters", "1/2 + 1/3 = ?")]
    attempts: Annotated[int, about("Number of answers on the item", 3)]
    correct: NCorrect
    accuracy: Annotated[float, about("Share of correct answers", 0.714)]
    last_completed_at: (
        Annotated[datetime, about("Time of the newest answer", "2026-03-02T09:01:00Z", "date-time")] | None
    )


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

    subject: SubjectText
    topic: TopicText
    difficulty: DifficultyField
    lnirt_model_version: LnirtVersion
    predicted_correct: Probability
    is_correct: Annotated[bool, about("The answer is correct", True)]
    predicted_time_seconds: MedianTime
    predicted_time_low: LowTime | None
    predicted_time_high: HighTime | None
    actual_time_seconds: Annotated[float, about("Measured time, in seconds", 42.0)] | None
    completed_at: Annotated[datetime, about("Time of the answer", "2026-03-02T09:01:00Z", "date-time")] | None


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


class ServedAnswer(Struct, frozen=True):
    """A completed task of any student, with the prediction that was served when it was created.

    ``index`` is the number of the student's earlier answers, ``n_answers`` that of all their answers until now.
    ``hours_paused`` is the time from the completion of the previous answer to the creation of this task. It is None if
    there is no previous answer.
    """

    user_id: str
    subject: str
    topic: str
    source: Source
    model_version: str | None
    predicted_correct: float
    is_correct: bool
    index: int
    n_answers: int
    hours_paused: float | None
