"""Completing, correcting and deleting a task: all changes of what a student has answered.

A completion is two statements without a transaction around them.

1. :func:`read` reads, in one snapshot and without a lock, the task, the state row of its topic, and the student's row
   with its version (PostgreSQL's ``xmin``).
2. :func:`complete` marks the task, stores the new state row, and counts in the tracker or in one of its shards. It
   does all this only if the student's row still has the version that was read.

Every change of a student's answers or state writes the student's row first (:func:`take_user`). An unchanged version
therefore proves that nothing that was read has changed. If it has changed, the second statement changes nothing, and
:func:`complete_or_correct` repeats the completion in a transaction that holds the student's row.

All writers lock in this order: users, practice_tasks, practice_state, then embedding_model_tracker or tracker_shards.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import Connection, text

from chalicelib.domain.errors import NotFoundError
from chalicelib.domain.tasks import PracticeTask, Result
from chalicelib.domain.training import TrainingPolicy
from chalicelib.features.state import Answer, StateRow, advance, replay
from chalicelib.ports import Completion
from chalicelib.storage.rows import (
    N_TASK_COLUMNS,
    STATE_COLUMNS,
    STATE_VALUES,
    TASK_COLUMNS,
    TOPIC_KEY,
    qualified,
    state_parameters,
    state_row_from,
    task_from,
)
from chalicelib.storage.shards import changed_total_sql, counted_from, counting_sql, policy_values, shard_of
from chalicelib.storage.webhook_store import completion_sql

_READ = text(
    f"""
    SELECT {qualified(TASK_COLUMNS, "t")}, {TOPIC_KEY}, u.n_answers, CAST(u.xmin AS text), clock_timestamp(), u.cohort,
           {qualified(STATE_COLUMNS, "s")}
    FROM practice_tasks t JOIN users u ON u.id = t.user_id
    LEFT JOIN practice_state s
        ON s.user_id = t.user_id AND s.topic = {TOPIC_KEY} AND s.difficulty = t.difficulty_numeric
    WHERE t.id = CAST(:task_id AS uuid) AND t.user_id = :user_id
    """  # noqa: S608 - parts are constants, values are bound
)

_INSERT_STATE = text(f"INSERT INTO practice_state (user_id, {STATE_COLUMNS}) VALUES (:user_id, {STATE_VALUES})")  # noqa: S608 - parts are constants, values are bound

_COMPLETE = text(
    f"""
    WITH student AS (
        UPDATE users SET n_answers = n_answers + 1 WHERE id = :user_id AND xmin = CAST(:seen AS xid)
        RETURNING id, n_answers - 1 AS answer_index
    ), done AS (
        UPDATE practice_tasks t
        SET completed = true, is_correct = :is_correct, actual_time_seconds = CAST(:seconds AS double precision),
            study_session_id = coalesce(CAST(:session AS uuid), t.study_session_id),
            answer_index = student.answer_index, completed_at = :at, updated_at = :moment
        FROM student WHERE t.id = CAST(:task_id AS uuid) AND t.user_id = student.id AND NOT t.completed
        RETURNING t.*
    ), state AS (
        INSERT INTO practice_state (user_id, {STATE_COLUMNS})
        SELECT (SELECT user_id FROM done), {STATE_VALUES} FROM student
        ON CONFLICT (user_id, topic, difficulty) DO UPDATE SET
            attempts = excluded.attempts, correct = excluded.correct, timed = excluded.timed,
            sum_log_seconds = excluded.sum_log_seconds, sum_sq_log_seconds = excluded.sum_sq_log_seconds,
            last_index = excluded.last_index, last_correct = excluded.last_correct, last_at = excluded.last_at,
            decayed = excluded.decayed
        RETURNING user_id
    ), event AS ({completion_sql("done")}
    ), {counting_sql("1", "state")}
    SELECT done.study_session_id, tracker.* FROM done LEFT JOIN tracker ON true
    """  # noqa: S608 - parts are constants, values are bound
)
"""Each part reads the result of the part before it, which fixes the order of the locks.

A change that omits :func:`take_user` could leave ``student`` with a row and ``done`` without one. Then the state's
``user_id`` is null, its column refuses that, and the whole statement changes nothing.
"""

_TAKE_USER = text("UPDATE users SET n_answers = n_answers WHERE id = :user_id")

_CORRECT = text(
    f"""
    UPDATE practice_tasks
    SET is_correct = :is_correct, actual_time_seconds = CAST(:seconds AS double precision),
        completed_at = coalesce(CAST(:at AS timestamptz), completed_at),
        study_session_id = coalesce(CAST(:session AS uuid), study_session_id), updated_at = clock_timestamp()
    WHERE id = CAST(:task_id AS uuid) AND user_id = :user_id
    RETURNING {TASK_COLUMNS}
    """  # noqa: S608 - parts are constants, values are bound
)

_DELETE = text(
    """
    DELETE FROM practice_tasks WHERE id = CAST(:task_id AS uuid) AND user_id = :user_id
    RETURNING completed, answer_index
    """
)

_CLOSE_GAP = text(
    "UPDATE practice_tasks SET answer_index = answer_index - 1 WHERE user_id = :user_id AND answer_index > :index"
)

_PLACE = text(
    """
    WITH others AS (
        SELECT max(completed_at) OVER (ORDER BY answer_index) AS latest FROM practice_tasks
        WHERE user_id = :user_id AND completed AND id <> CAST(:task_id AS uuid)
    ), place AS (
        SELECT t.answer_index AS old, (SELECT count(*) FROM others WHERE latest IS NULL OR latest <= :at) AS new
        FROM practice_tasks t WHERE t.id = CAST(:task_id AS uuid)
    )
    UPDATE practice_tasks t SET answer_index = CASE
        WHEN t.id = CAST(:task_id AS uuid) THEN place.new
        WHEN place.new < place.old THEN t.answer_index + 1
        ELSE t.answer_index - 1 END
    FROM place
    WHERE t.user_id = :user_id AND t.completed AND place.new <> place.old
        AND t.answer_index BETWEEN least(place.new, place.old) AND greatest(place.new, place.old)
    """
)
"""Places an answer after all answers that are not newer. An answer without a time belongs to the one before it."""

_HISTORY = text(
    f"""
    SELECT {TOPIC_KEY}, difficulty_numeric, is_correct, actual_time_seconds, completed_at FROM practice_tasks
    WHERE user_id = :user_id AND completed ORDER BY answer_index
    """  # noqa: S608 - parts are constants, values are bound
)

_CLEAR_STATE = text("DELETE FROM practice_state WHERE user_id = :user_id")

_SET_ANSWERS = text("UPDATE users SET n_answers = :n WHERE id = :user_id")

_UNCOUNT = text(
    f"""
    UPDATE embedding_model_tracker k SET {changed_total_sql("k", "-CAST(:n AS integer)")}
    WHERE cohort = (SELECT cohort FROM users WHERE id = :user_id)
    """  # noqa: S608 - parts are constants, values are bound
)


class Seen(msgspec.Struct, frozen=True):
    """The values that a completion is computed from, as one statement read them.

    ``version`` is the version of the student's row, ``moment`` the database's time, ``cohort`` that of the student.
    ``before`` is the state on the task's topic and difficulty, None if the student has none yet.
    """

    task: PracticeTask
    topic_key: str
    n_answers: int
    version: str
    moment: datetime
    cohort: str
    before: StateRow | None


def take_user(connection: Connection, user_id: str) -> None:
    """Lock the student's row and give it a new version. Must precede every change of the student's answers."""
    connection.execute(_TAKE_USER, {"user_id": user_id})


def read(connection: Connection, user_id: str, task_id: str) -> Seen:
    """Read a task and the values that its completion needs. Raises NotFoundError."""
    row = connection.execute(_READ, {"user_id": user_id, "task_id": task_id}).one_or_none()
    if row is None:
        raise NotFoundError("Practice task not found")
    topic_key, n_answers, version, moment, cohort, *state = row[N_TASK_COLUMNS:]
    before = None if state[0] is None else state_row_from(*state)
    return Seen(task_from(row), topic_key, n_answers, version, moment, cohort, before)


def is_repeat(task: PracticeTask, result: Result, session_id: UUID | None) -> bool:
    """Return whether a completed task has this result and study session already."""
    return task.completed and _same_result(task, result) and session_id in (None, task.study_session_id)


def _same_result(task: PracticeTask, result: Result) -> bool:
    same_time = result.at is None or result.at == task.completed_at
    return task.is_correct == result.is_correct and task.actual_time_seconds == result.seconds and same_time


def complete(
    connection: Connection, seen: Seen, result: Result, session_id: UUID | None, policy: TrainingPolicy
) -> Completion | None:
    """Complete an open task by one statement. Return None, with nothing changed, if ``seen`` is out of date.

    If another completion is at work on the tracker's row, this one is counted in a shard: see :mod:`.shards`.
    """
    task = seen.task
    at = result.at or seen.moment
    answer = Answer(seen.topic_key, task.difficulty_numeric, result.is_correct, result.seconds, at)
    after = advance(seen.before, answer, seen.n_answers)
    request_id = str(uuid.uuid4())
    values = {
        **state_parameters(task.user_id, after),
        **policy_values(policy),
        "task_id": task.id,
        "seen": seen.version,
        "is_correct": result.is_correct,
        "seconds": result.seconds,
        "session": session_id,
        "moment": seen.moment,
        "at": at,
        "cohort": seen.cohort,
        "shard": shard_of(task.user_id),
        "request_id": request_id,
    }
    row = connection.execute(_COMPLETE, values).one_or_none()
    if row is None:
        return None
    session, *found = row
    done = msgspec.structs.replace(
        task,
        completed=True,
        is_correct=result.is_correct,
        actual_time_seconds=result.seconds,
        study_session_id=session,
        completed_at=at,
        updated_at=seen.moment,
    )
    if found[0] is None:
        return Completion(done, None, shard_of=seen.cohort)
    return Completion(done, counted_from(seen.cohort, request_id, policy, *found))


def complete_or_correct(
    connection: Connection,
    user_id: str,
    task_id: str,
    result: Result,
    session_id: UUID | None,
    policy: TrainingPolicy,
) -> Completion:
    """Complete a task inside a transaction, or correct it if it is completed with another result."""
    take_user(connection, user_id)
    seen = read(connection, user_id, task_id)
    if not seen.task.completed:
        completion = complete(connection, seen, result, session_id, policy)
        assert completion is not None, f"the row of {user_id} changed while it was locked"  # noqa: S101 - narrows a type
        if result.at is not None:
            _place(connection, user_id, task_id, result.at)
        return completion
    if is_repeat(seen.task, result, session_id):
        return Completion(seen.task, None)
    values = {"is_correct": result.is_correct, "seconds": result.seconds, "session": session_id, "at": result.at}
    task = task_from(connection.execute(_CORRECT, values | {"user_id": user_id, "task_id": task_id}).one())
    if result.at is not None and result.at != seen.task.completed_at:
        _place(connection, user_id, task_id, result.at)
    elif not _same_result(seen.task, result):
        rebuild_state(connection, user_id)
    return Completion(task, None)


def _place(connection: Connection, user_id: str, task_id: str, at: datetime) -> None:
    """Place an answer by its time among the student's answers. The caller holds the student's row."""
    connection.execute(_PLACE, {"user_id": user_id, "task_id": task_id, "at": at})
    rebuild_state(connection, user_id)


def delete(connection: Connection, user_id: str, task_id: str) -> None:
    """Delete a task. A completed one is also removed from the state and the totals. Raises NotFoundError."""
    take_user(connection, user_id)
    row = connection.execute(_DELETE, {"user_id": user_id, "task_id": task_id}).one_or_none()
    if row is None:
        raise NotFoundError("Practice task not found")
    completed, index = row
    if completed:
        connection.execute(_CLOSE_GAP, {"user_id": user_id, "index": index})
        rebuild_state(connection, user_id)
        uncount(connection, user_id, 1)


def rebuild_state(connection: Connection, user_id: str) -> None:
    """Compute the student's state from all completed tasks and store it. The caller holds the student's row."""
    history = connection.execute(_HISTORY, {"user_id": user_id}).all()
    state = replay(user_id, (Answer(t, d, bool(correct), s, at) for t, d, correct, s, at in history))
    connection.execute(_CLEAR_STATE, {"user_id": user_id})
    if state.rows:
        connection.execute(_INSERT_STATE, [state_parameters(user_id, row) for row in state.rows])
    connection.execute(_SET_ANSWERS, {"user_id": user_id, "n": state.n_answers})


def uncount(connection: Connection, user_id: str, n: int) -> None:
    """Subtract deleted answers from the total of the student's cohort. The counter to the next training stays."""
    connection.execute(_UNCOUNT, {"user_id": user_id, "n": n})
