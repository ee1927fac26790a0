"""Practice tasks in PostgreSQL: creating, reading and listing. Completing is in :mod:`.completion`.

A creation needs two statements: :data:`_CONTEXT` reads everything that the prediction needs, and :data:`_INSERT` stores
the task with its prediction.
"""

from __future__ import annotations

import re
import uuid
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Engine, TextClause, text

from chalicelib.domain.errors import NotFoundError, UnauthenticatedError
from chalicelib.domain.predictions import Prediction
from chalicelib.domain.tasks import NewTask, PracticeTask, Result, name_key
from chalicelib.domain.training import TrainingPolicy
from chalicelib.features.columns import rows_from_bytes
from chalicelib.features.state import UserState
from chalicelib.ports import Completion, PredictionContext, TaskFilter
from chalicelib.storage import completion
from chalicelib.storage.database import statement, transaction
from chalicelib.storage.rows import STATE_AGGREGATES, TASK_COLUMNS, task_from

_CONTEXT = text(
    f"""
    SELECT u.n_answers, u.deleted_at IS NOT NULL, k.model_version, s.topics, s.packed
    FROM (SELECT CAST(:user_id AS text) AS id, CAST(:cohort AS text) AS cohort) AS requested
    LEFT JOIN users u ON u.id = requested.id
    LEFT JOIN embedding_model_tracker k ON k.cohort = requested.cohort
    CROSS JOIN LATERAL (
        SELECT {STATE_AGGREGATES} FROM practice_state WHERE user_id = requested.id
    ) AS s
    """
)
"""Always one row, also for an unknown student or cohort."""

_INSERT = text(
    f"""
    WITH account AS (INSERT INTO users (id) VALUES (:user_id) ON CONFLICT (id) DO NOTHING)
    INSERT INTO practice_tasks
        (id, user_id, subject, subject_key, topic, topic_key, difficulty, task_content, solution_content,
         answer_content, estimated_time_minutes, study_session_id, predicted_correct, predicted_time_seconds,
         predicted_time_low, predicted_time_high, prediction_source, model_version, created_at, updated_at)
    SELECT CAST(:id AS uuid), :user_id, :subject, :subject_key, :topic, :topic_key, :difficulty, :task_content,
           :solution_content, :answer_content, CAST(:estimated_time_minutes AS double precision),
           CAST(:study_session_id AS uuid), CAST(:correct AS double precision), CAST(:seconds AS integer),
           CAST(:seconds_low AS integer), CAST(:seconds_high AS integer), :source, :model_version, moment, moment
    FROM clock_timestamp() AS moment
    WHERE NOT EXISTS (SELECT 1 FROM users WHERE id = :user_id AND deleted_at IS NOT NULL)
    ON CONFLICT (id) DO UPDATE SET id = excluded.id
    RETURNING {TASK_COLUMNS}
    """
)
"""A user with an account in Cognito but no row yet gets a row here. A repeat with the same id stores nothing new."""

_GET = text(f"SELECT {TASK_COLUMNS} FROM practice_tasks WHERE id = CAST(:task_id AS uuid) AND user_id = :user_id")

_NEWEST = text(
    f"""
    SELECT {TASK_COLUMNS} FROM practice_tasks WHERE user_id = :user_id AND subject_key = :subject
    ORDER BY created_at DESC, id DESC LIMIT 1
    """
)

_SET_SESSION = text(
    f"""
    UPDATE practice_tasks SET study_session_id = CAST(:session AS uuid), updated_at = clock_timestamp()
    WHERE id = CAST(:task_id AS uuid) AND user_id = :user_id RETURNING {TASK_COLUMNS}
    """
)

_FOUND = (
    "(strpos(subject_key, CAST(:key AS text)) > 0 OR strpos(topic_key, CAST(:key AS text)) > 0 "
    "OR task_content ILIKE CAST(:pattern AS text))"
)
"""No index of its own: the rows are read in the order of the list, and a student has thousands of tasks at most."""


def _containing(search: str) -> str:
    """Return the LIKE pattern of texts that contain ``search``, with its special characters escaped."""
    escaped = re.sub(r"([\\%_])", r"\\\1", search)
    return f"%{escaped}%"


def canonical_id(task_id: str) -> str:
    """Return the id in PostgreSQL's form. Raises NotFoundError for a malformed id."""
    try:
        return str(uuid.UUID(task_id))
    except ValueError:
        raise NotFoundError("Practice task not found") from None


class PostgresTaskStore:
    """Implements :class:`chalicelib.ports.TaskStore`."""

    def __init__(self, engine: Engine, cohort: str) -> None:
        self._engine = engine
        self._cohort = cohort

    @property
    def cohort(self) -> str:
        """The cohort whose tracker counts the completions."""
        return self._cohort

    def prediction_context(self, user_id: str) -> PredictionContext:
        """Return the student's state and the tracker's model version. Raises UnauthenticatedError."""
        values = {"user_id": user_id, "cohort": self._cohort}
        row = statement(self._engine, lambda c: c.execute(_CONTEXT, values).one())
        n_answers, deleted, model_version, topics, packed = row
        if deleted:
            raise UnauthenticatedError("This account was deleted")
        state = UserState(user_id, n_answers or 0, rows_from_bytes(topics or (), packed or b""))
        return PredictionContext(state, model_version)

    def insert(self, user_id: str, new: NewTask, prediction: Prediction) -> PracticeTask:
        """Store a new task. Raises UnauthenticatedError if the account was deleted."""
        values = {
            **msgspec.structs.asdict(new),
            **msgspec.structs.asdict(prediction),
            "id": str(uuid.uuid4()),
            "user_id": user_id,
            "subject_key": name_key(new.subject),
            "topic_key": name_key(new.topic),
            "difficulty": new.difficulty.value,
            "source": prediction.source.value,
        }
        row = statement(self._engine, lambda c: c.execute(_INSERT, values).one_or_none())
        if row is None:
            raise UnauthenticatedError("This account was deleted")
        return task_from(row)

    def get(self, user_id: str, task_id: str) -> PracticeTask:
        """Return a task of the student. Raises NotFoundError, also for foreign and malformed ids."""
        return self._one(_GET, user_id=user_id, task_id=canonical_id(task_id))

    def newest_of_subject(self, user_id: str, subject_key: str) -> PracticeTask:
        """Return the newest task of a subject. Raises NotFoundError."""
        return self._one(_NEWEST, user_id=user_id, subject=subject_key)

    def set_session(self, user_id: str, task_id: str, session_id: UUID) -> PracticeTask:
        """Store the study session of a task. Raises NotFoundError."""
        return self._one(_SET_SESSION, user_id=user_id, task_id=canonical_id(task_id), session=session_id)

    def _one(self, query: TextClause, **values: Any) -> PracticeTask:
        row = statement(self._engine, lambda c: c.execute(query, values).one_or_none())
        if row is None:
            raise NotFoundError("Practice task not found")
        return task_from(row)

    def page(
        self, user_id: str, requested: TaskFilter, limit: int, before: tuple[datetime, str] | None
    ) -> list[PracticeTask]:
        """Return up to ``limit`` tasks, newest first, older than the (created_at, id) in ``before``."""
        conditions = ["user_id = :user_id"]
        values: dict[str, Any] = {"user_id": user_id, "limit": limit}
        for column, value in (("subject_key", requested.subject), ("topic_key", requested.topic)):
            if value is not None:
                conditions.append(f"{column} = :{column}")
                values[column] = value
        if requested.completed is not None:
            conditions.append("completed" if requested.completed else "NOT completed")
        if requested.search is not None:
            conditions.append(_FOUND)
            values["key"], values["pattern"] = name_key(requested.search), _containing(requested.search)
        if before is not None:
            conditions.append("(created_at, id) < (CAST(:created_at AS timestamptz), CAST(:before_id AS uuid))")
            values["created_at"], values["before_id"] = before
        query = text(
            f"SELECT {TASK_COLUMNS} FROM practice_tasks WHERE {' AND '.join(conditions)} "
            "ORDER BY created_at DESC, id DESC LIMIT :limit"
        )
        return [task_from(row) for row in statement(self._engine, lambda c: c.execute(query, values).all())]

    def complete(
        self, user_id: str, task_id: str, result: Result, session_id: UUID | None, policy: TrainingPolicy
    ) -> Completion:
        """Complete a task, count it once, and request a training if one is due. Raises NotFoundError.

        A repeat changes nothing. Another result for a completed task is stored as a correction.
        """
        task_id = canonical_id(task_id)
        seen = statement(self._engine, lambda c: completion.read(c, user_id, task_id))
        if completion.is_repeat(seen.task, result, session_id):
            return Completion(seen.task, None)
        if not seen.task.completed:
            # A broken connection may run this twice. The second time the student's row has another version.
            done = statement(
                self._engine, lambda c: completion.complete(c, self._cohort, seen, result, session_id, policy)
            )
            if done is not None:
                return done
        return transaction(
            self._engine,
            lambda c: completion.complete_or_correct(c, self._cohort, user_id, task_id, result, session_id, policy),
        )

    def delete(self, user_id: str, task_id: str) -> None:
        """Delete a task, and remove a completed one from the state and the total. Raises NotFoundError."""
        task_id = canonical_id(task_id)
        transaction(self._engine, lambda c: completion.delete(c, self._cohort, user_id, task_id))
