"""What students do with practice tasks."""

from __future__ import annotations

import base64
import binascii
import logging
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from chalicelib import logs
from chalicelib.domain.errors import ConflictError, Fault, InvalidInputError, UnavailableError
from chalicelib.domain.tasks import NewTask, PracticeTask, Result, name_key
from chalicelib.domain.training import Counted, TrackerRow, TrainingNote, TrainingPolicy, TrainingRequest, TrainingState
from chalicelib.ports import TaskFilter, TaskStore, Tracker, TrainingQueue
from chalicelib.services import training
from chalicelib.services.champion import ChampionCache
from chalicelib.services.predictions import predict_for

_log = logging.getLogger("studysmart.tasks")


@dataclass(frozen=True, slots=True)
class TaskChange:
    """What a PATCH asks for; None leaves a field as it is."""

    completed: bool | None = None
    is_correct: bool | None = None
    actual_time_seconds: float | None = None
    study_session_id: str | None = None


@dataclass(frozen=True, slots=True)
class TaskPage:
    """One page of a list and the cursor of the next, None on the last page."""

    tasks: list[PracticeTask]
    next_cursor: str | None


def create_task(tasks: TaskStore, champion: ChampionCache, user_id: str, new: NewTask) -> PracticeTask:
    """Predict, then store the task with its prediction."""
    prediction = predict_for(tasks, champion, user_id, new.topic, new.difficulty)
    return tasks.insert(user_id, new, prediction)


def get_task(tasks: TaskStore, user_id: str, task_id: str) -> PracticeTask:
    """One of the student's tasks, else NotFoundError."""
    return tasks.get(user_id, task_id)


def latest_of_subject(tasks: TaskStore, user_id: str, subject: str) -> PracticeTask:
    """The newest task of a subject, however its name is written, else NotFoundError."""
    return tasks.newest_of_subject(user_id, name_key(subject))


def list_tasks(tasks: TaskStore, user_id: str, wanted: TaskFilter, limit: int, cursor: str | None) -> TaskPage:
    """A page of the student's tasks, newest first. ``wanted`` holds names as sent, or None."""
    by_key = TaskFilter(
        None if wanted.subject is None else name_key(wanted.subject),
        None if wanted.topic is None else name_key(wanted.topic),
        wanted.completed,
        wanted.search,
    )
    found = tasks.page(user_id, by_key, limit + 1, None if cursor is None else _position_of(cursor))
    if len(found) <= limit:
        return TaskPage(found, None)
    return TaskPage(found[:limit], _cursor_after(found[limit - 1]))


def _cursor_after(task: PracticeTask) -> str:
    return base64.urlsafe_b64encode(f"{task.created_at.isoformat()} {task.id}".encode()).decode().rstrip("=")


def _position_of(cursor: str) -> tuple[datetime, str]:
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


def delete_task(tasks: TaskStore, user_id: str, task_id: str) -> None:
    """Delete one of the student's tasks, else NotFoundError."""
    tasks.delete(user_id, task_id)


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
    """Carry out a PATCH: a completion, a correction, a session id, or nothing.

    The note is given with whatever carries a result, also when it was a repeat. A training that became due is in the
    tracker when this returns; its message is sent by ``later``. Raises NotFoundError,
    InvalidInputError when half of a result is missing, ConflictError for reopening a completed task.
    """
    if change.is_correct is not None and change.actual_time_seconds is not None and change.completed is not False:
        result = Result(change.is_correct, change.actual_time_seconds)
        return _complete(tasks, tracker, queue, policy, user_id, task_id, result, change.study_session_id, later)
    task = tasks.get(user_id, task_id)
    if change.completed is False and task.completed:
        raise ConflictError("A completed task cannot be made open again; send a correction instead")
    if change.completed is False and _carries_result(change):
        raise InvalidInputError(
            [Fault(("body", "completed"), "false contradicts the result sent with it", "value_error")]
        )
    if task.completed and _carries_result(change):
        result = _merged(task, change)
        return _complete(tasks, tracker, queue, policy, user_id, task_id, result, change.study_session_id, later)
    if not task.completed and (change.completed or _carries_result(change)):
        raise InvalidInputError(_missing(change))
    if change.study_session_id is not None and change.study_session_id != task.study_session_id:
        task = tasks.set_session(user_id, task_id, change.study_session_id)
    return task, None


def _carries_result(change: TaskChange) -> bool:
    return change.is_correct is not None or change.actual_time_seconds is not None


def _merged(task: PracticeTask, change: TaskChange) -> Result:
    """A correction of half of a result keeps the other half."""
    is_correct = task.is_correct if change.is_correct is None else change.is_correct
    seconds = task.actual_time_seconds if change.actual_time_seconds is None else change.actual_time_seconds
    return Result(bool(is_correct), seconds or 0.0)


def _missing(change: TaskChange) -> list[Fault]:
    given = {"is_correct": change.is_correct, "actual_time_seconds": change.actual_time_seconds}
    return [
        Fault(("body", name), f"{name} is needed to complete a task", "missing")
        for name, value in given.items()
        if value is None
    ]


def _complete(
    tasks: TaskStore,
    tracker: Tracker,
    queue: TrainingQueue,
    policy: TrainingPolicy,
    user_id: str,
    task_id: str,
    result: Result,
    session_id: str | None,
    later: training.Later,
) -> tuple[PracticeTask, TrainingNote]:
    done = tasks.complete(user_id, task_id, result, session_id, policy)
    if done.counted is None:
        return done.task, _note_of(tracker.read(tasks.cohort), policy)
    _announce(done.counted)
    if (request := done.counted.request) is not None:
        later(lambda: _send(tracker, queue, request))
    note = TrainingNote(done.counted.counter, policy.threshold, done.counted.request is not None)
    return done.task, note


def _send(tracker: Tracker, queue: TrainingQueue, request: TrainingRequest) -> None:
    try:
        training.send_request(tracker, queue, request)
    except UnavailableError as error:
        _log.error("training request was not sent and stamped, the sweeper will see to it: %s", error)


def _announce(counted: Counted) -> None:
    logs.note(counter=counted.counter, threshold=counted.threshold)
    _log.info("counter: %d/%d", counted.counter, counted.threshold)
    if counted.request is not None:
        logs.note(training_request_id=counted.request.request_id, reason=counted.request.reason)
        _log.info("EMBEDDING MODEL AUTO-TRAINING TRIGGERED")
        _log.info("New samples since last training: %d", counted.counter)
        _log.info("Total samples: %d", counted.n_samples_total)


def _note_of(row: TrackerRow, policy: TrainingPolicy) -> TrainingNote:
    queued = row.state is not TrainingState.IDLE
    return TrainingNote(row.n_samples_since_training, policy.threshold, queued)
