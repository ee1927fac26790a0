"""The first tables: users, practice_tasks, practice_state, embedding_model_tracker."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _time(name: str, *, now: bool = False) -> sa.Column[object]:
    if now:
        return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
    return sa.Column(name, sa.DateTime(timezone=True))


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("email", sa.Text),
        sa.Column("full_name", sa.Text),
        sa.Column("n_answers", sa.Integer, nullable=False, server_default="0"),
        _time("created_at", now=True),
        _time("deleted_at"),
    )
    _create_practice_tasks()
    op.create_table(
        "practice_state",
        sa.Column("user_id", sa.Text, sa.ForeignKey("users.id"), primary_key=True),
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("difficulty", sa.SmallInteger, primary_key=True),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("correct", sa.Integer, nullable=False),
        sa.Column("timed", sa.Integer, nullable=False),
        sa.Column("sum_log_seconds", sa.Double, nullable=False),
        sa.Column("sum_sq_log_seconds", sa.Double, nullable=False),
        sa.Column("last_index", sa.Integer, nullable=False),
        _time("last_at"),
        sa.Column("decayed", sa.LargeBinary, nullable=False),
    )
    tracker = op.create_table(
        "embedding_model_tracker",
        sa.Column("cohort", sa.Text, primary_key=True),
        sa.Column("n_samples_since_training", sa.Integer, nullable=False, server_default="0"),
        sa.Column("n_samples_last_training", sa.Integer, nullable=False, server_default="0"),
        sa.Column("n_samples_total", sa.Integer, nullable=False, server_default="0"),
        _time("last_trained_at"),
        sa.Column("model_version", sa.Text),
        sa.Column("training_request_id", sa.Uuid(as_uuid=False)),
        _time("training_requested_at"),
        _time("training_enqueued_at"),
        sa.Column("training_reason", sa.Text),
        _time("lease_expires_at"),
        sa.Column("progress", JSONB),
        sa.Column("last_error", sa.Text),
        sa.CheckConstraint(
            "n_samples_since_training >= 0 AND n_samples_total >= 0", name="ck_embedding_model_tracker_counts"
        ),
    )
    op.bulk_insert(tracker, [{"cohort": "default"}])


def _create_practice_tasks() -> None:
    op.create_table(
        "practice_tasks",
        sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("user_id", sa.Text, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("subject_key", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("topic_key", sa.Text, nullable=False),
        sa.Column("difficulty", sa.Text, nullable=False),
        sa.Column(
            "difficulty_numeric",
            sa.SmallInteger,
            sa.Computed("CASE difficulty WHEN 'easy' THEN 1 WHEN 'medium' THEN 2 WHEN 'hard' THEN 3 ELSE 4 END"),
            nullable=False,
        ),
        sa.Column("task_content", sa.Text, nullable=False),
        sa.Column("solution_content", sa.Text),
        sa.Column("answer_content", sa.Text),
        sa.Column("estimated_time_minutes", sa.Double),
        sa.Column("study_session_id", sa.Uuid(as_uuid=False)),
        sa.Column("completed", sa.Boolean, nullable=False, server_default=sa.text("false")),
        _time("completed_at"),
        sa.Column("is_correct", sa.Boolean),
        sa.Column("actual_time_seconds", sa.Double),
        sa.Column("answer_index", sa.Integer),
        sa.Column("predicted_correct", sa.Double, nullable=False),
        sa.Column("predicted_time_seconds", sa.Integer, nullable=False),
        sa.Column("predicted_time_low", sa.Integer),
        sa.Column("predicted_time_high", sa.Integer),
        sa.Column("prediction_source", sa.Text, nullable=False),
        sa.Column("model_version", sa.Text),
        sa.Column(
            "lnirt_model_version",
            sa.Text,
            sa.Computed(
                "CASE WHEN prediction_source = 'default' OR model_version IS NULL THEN 'fallback_default' "
                "ELSE prediction_source || '_' || model_version END"
            ),
            nullable=False,
        ),
        _time("created_at", now=True),
        _time("updated_at", now=True),
        sa.CheckConstraint("difficulty IN ('easy', 'medium', 'hard', 'expert')", name="ck_practice_tasks_difficulty"),
        sa.CheckConstraint("actual_time_seconds BETWEEN 0 AND 86400", name="ck_practice_tasks_seconds"),
        sa.CheckConstraint(
            "NOT completed OR (is_correct IS NOT NULL AND answer_index IS NOT NULL)",
            name="ck_practice_tasks_completed",
        ),
    )
    op.create_index("ix_practice_tasks_newest", "practice_tasks", ["user_id", "created_at", "id"])
    op.create_index(
        "ix_practice_tasks_newest_of_subject", "practice_tasks", ["user_id", "subject_key", "created_at", "id"]
    )
    op.create_index(
        "ix_practice_tasks_in_order",
        "practice_tasks",
        ["user_id", "answer_index"],
        postgresql_where=sa.text("completed"),
    )


def downgrade() -> None:
    for table in ("embedding_model_tracker", "practice_state", "practice_tasks", "users"):
        op.drop_table(table)
