"""Use cases of practice tasks: create, list, complete and correct."""

from __future__ import annotations

import base64
import binascii
import logging
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec.structs import replace

from chalicelib import logs
from chalicelib.domain.errors import ConflictError, Fault, InvalidInputError, UnavailableError
from chalicelib.domain.tasks import NewTask, PracticeTask, Result, TaskChange, name_key
from chalicelib.domain.training import Counted, TrainingNote, TrainingPolicy, TrainingRequest, TrainingState
from chalicelib.ports import TaskFilter, TaskStore, Tracker, TrainingQueue
from chalicelib.services import training
from chalicelib.services.champion import ChampionCache
from chalicelib.services.predictions import predict_for

_log = logging.getLogger("studysmart.tasks")


@dataclass(frozen=True, slots=True)
class TaskPage:
    """A page of a list with the cursor of the next page, which is None on the last page."""

    tasks: list[PracticeTask]
    next_cursor: str | None


def create_task(tasks: TaskStore, champion: ChampionCache, user_id: str, new: NewTask) -> PracticeTask:
    """Predict a new task and store it with its prediction."""
    prediction = predict_for(tasks, champion, user_id, new.topic, new.difficulty)
    return tasks.insert(user_id, new, prediction)


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
    found = tasks.page(user_id, by_key, limit + 1, None if cursor is None else _position_of(cursor))
    if len(found) <= limit:
        return TaskPage(found, None)
    return TaskPage(found[:limit], _cursor_after(found[limit - 1]))


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
    tracker: Tracker,
    queue: TrainingQueue,
    policy: TrainingPolicy,
    user_id: str,
    task_id: str,
    change: TaskChange,
    later: training.Later = training.at_once,
) -> tuple[PracticeTask, TrainingNote | None]:
    """Apply a PATCH: complete a task, correct it, set its study session, or change nothing.

    The note is returned for every change that carries a result, also for a repeated one. When this returns, a training
    that became due is in the tracker; ``later`` sends its message.

    Raises NotFoundError, InvalidInputError if half of a result is missing, ConflictError if a completed task is
    reopened.
    """
    if change.is_correct is not None and change.actual_time_seconds is not None and change.completed is not False:
        result = Result(change.is_correct, change.actual_time_seconds)
    else:
        task = tasks.get(user_id, task_id)
        if not _is_correction(task, change):
            if change.study_session_id is not None and change.study_session_id != task.study_session_id:
                task = tasks.set_session(user_id, task_id, change.study_session_id)
            return task, None
        result = _merged(task, change)
    done = tasks.complete(user_id, task_id, result, change.study_session_id, policy)
    if (counted := done.counted) is None:
        row = tracker.read(tasks.cohort)
        queued = row.state is not TrainingState.IDLE
        return done.task, TrainingNote(row.n_samples_since_training, policy.threshold, queued)
    _announce(counted)
    if (request := counted.request) is not None:
        later(lambda: _send(tracker, queue, request))
    return done.task, TrainingNote(counted.counter, policy.threshold, counted.request is not None)


def _is_correction(task: PracticeTask, change: TaskChange) -> bool:
    """Return whether a change without a full result corrects a completed task. Raises for invalid changes."""
    carries_result = change.is_correct is not None or change.actual_time_seconds is not None
    if change.completed is False and task.completed:
        raise ConflictError("A completed task cannot be made open again; send a correction instead")
    if change.completed is False and carries_result:
        raise InvalidInputError(
            [Fault(("body", "completed"), "false contradicts the result sent with it", "value_error")]
        )
    if not task.completed and (change.completed or carries_result):
        raise InvalidInputError(
            [
                Fault(("body", name), f"{name} is needed to complete a task", "missing")
                for name in ("is_correct", "actual_time_seconds")
                if getattr(change, name) is None
            ]
        )
    return carries_result


def _merged(task: PracticeTask, change: TaskChange) -> Result:
    """Return the task's result with the corrected half replaced."""
    is_correct = task.is_correct if change.is_correct is None else change.is_correct
    seconds = task.actual_time_seconds if change.actual_time_seconds is None else change.actual_time_seconds
    return Result(bool(is_correct), seconds or 0.0)


def _send(tracker: Tracker, queue: TrainingQueue, request: TrainingRequest) -> None:
    try:
        training.send_request(tracker, queue, request)
    except UnavailableError as error:
        _log.error("The training request was not sent; the sweeper will send it: %s", error)


def _announce(counted: Counted) -> None:
    logs.note(counter=counted.counter, threshold=counted.threshold)
    _log.info("counter: %d/%d", counted.counter, counted.threshold)
    if counted.request is not None:
        logs.note(training_request_id=counted.request.request_id, reason=counted.request.reason)
        _log.info("EMBEDDING MODEL AUTO-TRAINING TRIGGERED")
        _log.info("New samples since last training: %d", counted.counter)
        _log.info("Total samples: %d", counted.n_samples_total)
