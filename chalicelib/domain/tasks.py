"""Practice tasks: what a student creates and completes."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from enum import StrEnum

import msgspec

MAX_NAME_LENGTH = 200
"""Characters that a subject or a topic may have."""

MAX_SECONDS = 86_400
"""Longest time, in seconds, that a completion may claim: one day."""


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
        """The inverse of :attr:`numeric`; raises ``ValueError`` outside 1..4."""
        for difficulty, number in _NUMERIC.items():
            if number == level:
                return difficulty
        raise ValueError(f"difficulty must be 1 to 4, got {level!r}")


_NUMERIC = {Difficulty.EASY: 1, Difficulty.MEDIUM: 2, Difficulty.HARD: 3, Difficulty.EXPERT: 4}


def name_key(name: str) -> str:
    """The form by which subjects and topics are compared: trimmed, NFC-normalised, case-folded.

    Case folding can undo a normal form, so the result is normalised once more.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name.strip()).casefold()).strip()


class NewTask(msgspec.Struct, frozen=True):
    """What a student sends to create a task, already validated."""

    subject: str
    topic: str
    difficulty: Difficulty
    task_content: str
    solution_content: str | None = None
    answer_content: str | None = None
    estimated_time_minutes: float | None = None
    study_session_id: str | None = None


class Result(msgspec.Struct, frozen=True):
    """How a student did on a task.

    ``seconds`` is 0 to 86,400. Clients send whole seconds, so 0 is a real answer; its logarithm is not,
    and then only the correctness is learnt from.
    """

    is_correct: bool
    seconds: float


class PracticeTask(msgspec.Struct, frozen=True):
    """A stored task, field for field as the HTTP contract shows it."""

    id: str
    user_id: str
    subject: str
    topic: str
    difficulty: Difficulty
    difficulty_numeric: int
    task_content: str
    solution_content: str | None
    answer_content: str | None
    estimated_time_minutes: float | None
    actual_time_seconds: float | None
    completed: bool
    completed_at: datetime | None
    is_correct: bool | None
    study_session_id: str | None
    predicted_correct: float
    predicted_time_seconds: int
    predicted_time_low: int | None
    predicted_time_high: int | None
    prediction_source: str
    model_version: str | None
    lnirt_model_version: str
    created_at: datetime
    updated_at: datetime
