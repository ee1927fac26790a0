"""Practice tasks: what a student creates, changes and completes."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from chalicelib.domain.fields import LnirtVersion, SubjectText, TopicText, about
from chalicelib.domain.predictions import (
    HighTime,
    LowTime,
    MedianTime,
    PredictingVersion,
    PredictionSource,
    Probability,
)

MAX_NAME_LENGTH = 200
"""Maximum length of a subject or a topic, in characters."""

MAX_KEY_LENGTH = 500
"""Maximum length of a key of a name: NFKC makes 18 characters of one, and an index of PostgreSQL holds 2,700 bytes."""

MAX_TEXT_LENGTH = 100_000
"""Maximum length of the texts of a task, in characters."""

MAX_SECONDS = 86_400
"""Maximum time of a completion, in seconds: one day."""

MIN_SECONDS = 0.001
"""Minimum time of a completion, in seconds, unless it is 0: "not measured"."""

_INVISIBLE = (
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\u0000-\u0008\u000e-\u001b\u007f-\u0084\u0086-\u009f"
)
"""Characters without a glyph or a width, as the inside of a character class: Unicode's default ignorables, controls."""

_INVISIBLE_CHARACTER = re.compile(f"[{_INVISIBLE}]")

_SAME_NAME = (
    "Kept and returned as sent; compared in lower case, NFKC-normalised, without invisible characters and with single "
    "spaces"
)

Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_NAME_LENGTH,
        pattern=rf"[^\s{_INVISIBLE}]",
        extra={"fault": ("string_too_short", "String should have at least 1 visible character")},
        description=_SAME_NAME,
    ),
]
"""A subject or a topic as written."""

Text = Annotated[str, Meta(max_length=MAX_TEXT_LENGTH)]
Minutes = Annotated[float, Meta(ge=0, le=1_000_000)]
Seconds = Annotated[
    float,
    about(
        'Time that the student took, in seconds; 0 means "not measured", other times are 0.001 or more',
        42,
        ge=0,
        le=MAX_SECONDS,
    ),
]


class Difficulty(StrEnum):
    """The four levels of difficulty, easiest first."""

    EASY = "easy"
    MEDIUM = "medium"
    HARD = "hard"
    EXPERT = "expert"

    @property
    def numeric(self) -> int:
        """1 (easy) to 4 (expert)."""
        return _NUMERIC[self]

    @classmethod
    def from_numeric(cls, level: int) -> Difficulty:
        """Return the difficulty of a number from 1 to 4. Raises ValueError."""
        for difficulty, number in _NUMERIC.items():
            if number == level:
                return difficulty
        raise ValueError(f"difficulty must be 1 to 4, got {level!r}")


_NUMERIC = {Difficulty.EASY: 1, Difficulty.MEDIUM: 2, Difficulty.HARD: 3, Difficulty.EXPERT: 4}


DifficultyField = Annotated[Difficulty, about("Difficulty of the task", "medium")]
Numeric = Annotated[int, about("The difficulty as a number, from 1 (easy) to 4 (expert)", 2, ge=1, le=4)]
Subject = Annotated[Name, about(f"Subject of the task. {_SAME_NAME}", "Mathematics")]
Topic = Annotated[Name, about(f"Topic of the task. {_SAME_NAME}", "Fractions")]
Content = Annotated[Text, about("The exercise, in Markdown with formulas", "1/2 + 1/3 = ?")]
Solution = Annotated[Text, about("The way to the answer", "3/6 + 2/6 = 5/6")]
AnswerText = Annotated[Text, about("The answer", "5/6")]
EstimatedMinutes = Annotated[Minutes, about("The author's estimate of the time, in minutes", 2)]
ItemId = Annotated[
    Name,
    about(f"The author's name of the exercise, the same in each task with this exercise. {_SAME_NAME}", "fractions-17"),
]
SessionId = Annotated[
    UUID, about("Id that the app chose for a session of practice", "7c9e6679-7425-40de-944b-e07fc1f90ae7")
]


def name_key(name: str) -> str:
    """Return the form in which subjects, topics and items are compared, empty for a name with nothing visible."""
    return normal_text(name)[:MAX_KEY_LENGTH]


def normal_text(text: str) -> str:
    """Return a text in lower case and NFKC, without invisible characters, with each run of white space as one space.

    The text is normalised again after the lower case, which can undo the normal form. Case folding is not used: it
    would make "Maße" and "Masse" one name.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    text = _INVISIBLE_CHARACTER.sub("", text).lower()
    if not text.isascii():
        text = _INVISIBLE_CHARACTER.sub("", unicodedata.normalize("NFKC", text))
    return " ".join(text.split())


class NewTask(msgspec.Struct, frozen=True):
    """A new practice task. The server predicts it; ``predicted_*`` fields of the request are ignored."""

    subject: Subject
    topic: Topic
    difficulty: DifficultyField
    task_content: Content
    solution_content: Solution | None = None
    answer_content: AnswerText | None = None
    estimated_time_minutes: EstimatedMinutes | None = None
    study_session_id: SessionId | None = None
    item_id: ItemId | None = None


ReadOnly = Annotated[Any, about("Cannot be changed. Leave it out, or send the present value.")]


class TaskChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change of a task. ``is_correct`` together with ``actual_time_seconds`` completes the task.

    ``completed_at`` says when the student did it, if that was earlier than the request. ``solution_viewed_at`` says
    when the student asked for the solution before answering; the first such time is kept. Subject, topic, difficulty
    and ``item_id`` can be changed while the task is open. The last group of fields cannot be changed: a client that
    sends back a whole task may send them as they are.
    """

    completed: Annotated[bool, about("True completes the task; a completed task cannot be opened again")] | None = None
    is_correct: Annotated[bool, about("The answer is correct", True)] | None = None
    actual_time_seconds: Seconds | None = None
    completed_at: Annotated[datetime, about("Time of the answer, if it was earlier than the request")] | None = None
    study_session_id: Annotated[UUID, about("Id of the session of practice")] | None = None
    subject: Annotated[Name, about("New subject of an open task")] | None = None
    topic: Annotated[Name, about("New topic of an open task")] | None = None
    difficulty: Annotated[Difficulty, about("New difficulty of an open task")] | None = None
    item_id: Annotated[Name, about("New name of the exercise of an open task")] | None = None
    task_content: Annotated[Text, about("New text of the exercise")] | None = None
    solution_content: Annotated[Text, about("New text of the way to the answer")] | None = None
    answer_content: Annotated[Text, about("New text of the answer")] | None = None
    estimated_time_minutes: Annotated[Minutes, about("New estimate of the time, in minutes")] | None = None
    solution_viewed_at: Annotated[datetime, about("Time of the first look at the solution of an open task")] | None = (
        None
    )

    id: ReadOnly | UnsetType = UNSET
    user_id: ReadOnly | UnsetType = UNSET
    difficulty_numeric: ReadOnly | UnsetType = UNSET
    predicted_correct: ReadOnly | UnsetType = UNSET
    predicted_time_seconds: ReadOnly | UnsetType = UNSET
    predicted_time_low: ReadOnly | UnsetType = UNSET
    predicted_time_high: ReadOnly | UnsetType = UNSET
    prediction_source: ReadOnly | UnsetType = UNSET
    model_version: ReadOnly | UnsetType = UNSET
    lnirt_model_version: ReadOnly | UnsetType = UNSET
    created_at: ReadOnly | UnsetType = UNSET
    updated_at: ReadOnly | UnsetType = UNSET


NAMED = ("subject", "topic", "difficulty", "item_id")
"""The fields of a task that say what it is about. They cannot be changed once it is completed."""

TEXTS = ("task_content", "solution_content", "answer_content")
"""The fields of a task that may be long."""

EDITABLE = ("study_session_id", *NAMED, *TEXTS, "estimated_time_minutes", "solution_viewed_at")
"""The fields of a task that can be changed without a result."""

READ_ONLY = TaskChange.__struct_fields__[TaskChange.__struct_fields__.index("id") :]
"""The fields of a task that cannot be changed."""


def text_bytes(*texts: str | None) -> int:
    """Return the number of bytes of texts in UTF-8."""
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts if text)


COMPLETED_KEEPS_ITS_NAMES = "Subject, topic, difficulty and item of a completed task cannot be changed"


class IdempotentRequest(msgspec.Struct, frozen=True):
    """A request that a client may send again. ``key`` is the client's, ``digest`` that of the body (SHA-256)."""

    key: str
    digest: bytes


class Result(msgspec.Struct, frozen=True):
    """A student's result on a task.

    ``seconds`` is 0.001 to 86,400; 0 means "not measured", and None is a time that an import did not know. Only the
    correctness is learnt then. ``at`` is the time of the answer, None for now.
    """

    is_correct: bool
    seconds: float | None
    at: datetime | None = None


class PracticeTask(msgspec.Struct, frozen=True):
    """A practice task with the prediction that was made when it was created. Times are in seconds.

    ``solution_viewed_at`` is when the student asked for the solution before answering, None if that never happened.
    """

    id: Annotated[str, about("Id of the task", "3f333df6-90a4-4fda-8dd3-9485d27cee36", "uuid")]
    user_id: Annotated[str, about("Id of the student", "9b2c1f7e-52a1-4c0f-9d3e-0a6f2f4f8f11")]
    subject: SubjectText
    topic: TopicText
    difficulty: DifficultyField
    difficulty_numeric: Numeric
    task_content: Annotated[str, about("The exercise, in Markdown with formulas", "1/2 + 1/3 = ?")]
    solution_content: Annotated[str, about("The way to the answer", "3/6 + 2/6 = 5/6")] | None
    answer_content: Annotated[str, about("The answer", "5/6")] | None
    estimated_time_minutes: Annotated[int | float, about("The author's estimate of the time, in minutes", 2)] | None
    actual_time_seconds: Annotated[int | float, about("Measured time, in seconds; 0 is not measured", None)] | None
    completed: Annotated[bool, about("The task has a result", False)]
    completed_at: Annotated[datetime, about("Time of the answer", None, "date-time")] | None
    is_correct: Annotated[bool, about("The answer is correct; null while the task is open", None)] | None
    study_session_id: SessionId | None
    predicted_correct: Probability
    predicted_time_seconds: MedianTime
    predicted_time_low: LowTime | None
    predicted_time_high: HighTime | None
    prediction_source: PredictionSource
    model_version: PredictingVersion | None
    lnirt_model_version: LnirtVersion
    created_at: Annotated[datetime, about("Time of the creation", "2026-03-02T09:00:00Z", "date-time")]
    updated_at: Annotated[datetime, about("Time of the last change", "2026-03-02T09:00:00Z", "date-time")]
    solution_viewed_at: (
        Annotated[datetime, about("Time of the first look at the solution before the answer", None, "date-time")] | None
    ) = None
    item_id: ItemId | None = None
