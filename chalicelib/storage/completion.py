"""What happens inside the transaction of a completion, a correction or a deletion.

A completion is two statements. The first takes the student's row (which orders everything that changes one
student), decides who counts, and reads the state row. The second stores the advanced state and counts in the
tracker. The state that the first statement read may be older than the lock it waited for; the second then finds
another version of the row (``xmin``: a correction changes it and leaves ``last_index`` as it was) than it was told,
and the caller starts again with the lock taken beforehand.

Every writer takes its locks in this order: users, practice_tasks, practice_state, embedding_model_tracker.
"""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import Connection, Row, text

from chalicelib.domain.errors import NotFoundError
from chalicelib.domain.tasks import PracticeTask, Result
from chalicelib.domain.training import Counted, TrainingPolicy, TrainingRequest
from chalicelib.features.practice_state import Answer, StateRow, advance, replay
from chalicelib.services.ports import Completion
from chalicelib.storage.rows import (
    N_TASK_COLUMNS,
    TASK_COLUMNS,
    state_parameters,
    state_row_from,
    task_columns,
    task_from,
)

_COUNT_ANSWER = text(
    f"""
    WITH student AS (
        UPDATE users SET n_answers = n_answers + 1
        WHERE id = :user_id AND EXISTS (
            SELECT 1 FROM practice_tasks
            WHERE id = CAST(:task_id AS uuid) AND user_id = :user_id AND NOT completed)
        RETURNING n_answers - 1 AS answer_index
    ), done AS (
        UPDATE practice_tasks t
        SET completed = true, is_correct = :is_correct, actual_time_seconds = CAST(:seconds AS double precision),
            study_session_id = coalesce(CAST(:session AS uuid), t.study_session_id),
            answer_index = student.answer_index, completed_at = moment, updated_at = moment
        FROM student, clock_timestamp() AS moment
        WHERE t.id = CAST(:task_id AS uuid) AND t.user_id = :user_id AND NOT t.completed
        RETURNING {task_columns("t")}, t.answer_index, t.topic_key
    )
    SELECT done.*, s.topic, s.difficulty, s.attempts, s.correct, s.timed, s.sum_log_seconds, s.sum_sq_log_seconds,
           s.first_index, s.last_index, s.last_correct, s.last_at, s.decayed, CAST(s.xmin AS text)
    FROM done LEFT JOIN practice_state s
        ON s.user_id = :user_id AND s.topic = done.topic_key AND s.difficulty = done.difficulty_numeric
    """
)

_INSERT_STATE = """
    INSERT INTO practice_state
        (user_id, topic, difficulty, attempts, correct, timed, sum_log_seconds, sum_sq_log_seconds, first_index,
         last_index, last_correct, last_at, decayed)
    VALUES (:user_id, :topic, :difficulty, :attempts, :correct, :timed, :sum_log_seconds, :sum_sq_log_seconds,
            :first_index, :last_index, :last_correct, :last_at, :decayed)
"""

_DUE = """(k.training_request_id IS NULL
    AND k.n_samples_since_training + 1 >= :threshold AND k.n_samples_total + 1 >= :minimum)"""

_STORE_AND_COUNT = text(
    f"""
    WITH state AS (
        {_INSERT_STATE}
        ON CONFLICT (user_id, topic, difficulty) DO UPDATE SET
            attempts = excluded.attempts, correct = excluded.correct, timed = excluded.timed,
            sum_log_seconds = excluded.sum_log_seconds, sum_sq_log_seconds = excluded.sum_sq_log_seconds,
            last_index = excluded.last_index, last_correct = excluded.last_correct, last_at = excluded.last_at,
            decayed = excluded.decayed
        WHERE practice_state.xmin = CAST(:seen AS xid)
        RETURNING 1 AS stored
    ), tracker AS (
        INSERT INTO embedding_model_tracker AS k (cohort, n_samples_since_training, n_samples_total)
        VALUES (:cohort, 1, 1)
        ON CONFLICT (cohort) DO UPDATE SET
            n_samples_since_training = k.n_samples_since_training + 1,
            n_samples_total = k.n_samples_total + 1,
            training_request_id = CASE WHEN {_DUE} THEN CAST(:request_id AS uuid) ELSE k.training_request_id END,
            training_requested_at = CASE WHEN {_DUE} THEN clock_timestamp() ELSE k.training_requested_at END,
            training_reason = CASE WHEN {_DUE} THEN 'threshold' ELSE k.training_reason END,
            training_enqueued_at = CASE WHEN {_DUE} THEN NULL ELSE k.training_enqueued_at END,
            lease_expires_at = CASE WHEN {_DUE} THEN NULL ELSE k.lease_expires_at END,
            progress = CASE WHEN {_DUE} THEN NULL ELSE k.progress END
        RETURNING k.n_samples_since_training, k.n_samples_total, k.training_request_id, k.training_requested_at
    )
    SELECT (SELECT stored FROM state), tracker.* FROM tracker
    """
)

_LOCK_USER = text("SELECT 1 FROM users WHERE id = :user_id FOR UPDATE")

_CORRECT = text(
    f"""
    UPDATE practice_tasks
    SET is_correct = :is_correct, actual_time_seconds = CAST(:seconds AS double precision),
        study_session_id = coalesce(CAST(:session AS uuid), study_session_id), updated_at = clock_timestamp()
    WHERE id = CAST(:task_id AS uuid) AND user_id = :user_id
    RETURNING {TASK_COLUMNS}
    """
)

_READ = text(f"SELECT {TASK_COLUMNS} FROM practice_tasks WHERE id = CAST(:task_id AS uuid) AND user_id = :user_id")

_DELETE = text(
    """
    DELETE FROM practice_tasks WHERE id = CAST(:task_id AS uuid) AND user_id = :user_id
    RETURNING completed, answer_index
    """
)

_CLOSE_GAP = text(
    "UPDATE practice_tasks SET answer_index = answer_index - 1 WHERE user_id = :user_id AND answer_index > :index"
)

_HISTORY = text(
    """
    SELECT topic_key, difficulty_numeric, is_correct, actual_time_seconds, completed_at FROM practice_tasks
    WHERE user_id = :user_id AND completed ORDER BY answer_index
    """
)

_CLEAR_STATE = text("DELETE FROM practice_state WHERE user_id = :user_id")

_SET_ANSWERS = text("UPDATE users SET n_answers = :n WHERE id = :user_id")

_UNCOUNT = text(
    """
    UPDATE embedding_model_tracker SET n_samples_total = greatest(n_samples_total - :n, 0) WHERE cohort = :cohort
    """
)


class StaleStateError(Exception):
    """Another completion of the same student came between reading and locking; nothing was stored."""


def lock_user(connection: Connection, user_id: str) -> None:
    """Take the student's row, so that what is read after this is what is changed."""
    connection.execute(_LOCK_USER, {"user_id": user_id})


def complete(
    connection: Connection,
    cohort: str,
    user_id: str,
    task_id: str,
    result: Result,
    session_id: str | None,
    policy: TrainingPolicy,
) -> Completion:
    """Complete a task; a repeat changes nothing and a different result is stored as a correction."""
    values = {
        "user_id": user_id,
        "task_id": task_id,
        "is_correct": result.is_correct,
        "seconds": result.seconds,
        "session": session_id,
    }
    row = connection.execute(_COUNT_ANSWER, values).one_or_none()
    if row is None:
        return _completed_before(connection, user_id, task_id, result, values)
    counted = _store_and_count(connection, cohort, user_id, row, policy)
    return Completion(task_from(row), counted)


def _store_and_count(
    connection: Connection, cohort: str, user_id: str, row: Row[Any], policy: TrainingPolicy
) -> Counted:
    task = task_from(row)
    answer_index, topic_key = row[N_TASK_COLUMNS : N_TASK_COLUMNS + 2]
    *stored, seen = row[N_TASK_COLUMNS + 2 :]
    before: StateRow | None = state_row_from(*stored) if stored[0] is not None else None
    if before is not None and before.last_index >= answer_index:
        raise StaleStateError
    after = advance(before, _answer(topic_key, task), answer_index)
    request_id = str(uuid.uuid4())
    values = state_parameters(user_id, after) | {
        "seen": seen,
        "cohort": cohort,
        "threshold": policy.threshold,
        "minimum": policy.minimum_samples,
        "request_id": request_id,
    }
    stored_flag, counter, total, live_request, requested_at = connection.execute(_STORE_AND_COUNT, values).one()
    if stored_flag is None:
        raise StaleStateError
    mine = live_request is not None and str(live_request) == request_id
    request = TrainingRequest(request_id, cohort, requested_at, "threshold") if mine else None
    return Counted(counter, policy.threshold, total, request)


def _answer(topic_key: str, task: PracticeTask) -> Answer:
    return Answer(
        topic_key, task.difficulty_numeric, bool(task.is_correct), task.actual_time_seconds, task.completed_at
    )


def _completed_before(
    connection: Connection, user_id: str, task_id: str, result: Result, values: dict[str, Any]
) -> Completion:
    """A repeat, a correction, or no task at all. ``_COUNT_ANSWER`` may have counted in a lost race: uncount first."""
    connection.exec_driver_sql("ROLLBACK")
    connection.exec_driver_sql("BEGIN")
    lock_user(connection, user_id)
    row = connection.execute(_READ, {"user_id": user_id, "task_id": task_id}).one_or_none()
    if row is None:
        raise NotFoundError("Practice task not found")
    task = task_from(row)
    if not task.completed:
        raise StaleStateError
    same = task.is_correct == result.is_correct and task.actual_time_seconds == result.seconds
    if same and values["session"] in (None, task.study_session_id):
        return Completion(task, None)
    task = task_from(connection.execute(_CORRECT, values).one())
    if not same:
        rebuild_state(connection, user_id)
    return Completion(task, None)


def delete(connection: Connection, cohort: str, user_id: str, task_id: str) -> None:
    """Delete a task; for a completed one rebuild the state and take it out of the totals."""
    lock_user(connection, user_id)
    row = connection.execute(_DELETE, {"user_id": user_id, "task_id": task_id}).one_or_none()
    if row is None:
        raise NotFoundError("Practice task not found")
    completed, index = row
    if completed:
        connection.execute(_CLOSE_GAP, {"user_id": user_id, "index": index})
        rebuild_state(connection, user_id)
        uncount(connection, cohort, 1)


def rebuild_state(connection: Connection, user_id: str) -> None:
    """Replay the student's completed tasks in order and store what comes out. The caller holds the user's row."""
    history = connection.execute(_HISTORY, {"user_id": user_id}).all()
    state = replay(user_id, (Answer(t, d, bool(correct), s, at) for t, d, correct, s, at in history))
    connection.execute(_CLEAR_STATE, {"user_id": user_id})
    if state.rows:
        connection.execute(text(_INSERT_STATE), [state_parameters(user_id, row) for row in state.rows])
    connection.execute(_SET_ANSWERS, {"user_id": user_id, "n": state.n_answers})


def uncount(connection: Connection, cohort: str, n: int) -> None:
    """Take deleted answers out of the cohort's total; the counter towards the next training stays."""
    connection.execute(_UNCOUNT, {"cohort": cohort, "n": n})
