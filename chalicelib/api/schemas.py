"""What comes in and goes out over HTTP, as msgspec Structs: they validate, they encode, and OpenAPI is made of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from chalicelib import VERSION
from chalicelib.domain.predictions import Prediction, Source
from chalicelib.domain.tasks import MAX_NAME_LENGTH, MAX_SECONDS, Difficulty, NewTask, PracticeTask
from chalicelib.domain.training import TrainingNote
from chalicelib.prediction.explain import Influence

MAX_ESTIMATED_MINUTES = 1_000_000
MAX_PAGE = 100
DEFAULT_PAGE = 50

Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_NAME_LENGTH,
        pattern=r"\S",
        extra={"fault": ("string_too_short", "String should have at least 1 character that is no space")},
        description="Kept and echoed as sent; compared trimmed, NFC-normalised and case-folded",
    ),
]
Minutes = Annotated[float, Meta(ge=0, le=MAX_ESTIMATED_MINUTES)]
Seconds = Annotated[float, Meta(ge=0, le=MAX_SECONDS, description="Clients send whole seconds: 0 is a real answer")]
PageSize = Annotated[int, Meta(ge=1, le=MAX_PAGE)]


class TaskBody(Struct):
    """A new practice task. The server predicts: ``predicted_*`` sent along are ignored."""

    subject: Name
    topic: Name
    difficulty: Difficulty
    task_content: str
    solution_content: str | None = None
    answer_content: str | None = None
    estimated_time_minutes: Minutes | None = None
    study_session_id: UUID | None = None

    def to_new_task(self) -> NewTask:
        """The domain's value of this body."""
        return NewTask(
            self.subject,
            self.topic,
            self.difficulty,
            self.task_content,
            self.solution_content,
            self.answer_content,
            self.estimated_time_minutes,
            text_of(self.study_session_id),
        )


class TaskPatch(Struct):
    """A change of a task; ``is_correct`` together with ``actual_time_seconds`` completes it."""

    completed: bool | None = None
    is_correct: bool | None = None
    actual_time_seconds: Seconds | None = None
    study_session_id: UUID | None = None


class TaskQuery(Struct):
    """Which of one's tasks to list, newest first."""

    subject: Name | None = None
    topic: Name | None = None
    completed: bool | None = None
    q: Annotated[str, Meta(max_length=MAX_NAME_LENGTH, description="Text to search for")] | None = None
    limit: PageSize = DEFAULT_PAGE
    cursor: str | None = None


class TaskAnswer(Struct):
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
    study_session_id: str | None
    predicted_correct: Annotated[float, Meta(ge=0, le=1)]
    predicted_time_seconds: int
    predicted_time_low: int | None
    predicted_time_high: int | None
    prediction_source: Source
    model_version: str | None
    lnirt_model_version: str
    created_at: datetime
    updated_at: datetime


class CompletedTaskAnswer(TaskAnswer):
    """A task after a PATCH; one that completed it also says how the training's counter stands."""

    training: TrainingNote | UnsetType = UNSET


class PredictionQuery(Struct):
    """A prediction without a task; ``user_id`` of another student is for admins."""

    topic: Name
    difficulty: Difficulty
    subject: Name | None = None
    user_id: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class PredictionAnswer(Struct):
    """What a student is expected to do, and why. The interval of seconds holds 80 % of the times.

    ``explanation`` names the groups of inputs that moved the prediction away from a newcomer's, the strongest first.
    """

    subject: str | None
    topic: str
    difficulty: Difficulty
    difficulty_numeric: Annotated[int, Meta(ge=1, le=4)]
    predicted_correct: Annotated[float, Meta(ge=0, le=1)]
    predicted_time_seconds: int
    predicted_time_low: int | None
    predicted_time_high: int | None
    prediction_source: Source
    model_version: str | None
    lnirt_model_version: str
    explanation: list[Influence]


class CounterBody(Struct):
    """The counter of completions since the last training."""

    value: Annotated[int, Meta(ge=0, le=1_000_000)]


class VersionBody(Struct):
    """The model version that shall serve."""

    version: Annotated[str, Meta(min_length=1, max_length=200)]


class PointerAnswer(Struct):
    """Which version serves, and whether trainings are kept from replacing it."""

    champion: str
    promoted_at: str
    pinned: bool


class TrainingAnswer(Struct):
    """A training that was asked for by hand."""

    queued: bool
    request_id: str
    version: str
    requested_at: datetime


class MessageAnswer(Struct):
    """A plain word to the client."""

    message: str


class WelcomeAnswer(Struct):
    """What the root answers."""

    message: str = "Welcome to StudySmart AI API"
    version: str = VERSION
    docs: str = "/docs"


class Detail(Struct):
    """An error."""

    detail: str


class FaultDetail(Struct):
    """One fault of an input."""

    loc: list[str | int]
    msg: str
    type: str


class ValidationDetail(Struct):
    """All faults of an input at once."""

    detail: list[FaultDetail]


Answer = TypeVar("Answer", bound=TaskAnswer)


def task_answer(task: PracticeTask, kind: type[Answer]) -> Answer:
    """A stored task as HTTP shows it; a whole number of minutes or seconds is an integer there."""
    shown = msgspec.convert(task, kind, from_attributes=True)
    shown.estimated_time_minutes = _whole(task.estimated_time_minutes)
    shown.actual_time_seconds = _whole(task.actual_time_seconds)
    return shown


def prediction_answer(query: PredictionQuery, prediction: Prediction, explanation: list[Influence]) -> PredictionAnswer:
    """A prediction as HTTP shows it."""
    return PredictionAnswer(
        query.subject,
        query.topic,
        query.difficulty,
        query.difficulty.numeric,
        prediction.correct,
        prediction.seconds,
        prediction.seconds_low,
        prediction.seconds_high,
        prediction.source,
        prediction.model_version,
        prediction.lnirt_model_version,
        explanation,
    )


def text_of(identifier: UUID | None) -> str | None:
    """A UUID in its usual form, None for None."""
    return None if identifier is None else str(identifier)


def _whole(number: float | None) -> int | float | None:
    return int(number) if number is not None and float(number).is_integer() else number
