"""The tables as the newest revision makes them: what a database is compared with, and what a backup copies."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "ck": "ck_%(table_name)s_%(constraint_name)s"}
)

_now = func.now()

users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    Column("email", Text),
    Column("full_name", Text),
    Column("n_answers", Integer, nullable=False, server_default="0"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now),
    Column("deleted_at", DateTime(timezone=True)),
)

practice_tasks = Table(
    "practice_tasks",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False),
    Column("subject", Text, nullable=False),
    Column("subject_key", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("topic_key", Text, nullable=False),
    Column("difficulty", Text, nullable=False),
    Column(
        "difficulty_numeric",
        SmallInteger,
        Computed("CASE difficulty WHEN 'easy' THEN 1 WHEN 'medium' THEN 2 WHEN 'hard' THEN 3 ELSE 4 END"),
        nullable=False,
    ),
    Column("task_content", Text, nullable=False),
    Column("solution_content", Text),
    Column("answer_content", Text),
    Column("estimated_time_minutes", Double),
    Column("study_session_id", Uuid(as_uuid=False)),
    Column("completed", Boolean, nullable=False, server_default=text("false")),
    Column("completed_at", DateTime(timezone=True)),
    Column("is_correct", Boolean),
    Column("actual_time_seconds", Double),
    Column("answer_index", Integer),
    Column("predicted_correct", Double, nullable=False),
    Column("predicted_time_seconds", Integer, nullable=False),
    Column("predicted_time_low", Integer),
    Column("predicted_time_high", Integer),
    Column("prediction_source", Text, nullable=False),
    Column("model_version", Text),
    Column(
        "lnirt_model_version",
        Text,
        Computed(
            "CASE WHEN prediction_source = 'default' OR model_version IS NULL THEN 'fallback_default' "
            "ELSE prediction_source || '_' || model_version END"
        ),
        nullable=False,
    ),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=_now),
    CheckConstraint("difficulty IN ('easy', 'medium', 'hard', 'expert')", name="difficulty"),
    CheckConstraint("actual_time_seconds BETWEEN 0 AND 86400", name="seconds"),
    CheckConstraint("NOT completed OR (is_correct IS NOT NULL AND answer_index IS NOT NULL)", name="completed"),
)
"""``answer_index`` counts a student's completed tasks from 0 in the order in which the state learnt them.

``completed_at`` of a completed task is null only for imported history that does not say when it was.
"""

Index("ix_practice_tasks_newest", practice_tasks.c.user_id, practice_tasks.c.created_at, practice_tasks.c.id)
Index(
    "ix_practice_tasks_newest_of_subject",
    practice_tasks.c.user_id,
    practice_tasks.c.subject_key,
    practice_tasks.c.created_at,
    practice_tasks.c.id,
)
Index(
    "ix_practice_tasks_newest_of_topic",
    practice_tasks.c.user_id,
    practice_tasks.c.topic_key,
    practice_tasks.c.created_at,
    practice_tasks.c.id,
)
Index(
    "ix_practice_tasks_newest_open",
    practice_tasks.c.user_id,
    practice_tasks.c.created_at,
    practice_tasks.c.id,
    postgresql_where=~practice_tasks.c.completed,
)
Index(
    "ix_practice_tasks_in_order",
    practice_tasks.c.user_id,
    practice_tasks.c.answer_index,
    postgresql_where=practice_tasks.c.completed,
)
Index(
    "ix_practice_tasks_recently_completed",
    practice_tasks.c.completed_at,
    postgresql_where=text("completed AND completed_at > created_at"),
)
"""Of all students. An imported answer was created when it was completed: it is not in there, nobody predicted it."""

practice_state = Table(
    "practice_state",
    metadata,
    Column("user_id", Text, ForeignKey("users.id"), primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("difficulty", SmallInteger, primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("correct", Integer, nullable=False),
    Column("timed", Integer, nullable=False),
    Column("sum_log_seconds", Double, nullable=False),
    Column("sum_sq_log_seconds", Double, nullable=False),
    Column("first_index", Integer, nullable=False),
    Column("last_index", Integer, nullable=False),
    Column("last_correct", Boolean, nullable=False),
    Column("last_at", DateTime(timezone=True)),
    Column("decayed", LargeBinary, nullable=False),
)
"""``topic`` is the key of the name; ``decayed`` is :func:`chalicelib.features.columns.decayed_to_bytes`.

``first_index`` and ``last_index`` are values of ``practice_tasks.answer_index``; ``last_correct`` is that task's
``is_correct``.
"""

embedding_model_tracker = Table(
    "embedding_model_tracker",
    metadata,
    Column("cohort", Text, primary_key=True),
    Column("n_samples_since_training", Integer, nullable=False, server_default="0"),
    Column("n_samples_last_training", Integer, nullable=False, server_default="0"),
    Column("n_samples_total", Integer, nullable=False, server_default="0"),
    Column("last_trained_at", DateTime(timezone=True)),
    Column("model_version", Text),
    Column("training_request_id", Uuid(as_uuid=False)),
    Column("training_requested_at", DateTime(timezone=True)),
    Column("training_enqueued_at", DateTime(timezone=True)),
    Column("training_reason", Text),
    Column("lease_expires_at", DateTime(timezone=True)),
    Column("progress", JSONB),
    Column("last_error", Text),
    CheckConstraint("n_samples_since_training >= 0 AND n_samples_total >= 0", name="counts"),
)
