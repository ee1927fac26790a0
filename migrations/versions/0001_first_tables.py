"""The first tables: users, practice_tasks, practice_state, embedding_model_tracker."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

_TABLES = """
CREATE TABLE users (
    id text PRIMARY KEY,
    email text,
    full_name text,
    n_answers integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);
CREATE TABLE practice_tasks (
    id uuid PRIMARY KEY,
    user_id text NOT NULL REFERENCES users (id),
    subject text NOT NULL,
    subject_key text NOT NULL,
    topic text NOT NULL,
    topic_key text NOT NULL,
    difficulty text NOT NULL,
    difficulty_numeric smallint NOT NULL GENERATED ALWAYS AS (
        CASE difficulty WHEN 'easy' THEN 1 WHEN 'medium' THEN 2 WHEN 'hard' THEN 3 ELSE 4 END) STORED,
    task_content text NOT NULL,
    solution_content text,
    answer_content text,
    estimated_time_minutes double precision,
    study_session_id uuid,
    completed boolean NOT NULL DEFAULT false,
    completed_at timestamptz,
    is_correct boolean,
    actual_time_seconds double precision,
    answer_index integer,
    predicted_correct double precision NOT NULL,
    predicted_time_seconds integer NOT NULL,
    predicted_time_low integer,
    predicted_time_high integer,
    prediction_source text NOT NULL,
    model_version text,
    lnirt_model_version text NOT NULL GENERATED ALWAYS AS (
        CASE WHEN prediction_source = 'default' OR model_version IS NULL THEN 'fallback_default'
        ELSE prediction_source || '_' || model_version END) STORED,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ck_practice_tasks_ck_practice_tasks_difficulty CHECK (
        difficulty IN ('easy', 'medium', 'hard', 'expert')),
    CONSTRAINT ck_practice_tasks_ck_practice_tasks_seconds CHECK (actual_time_seconds BETWEEN 0 AND 86400),
    CONSTRAINT ck_practice_tasks_ck_practice_tasks_completed CHECK (
        NOT completed OR (is_correct IS NOT NULL AND answer_index IS NOT NULL))
);
CREATE INDEX ix_practice_tasks_newest ON practice_tasks (user_id, created_at, id);
CREATE INDEX ix_practice_tasks_newest_of_subject ON practice_tasks (user_id, subject_key, created_at, id);
CREATE INDEX ix_practice_tasks_in_order ON practice_tasks (user_id, answer_index) WHERE completed;
CREATE TABLE practice_state (
    user_id text REFERENCES users (id),
    topic text,
    difficulty smallint,
    attempts integer NOT NULL,
    correct integer NOT NULL,
    timed integer NOT NULL,
    sum_log_seconds double precision NOT NULL,
    sum_sq_log_seconds double precision NOT NULL,
    last_index integer NOT NULL,
    last_at timestamptz,
    decayed bytea NOT NULL,
    PRIMARY KEY (user_id, topic, difficulty)
);
CREATE TABLE embedding_model_tracker (
    cohort text PRIMARY KEY,
    n_samples_since_training integer NOT NULL DEFAULT 0,
    n_samples_last_training integer NOT NULL DEFAULT 0,
    n_samples_total integer NOT NULL DEFAULT 0,
    last_trained_at timestamptz,
    model_version text,
    training_request_id uuid,
    training_requested_at timestamptz,
    training_enqueued_at timestamptz,
    training_reason text,
    lease_expires_at timestamptz,
    progress jsonb,
    last_error text,
    CONSTRAINT ck_embedding_model_tracker_ck_embedding_model_tracker_counts CHECK (
        n_samples_since_training >= 0 AND n_samples_total >= 0)
);
INSERT INTO embedding_model_tracker (cohort) VALUES ('default')"""
"""Some names of constraints have their prefix twice, as they are in all existing databases."""


def upgrade() -> None:
    for statement in _TABLES.split(";"):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE embedding_model_tracker, practice_state, practice_tasks, users")
