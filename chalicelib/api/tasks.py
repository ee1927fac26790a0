"""Practice tasks: create, list, get, complete, delete."""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated

import msgspec
from chalice.app import Request
from msgspec import UNSET, Struct, UnsetType

from chalicelib.api.routing import Reply, Routes, below, next_page
from chalicelib.domain import limits
from chalicelib.domain.accounts import Caller
from chalicelib.domain.errors import Fault, InvalidInputError
from chalicelib.domain.fields import about
from chalicelib.domain.service_accounts import Scope
from chalicelib.domain.tasks import (
    MAX_NAME_LENGTH,
    IdempotentRequest,
    NewTask,
    PracticeTask,
    Subject,
    TaskChange,
    Topic,
)
from chalicelib.domain.training import TrainingNote
from chalicelib.ports import TaskFilter
from chalicelib.services import tasks
from chalicelib.wiring import Container

routes = Routes(__name__, "practice tasks", Scope.LEARNERS_READ, Scope.LEARNERS_WRITE)

MAX_KEY_LENGTH = 255
"""Maximum length of an ``Idempotency-Key``."""


class TaskQuery(Struct):
    """The tasks to list."""

    subject: Subject | None = None
    topic: Topic | None = None
    completed: Annotated[bool, about("Only tasks with a result, or only open ones", True)] | None = None
    q: Annotated[str, about("Text to search for", "1/2", max_length=MAX_NAME_LENGTH)] | None = None
    limit: Annotated[int, about("Maximum number of tasks", 50, ge=1, le=100)] = 50
    cursor: Annotated[str, about("Place after which the page begins, from the `Link` header")] | None = None


class UpdatedTask(PracticeTask, frozen=True):
    """A task after a PATCH. ``training`` is present if the request carried a result."""

    training: (
        Annotated[TrainingNote, about("The counter towards the next training, if the request carried a result")]
        | UnsetType
    ) = UNSET


@routes.route(
    "POST",
    "/practice-tasks",
    "Create a task",
    status=201,
    body=NewTask,
    answer=PracticeTask,
    errors=(409,),
    headers={"Idempotency-Key": "A name of the request, so that it can be sent again for 24 hours"},
    limit=limits.CREATIONS,
    sends=("Location",),
)
def create_task(container: Container, caller: Caller, body: NewTask, request: Request) -> Reply:
    """Create a task and predict the chance of a correct answer and the time.

    With the header ``Idempotency-Key`` a request can be sent again for 24 hours: it makes one task.
    """
    store, champion, bounds = container.tasks, container.champion, container.student_limits
    task = tasks.create_task(store, champion, caller.user_id, body, _idempotent(request), bounds)
    return Reply(_shown(task), {"Location": below(request, task.id)})


def _idempotent(request: Request) -> IdempotentRequest | None:
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_KEY_LENGTH or not (key.isascii() and key.isprintable()):
        message = f"must be 1 to {MAX_KEY_LENGTH} printable ASCII characters"
        raise InvalidInputError([Fault(("header", "Idempotency-Key"), message, "value_error")])
    return IdempotentRequest(key, sha256(request.raw_body or b"").digest())


@routes.route("GET", "/practice-tasks", "List your tasks", query=TaskQuery, answer=list[PracticeTask], sends=("Link",))
def list_tasks(container: Container, caller: Caller, query: TaskQuery, request: Request) -> Reply:
    """Return a page of the caller's tasks, newest first. The ``Link`` header holds the next page."""
    requested = TaskFilter(query.subject, query.topic, query.completed, query.q)
    page = tasks.list_tasks(container.tasks, caller.user_id, requested, query.limit, query.cursor)
    headers = {}
    if page.next_cursor is not None:
        completed = None if query.completed is None else str(query.completed).lower()
        parameters = msgspec.structs.asdict(query) | {"completed": completed, "cursor": page.next_cursor}
        headers = next_page(request, parameters)
    return Reply([_shown(task) for task in page.tasks], headers)


@routes.route(
    "GET", "/practice-tasks/subject/{subject}/latest", "Get the newest task of a subject", answer=PracticeTask
)
def latest_of_subject(container: Container, caller: Caller, subject: str) -> PracticeTask:
    """Return the caller's newest task of a subject."""
    return _shown(tasks.latest_of_subject(container.tasks, caller.user_id, subject))


@routes.route("GET", "/practice-tasks/{task_id}", "Get a task", answer=PracticeTask)
def read_task(container: Container, caller: Caller, task_id: str) -> PracticeTask:
    """Return a task of the caller."""
    return _shown(container.tasks.get(caller.user_id, task_id))


@routes.route(
    "PATCH",
    "/practice-tasks/{task_id}",
    "Complete or correct a task",
    body=TaskChange,
    answer=UpdatedTask,
    errors=(409,),
    limit=limits.CHANGES,
    example={
        "actual_time_seconds": 42,
        "completed": True,
        "completed_at": "2026-03-02T09:01:00Z",
        "is_correct": True,
        "updated_at": "2026-03-02T09:01:00Z",
    },
)
def update_task(container: Container, caller: Caller, task_id: str, body: TaskChange) -> UpdatedTask:
    """Store the result of a task, correct the result of a completed task, or edit it.

    Subject, topic, difficulty and ``item_id`` can be changed while the task is open, which is then predicted again. So
    it is with another text, unless the task has an ``item_id``. With ``completed_at`` a client says when the student
    answered, if that was earlier.

    The answer to a result also contains the counter towards the next training.
    """
    task, note = tasks.update_task(
        container.tasks,
        container.champion,
        container.tracker,
        container.queue,
        container.policy,
        caller.user_id,
        task_id,
        body,
        container.later,
        container.student_limits,
    )
    return UpdatedTask(**msgspec.structs.asdict(_shown(task)), training=UNSET if note is None else note)


@routes.route("DELETE", "/practice-tasks/{task_id}", "Delete a task", status=204, limit=limits.CHANGES)
def delete_task(container: Container, caller: Caller, task_id: str) -> None:
    """Delete a task of the caller. A completed task no longer counts for later predictions."""
    container.tasks.delete(caller.user_id, task_id)


def _shown(task: PracticeTask) -> PracticeTask:
    """Return the task with whole numbers of minutes and seconds as integers."""
    return msgspec.structs.replace(
        task,
        estimated_time_minutes=_whole(task.estimated_time_minutes),
        actual_time_seconds=_whole(task.actual_time_seconds),
    )


def _whole(number: float | None) -> int | float | None:
    return int(number) if number is not None and float(number).is_integer() else number
