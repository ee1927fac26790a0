"""Completed answers that an app sends in batches."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import NamedTuple
from uuid import UUID

from msgspec import Struct

from chalicelib.domain.items import IMPORTED_CONTENT
from chalicelib.domain.tasks import Difficulty
from chalicelib.domain.training import Counted

MAX_BATCH = 1_000
"""Maximum number of entries of a batch."""

_TASKS = UUID("b0a1f9a6-58d7-4c46-9c0f-4be7f7a3a6de")
"""The namespace of the ids of tasks that are made from an app's own ids of answers."""


class CompletedAnswer(Struct, frozen=True, dict=True):
    """An answer that was given in an app. ``answer_id`` is the app's own id, unique for the student.

    ``seconds`` is None if the time is unknown, and 0 if it was not measured. ``at`` is None for now.
    ``own_task_id`` is the id of the task if the app's id is one.
    """

    user_id: str
    answer_id: str
    subject: str
    topic: str
    difficulty: Difficulty
    is_correct: bool
    seconds: float | None = None
    at: datetime | None = None
    item_id: str | None = None
    task_content: str = IMPORTED_CONTENT
    session_id: UUID | None = None
    own_task_id: str | None = None

    @cached_property
    def task_id(self) -> str:
        """The id of the task that holds the answer. The same answer has it whenever it is sent."""
        return self.own_task_id or str(uuid.uuid5(_TASKS, f"{self.user_id}\n{self.answer_id}"))


class GivenAnswer(Struct, frozen=True):
    """A completed answer as it is stored. ``place`` is its index in the order of the learner's answers."""

    id: str
    subject: str
    topic: str
    difficulty: Difficulty
    item_id: str | None
    is_correct: bool
    seconds: float | None
    at: datetime | None
    session_id: UUID | None
    place: int


class StoredAnswers(NamedTuple):
    """The outcome of a batch. ``counted`` has the cohorts in which new answers were counted."""

    new: frozenset[str]
    """Ids of the tasks that this batch has made."""
    counted: Mapping[str, Counted]
