"""Practice tasks in PostgreSQL: creating, reading and listing. Completing is in :mod:`.completion`."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, text

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
    FROM (SELECT CAST(:user_id AS text) AS id, CAST(:cohort AS text) AS cohort) AS wanted
    LEFT JOIN users u ON u.id = wanted.id
    LEFT JOIN embedding_model_tracker k ON k.cohort = wanted.cohort
    CROSS JOIN LATERAL (
        SELECT {STATE_AGGREGATES} FROM practice_state WHERE user_id = wanted.id
    ) AS s
    """
)
"""One row whatever the size of the state: the driver takes longer over 1,000 rows than PostgreSQL and the models."""

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
"""A user that Cognito knows and the table does not yet gets a row here. Run twice with one id it stores once."""

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
"""Read row by row along the index that the list needs anyway: a student has thousands of tasks, not millions."""


def _containing(search: str) -> str:
    """The LIKE pattern of texts that contain ``search``, none of whose characters is special in it."""
    escaped = re.sub(r"([\\%_])", r"\\\1", search)
    return f"%{escaped}%"


def canonical_id(task_id: str) -> str:
    """The id as PostgreSQL writes it; a malformed one is as unknown as any other."""
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
        """The student's state and the tracker's model version, by one statement."""
        row = statement(self._engine, lambda c: c.execute(_CONTEXT, {"user_id": user_id, "cohort": self._cohort}).one())
        n_answers, deleted, model_version, topics, packed = row
        if deleted:
            raise UnauthenticatedError("This account was deleted")
        state = UserState(user_id, n_answers or 0, rows_from_bytes(topics or (), packed or b""))
        return PredictionContext(state, model_version)

    def insert(self, user_id: str, new: NewTask, prediction: Prediction) -> PracticeTask:
        """Store a new task. Raises UnauthenticatedError when the account was deleted."""
        values = {
            "id": str(uuid.uuid4()),
            "user_id": user_id,
            "subject": new.subject,
            "subject_key": name_key(new.subject),
            "topic": new.topic,
            "topic_key": name_key(new.topic),
            "difficulty": new.difficulty.value,
            "task_content": new.task_content,
            "solution_content": new.solution_content,
            "answer_content": new.answer_content,
            "estimated_time_minutes": new.estimated_time_minutes,
            "study_session_id": new.study_session_id,
            "correct": prediction.correct,
            "seconds": prediction.seconds,
            "seconds_low": prediction.seconds_low,
            "seconds_high": prediction.seconds_high,
            "source": prediction.source.value,
            "model_version": prediction.model_version,
        }
        row = statement(self._engine, lambda c: c.execute(_INSERT, values).one_or_none())
        if row is None:
            raise UnauthenticatedError("This account was deleted")
        return task_from(row)

    def get(self, user_id: str, task_id: str) -> PracticeTask:
        """One task of the student; NotFoundError for unknown, foreign and malformed ids alike."""
        return self._one(_GET, {"user_id": user_id, "task_id": canonical_id(task_id)})

    def newest_of_subject(self, user_id: str, subject_key: str) -> PracticeTask:
        """The newest task of a subject; NotFoundError where there is none."""
        return self._one(_NEWEST, {"user_id": user_id, "subject": subject_key})

    def set_session(self, user_id: str, task_id: str, session_id: str) -> PracticeTask:
        """Store the front end's study session id of a task."""
        values = {"user_id": user_id, "task_id": canonical_id(task_id), "session": session_id}
        return self._one(_SET_SESSION, values)

    def _one(self, query: Any, values: Mapping[str, Any]) -> PracticeTask:
        row = statement(self._engine, lambda c: c.execute(query, values).one_or_none())
        if row is None:
            raise NotFoundError("Practice task not found")
        return task_from(row)

    def page(
        self, user_id: str, wanted: TaskFilter, limit: int, before: tuple[datetime, str] | None
    ) -> list[PracticeTask]:
        """Up to ``limit`` tasks, newest first, strictly before the (created_at, id) of ``before``."""
        conditions = ["user_id = :user_id"]
        values: dict[str, Any] = {"user_id": user_id, "limit": limit}
        for column, value in (("subject_key", wanted.subject), ("topic_key", wanted.topic)):
            if value is not None:
                conditions.append(f"{column} = :{column}")
                values[column] = value
        if wanted.completed is not None:
            conditions.append("completed" if wanted.completed else "NOT completed")
        if wanted.search is not None:
            conditions.append(_FOUND)
            values["key"], values["pattern"] = name_key(wanted.search), _containing(wanted.search)
        if before is not None:
            conditions.append("(created_at, id) < (CAST(:created_at AS timestamptz), CAST(:before_id AS uuid))")
            values["created_at"], values["before_id"] = before
        query = text(
            f"SELECT {TASK_COLUMNS} FROM practice_tasks WHERE {' AND '.join(conditions)} "
            "ORDER BY created_at DESC, id DESC LIMIT :limit"
        )
        return [task_from(row) for row in statement(self._engine, lambda c: c.execute(query, values).all())]

    def complete(
        self, user_id: str, task_id: str, result: Result, session_id: str | None, policy: TrainingPolicy
    ) -> Completion:
        """Complete a task once, count it, and request a training when it is due.

        A repeat changes nothing, and a different result on a completed task is stored as a correction.
        """
        task_id = canonical_id(task_id)
        seen = statement(self._engine, lambda c: completion.read(c, user_id, task_id))
        if completion.is_repeat(seen.task, result, session_id):
            return Completion(seen.task, None)
        if not seen.task.completed:
            # May run twice when the connection breaks: the second time the student's row has another version.
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
        """Delete a task; a completed one takes its effect on the state and the totals with it."""
        task_id = canonical_id(task_id)
        transaction(self._engine, lambda c: completion.delete(c, self._cohort, user_id, task_id))
