"""Use cases of practice tasks: create, list, complete and correct."""

from __future__ import annotations

import base64
import binascii
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from msgspec import UNSET, to_builtins
from msgspec.json import encode
from msgspec.structs import asdict, replace

from chalicelib.domain.errors import ConflictError, Fault, InvalidInputError
from chalicelib.domain.items import item_of
from chalicelib.domain.limits import NO_GROWTH, UNLIMITED, StudentLimits
from chalicelib.domain.tasks import (
    COMPLETED_KEEPS_ITS_NAMES,
    EDITABLE,
    MIN_SECONDS,
    NAMED,
    READ_ONLY,
    TEXTS,
    IdempotentRequest,
    NewTask,
    PracticeTask,
    Result,
    TaskChange,
    name_key,
    text_bytes,
)
from chalicelib.domain.topics import topic_key
from chalicelib.domain.training import TrainingNote, TrainingPolicy, TrainingState
from chalicelib.ports import TaskFilter, TaskStore, Tracker, TrainingQueue
from chalicelib.services import training
from chalicelib.services.champion import ChampionCache
from chalicelib.services.limits import check_room
from chalicelib.services.predictions import predict_in


@dataclass(frozen=True, slots=True)
class TaskPage:
    """A page of a list with the cursor of the next page, which is None on the last page."""

    tasks: list[PracticeTask]
    next_cursor: str | None


MAX_ANSWER_BYTES = 4_000_000
"""Maximum size of a list of tasks as JSON: a Lambda may answer 6 MB, and other characters than ASCII may be escaped."""

CLOCK_SKEW = timedelta(minutes=5)
"""How wrong the clock of a client may be."""


def create_task(
    tasks: TaskStore,
    champion: ChampionCache,
    user_id: str,
    new: NewTask,
    request: IdempotentRequest | None = None,
    limits: StudentLimits = UNLIMITED,
) -> PracticeTask:
    """Predict a new task and store it with its prediction. The task of a repeated ``request`` is returned as it is.

    Raises LimitError if the student has stored too much.
    """
    if request is not None and (made := tasks.made_by(user_id, request)) is not None:
        return made
    context = tasks.prediction_context(user_id, item_of(new))
    n_bytes = text_bytes(new.task_content, new.solution_content, new.answer_content)
    topic = topic_key(new.subject, new.topic)
    growth = check_room(tasks, limits, context, topic, n_bytes, n_open=1)
    prediction = predict_in(context, champion, topic, new.difficulty)
    return tasks.insert(user_id, new, prediction, request, growth=growth)


def latest_of_subject(tasks: TaskStore, user_id: str, subject: str) -> PracticeTask:
    """Return the student's newest task of a subject as written. Raises NotFoundError."""
    return tasks.newest_of_subject(user_id, name_key(subject))


def list_tasks(tasks: TaskStore, user_id: str, requested: TaskFilter, limit: int, cursor: str | None) -> TaskPage:
    """Return a page of the student's tasks, newest first. ``requested`` holds names as written."""
    by_key = replace(
        requested,
        subject=None if requested.subject is None else name_key(requested.subject),
        topic=None if requested.topic is None else name_key(requested.topic),
    )
    before = None if cursor is None else _position_of(cursor)
    found = tasks.page(user_id, by_key, limit + 1, before, MAX_ANSWER_BYTES)
    shown = found[: _n_that_fit(found[:limit])]
    return TaskPage(shown, _cursor_after(shown[-1]) if len(shown) < len(found) else None)


def _n_that_fit(tasks: list[PracticeTask]) -> int:
    """Return how many of the first tasks are smaller than an answer may be; one task always is."""
    sizes = accumulate(len(encode(task)) + 1 for task in tasks)
    return max(sum(size <= MAX_ANSWER_BYTES for size in sizes), 1)


def _cursor_after(task: PracticeTask) -> str:
    return base64.urlsafe_b64encode(f"{task.created_at.isoformat()} {task.id}".encode()).decode().rstrip("=")


def _position_of(cursor: str) -> tuple[datetime, str]:
    """Return the time and id that a cursor holds. Raises InvalidInputError."""
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        moment, task_id = raw.split(" ")
        position = datetime.fromisoformat(moment)
        if position.tzinfo is None or str(uuid.UUID(task_id)) != task_id:
            raise ValueError("incomplete")
        position = position.astimezone(UTC)
    except (ValueError, OverflowError, binascii.Error) as error:
        fault = Fault(("query", "cursor"), f"cursor is not one that this API gave: {cursor!r}", "value_error")
        raise InvalidInputError([fault]) from error
    return position, task_id


def update_task(
    tasks: TaskStore,
    champion: ChampionCache,
    tracker: Tracker,
    queue: TrainingQueue,
    policy: TrainingPolicy,
    user_id: str,
    task_id: str,
    change: TaskChange,
    later: training.Later = training.at_once,
    limits: StudentLimits = UNLIMITED,
) -> tuple[PracticeTask, TrainingNote | None]:
    """Apply a PATCH: complete a task, correct it, edit it, or change nothing.

    The note is returned for every change that carries a result, also for a repeated one. When this returns, a training
    that became due is in the tracker; ``later`` sends its message.

    Raises NotFoundError; InvalidInputError if half of a result is missing, a time is impossible, or a field is given
    that cannot be changed; ConflictError if a completed task is reopened or gets another topic; LimitError if the
    student has stored too much.
    """
    _check_seconds(change)
    if _completes_only(change):
        result = Result(bool(change.is_correct), change.actual_time_seconds)
    else:
        task = tasks.get(user_id, task_id)
        _check_read_only(task, change)
        corrects = _is_correction(task, change)
        task = _edited(tasks, champion, user_id, task, change, limits)
        if not corrects:
            return task, None
        result = _merged(task, change)
    done = tasks.complete(user_id, task_id, result, change.study_session_id, policy)
    if (counted := done.counted) is None:
        row = tracker.read(tasks.cohort)
        queued = row.state is not TrainingState.IDLE
        return done.task, TrainingNote(row.n_samples_since_training, policy.threshold, queued)
    training.announce(counted)
    if (request := counted.request) is not None:
        later(lambda: training.try_to_send(tracker, queue, request))
    return done.task, TrainingNote(counted.counter, policy.threshold, counted.request is not None)


def _completes_only(change: TaskChange) -> bool:
    """Return True for a whole result without anything that has to be compared with the task."""
    alone = {"is_correct", "actual_time_seconds", "completed", "study_session_id"}
    given = {name for name, value in asdict(change).items() if value is not None and value is not UNSET}
    return {"is_correct", "actual_time_seconds"} <= given <= alone and change.completed is not False


def _check_seconds(change: TaskChange) -> None:
    seconds = change.actual_time_seconds
    if seconds is not None and 0 < seconds < MIN_SECONDS:
        message = f"Input should be 0 or greater than or equal to {MIN_SECONDS}"
        raise InvalidInputError([Fault(("body", "actual_time_seconds"), message, "greater_than_equal")])


def _check_read_only(task: PracticeTask, change: TaskChange) -> None:
    """Raise InvalidInputError for a field that cannot be changed, unless it is sent back as it is."""
    current = to_builtins(task)
    faults = [
        Fault(("body", name), f"{name} cannot be changed", "read_only")
        for name in READ_ONLY
        if (value := getattr(change, name)) is not UNSET and not _same(current[name], value)
    ]
    if faults:
        raise InvalidInputError(faults)


def _same(current: object, sent: object) -> bool:
    """Return True for equal values; the same time may be written in several ways."""
    if current == sent:
        return True
    try:
        return datetime.fromisoformat(str(current)) == datetime.fromisoformat(str(sent))
    except (ValueError, TypeError):
        return False


def _edited(
    tasks: TaskStore,
    champion: ChampionCache,
    user_id: str,
    task: PracticeTask,
    change: TaskChange,
    limits: StudentLimits,
) -> PracticeTask:
    """Store the changed fields that are not a result; an open task with another topic or item is predicted again."""
    changes = {
        name: value
        for name in EDITABLE
        if (value := getattr(change, name)) is not None and value != getattr(task, name)
    }
    if (viewed := changes.pop("solution_viewed_at", None)) is not None:
        if task.completed:
            raise ConflictError("The task is completed, so its solution was not viewed before the answer")
        at = _time_of(task, "solution_viewed_at", viewed)
        if task.solution_viewed_at is None:
            changes["solution_viewed_at"] = at
    if not changes:
        return task
    prediction, growth = None, NO_GROWTH
    renamed = not changes.keys().isdisjoint(NAMED)
    changed = replace(task, **changes)
    repredicted = not task.completed and (renamed or item_of(changed) != item_of(task))
    if renamed and task.completed:
        raise ConflictError(COMPLETED_KEEPS_ITS_NAMES)
    if renamed or not changes.keys().isdisjoint(TEXTS):
        context = tasks.prediction_context(user_id, item_of(changed))
        topic = topic_key(changed.subject, changed.topic)
        moved = topic != topic_key(task.subject, task.topic)
        n_bytes = text_bytes(*(changes.get(name) for name in TEXTS))
        growth = check_room(tasks, limits, context, topic if moved else None, n_bytes, n_open=0)
        if repredicted:
            prediction = predict_in(context, champion, topic, changed.difficulty)
    try:
        return tasks.edit(user_id, task.id, changes, prediction, growth=growth)
    except ConflictError:
        if renamed:
            raise
        # Completed meanwhile: the text may still be edited, and the prediction stays that of the answer.
        return tasks.edit(user_id, task.id, changes, None, growth=growth)


def _is_correction(task: PracticeTask, change: TaskChange) -> bool:
    """Return whether a change completes a task or corrects a completed one. Raises for invalid changes."""
    given = [name for name in _OF_A_RESULT if getattr(change, name) not in (None, getattr(task, name))]
    carries_result = change.is_correct is not None or change.actual_time_seconds is not None or bool(given)
    if change.completed is False and task.completed:
        raise ConflictError("A completed task cannot be made open again; send a correction instead")
    if change.completed is False and carries_result:
        raise InvalidInputError(
            [Fault(("body", "completed"), "false contradicts the result sent with it", "value_error")]
        )
    if not task.completed and (change.completed or carries_result):
        missing = [
            Fault(("body", name), f"{name} is needed to complete a task", "missing")
            for name in ("is_correct", "actual_time_seconds")
            if getattr(change, name) is None
        ]
        if missing:
            raise InvalidInputError(missing)
    return carries_result


_OF_A_RESULT = ("is_correct", "actual_time_seconds", "completed_at")


def _merged(task: PracticeTask, change: TaskChange) -> Result:
    """Return the task's result with what the change has of it. A time that was unknown stays so."""
    is_correct = task.is_correct if change.is_correct is None else change.is_correct
    seconds = task.actual_time_seconds if change.actual_time_seconds is None else change.actual_time_seconds
    at = None if change.completed_at is None else _time_of(task, "completed_at", change.completed_at)
    return Result(bool(is_correct), seconds, None if at == task.completed_at else at)


def _time_of(task: PracticeTask, field: str, at: datetime) -> datetime:
    """Return when a client says that a student did something, between the task's creation and now.

    A clock may be wrong by :data:`CLOCK_SKEW`; a time within that is moved to the bound. Raises InvalidInputError.
    """
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    # An answer at the moment of its task's creation is one of an import.
    earliest, latest = task.created_at + timedelta(microseconds=1), datetime.now(UTC)
    for bad, problem in (
        (at < earliest - CLOCK_SKEW, "is before the task was created"),
        (at > latest + CLOCK_SKEW, "is in the future"),
    ):
        if bad:
            raise InvalidInputError([Fault(("body", field), f"{at.isoformat()} {problem}", "value_error")])
    return min(max(at, earliest), latest)
