"""Practice tasks: what a student creates, changes and completes."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from chalicelib.domain.predictions import Source

MAX_NAME_LENGTH = 200
"""Maximum length of a subject or a topic, in characters."""

MAX_SECONDS = 86_400
"""Maximum time of a completion, in seconds: one day."""

Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_NAME_LENGTH,
        pattern=r"\S",
        extra={"fault": ("string_too_short", "String should have at least 1 character that is no space")},
        description="Kept and returned as sent; compared trimmed, NFC-normalised and case-folded",
    ),
]
"""A subject or a topic as written."""

Minutes = Annotated[float, Meta(ge=0, le=1_000_000)]
Seconds = Annotated[float, Meta(ge=0, le=MAX_SECONDS, description="0 is a valid time; clients send whole seconds")]


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


def name_key(name: str) -> str:
    """Return the form in which subjects and topics are compared: trimmed, NFC-normalised, case-folded.

    The name is normalised again after case folding, because case folding can undo the normal form.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name.strip()).casefold()).strip()


class NewTask(msgspec.Struct, frozen=True):
    """A new practice task. The server predicts it; ``predicted_*`` fields of the request are ignored."""

    subject: Name
    topic: Name
    difficulty: Difficulty
    task_content: str
    solution_content: str | None = None
    answer_content: str | None = None
    estimated_time_minutes: Minutes | None = None
    study_session_id: UUID | None = None


class TaskChange(msgspec.Struct, frozen=True):
    """A change of a task. ``is_correct`` together with ``actual_time_seconds`` completes the task."""

    completed: bool | None = None
    is_correct: bool | None = None
    actual_time_seconds: Seconds | None = None
    study_session_id: UUID | None = None


class Result(msgspec.Struct, frozen=True):
    """A student's result on a task.

    ``seconds`` is 0 to 86,400. Clients send whole seconds, so 0 is valid. It has no logarithm, so only the correctness
    is learnt then.
    """

    is_correct: bool
    seconds: float


class PracticeTask(msgspec.Struct, frozen=True):
    """A practice task with the prediction that was made when it was created. Times are in seconds."""

    id: str
    user_id: str
    subject: str
    topic: str
    difficulty: Difficulty
    difficulty_numeric: Annotated[int, Meta(ge=1, le=4)]
    task_content: str
    solution_content: str | None
    answer_content: str | None
    estimated_time_minutes: int | float | None
    actual_time_seconds: int | float | None
    completed: bool
    completed_at: datetime | None
    is_correct: bool | None
    study_session_id: UUID | None
    predicted_correct: Annotated[float, Meta(ge=0, le=1)]
    predicted_time_seconds: int
    predicted_time_low: int | None
    predicted_time_high: int | None
    prediction_source: Source
    model_version: str | None
    lnirt_model_version: str
    created_at: datetime
    updated_at: datetime
