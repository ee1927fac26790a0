"""The tables as the newest revision makes them: what a database is compared with, and what a backup copies."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Computed, Index, Table
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = sa.MetaData(naming_convention={"ck": "ck_%(table_name)s_%(constraint_name)s"})
_now = sa.func.now()

users = Table(
    "users",
    metadata,
    Column("id", sa.Text, primary_key=True),
    Column("email", sa.Text),
    Column("full_name", sa.Text),
    Column("n_answers", sa.Integer, nullable=False, server_default="0"),
    Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    Column("deleted_at", sa.DateTime(timezone=True)),
    Column("tokens_valid_from", sa.DateTime(timezone=True)),
    Column("kept_tokens", sa.Text),
    Column("excluded_at", sa.DateTime(timezone=True)),
    Column("issuer", sa.Text),
    Column("subject", sa.Text),
    Column("changed_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    Column("cohort", sa.Text, nullable=False, server_default="default"),
    Index("ix_users_of_cohort", "cohort", "id"),
    Index("ix_users_of_issuer", "issuer", postgresql_where=sa.text("issuer IS NOT NULL AND deleted_at IS NULL")),
)
"""Access tokens issued until ``tokens_valid_from`` are refused, but not those whose digests are in ``kept_tokens``.

Trainings do not learn from the answers of an account with ``excluded_at``. Everything else is as for other accounts.

``changed_at`` is set by a trigger when an account's answers change, or whether they are excluded. Whatever changes
answers updates ``n_answers``, be it to the same number.

``cohort`` is the only place that says to which cohort a student belongs.

``issuer`` and ``subject`` name a user whom somebody else identifies; ``id`` is then
:func:`chalicelib.domain.service_accounts.user_id_of`.
"""

practice_tasks = Table(
    "practice_tasks",
    metadata,
    Column("id", sa.Uuid(as_uuid=False), primary_key=True),
    Column("user_id", sa.Text, sa.ForeignKey("users.id"), nullable=False),
    Column("subject", sa.Text, nullable=False),
    Column("subject_key", sa.Text, nullable=False),
    Column("topic", sa.Text, nullable=False),
    Column("topic_key", sa.Text, nullable=False),
    Column("difficulty", sa.Text, nullable=False),
    Column(
        "difficulty_numeric",
        sa.SmallInteger,
        Computed("CASE difficulty WHEN 'easy' THEN 1 WHEN 'medium' THEN 2 WHEN 'hard' THEN 3 ELSE 4 END"),
        nullable=False,
    ),
    Column("task_content", sa.Text, nullable=False),
    Column("solution_content", sa.Text),
    Column("answer_content", sa.Text),
    Column("estimated_time_minutes", sa.Double),
    Column("study_session_id", sa.Uuid(as_uuid=False)),
    Column("completed", sa.Boolean, nullable=False, server_default=sa.text("false")),
    Column("completed_at", sa.DateTime(timezone=True)),
    Column("is_correct", sa.Boolean),
    Column("actual_time_seconds", sa.Double),
    Column("answer_index", sa.Integer),
    Column("predicted_correct", sa.Double, nullable=False),
    Column("predicted_time_seconds", sa.Integer, nullable=False),
    Column("predicted_time_low", sa.Integer),
    Column("predicted_time_high", sa.Integer),
    Column("prediction_source", sa.Text, nullable=False),
    Column("model_version", sa.Text),
    Column(
        "lnirt_model_version",
        sa.Text,
        Computed(
            "CASE WHEN prediction_source = 'default' OR model_version IS NULL THEN 'fallback_default' "
            "ELSE prediction_source || '_' || model_version END"
        ),
        nullable=False,
    ),
    Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    Column("import_id", sa.Integer),
    Column("solution_viewed_at", sa.DateTime(timezone=True)),
    Column("item_id", sa.Text),
    Column("item_key", sa.BigInteger),
    Column("cohort", sa.Text, nullable=False, server_default="default"),
    sa.CheckConstraint("difficulty IN ('easy', 'medium', 'hard', 'expert')", name="difficulty"),
    sa.CheckConstraint("actual_time_seconds BETWEEN 0 AND 86400", name="seconds"),
    sa.CheckConstraint("NOT completed OR (is_correct IS NOT NULL AND answer_index IS NOT NULL)", name="completed"),
    Index("ix_practice_tasks_newest", "user_id", "created_at", "id"),
    Index("ix_practice_tasks_newest_of_subject", "user_id", "subject_key", "created_at", "id"),
    Index("ix_practice_tasks_newest_of_topic", "user_id", "topic_key", "created_at", "id"),
    Index("ix_practice_tasks_newest_open", "user_id", "created_at", "id", postgresql_where=sa.text("NOT completed")),
    Index("ix_practice_tasks_in_order", "user_id", "answer_index", postgresql_where=sa.text("completed")),
    Index(
        "ix_practice_tasks_of_item",
        "user_id",
        "item_key",
        "answer_index",
        postgresql_where=sa.text("item_key IS NOT NULL AND answer_index IS NOT NULL"),
    ),
    # Of all students of a cohort. An imported answer is not in it: it was created when it was completed, and nobody
    # predicted it.
    Index(
        "ix_practice_tasks_recently_completed_of_cohort",
        "cohort",
        "completed_at",
        postgresql_where=sa.text("completed AND completed_at > created_at"),
    ),
)
"""``answer_index`` counts a student's completed tasks from 0 in the order in which the state learnt them.

``completed_at`` of a completed task is null only for imported history that does not say when it was. ``import_id`` is
the import that brought the task, so that it can be taken back. ``item_key`` is
:func:`chalicelib.domain.items.item_of`, null for a task without an item. ``cohort`` is the one whose model
predicted the task: that of the student when it was created, or predicted again.
"""

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("user_id", sa.Text, primary_key=True),
    Column("key", sa.Text, primary_key=True),
    Column("digest", sa.LargeBinary, nullable=False),
    Column("task_id", sa.Uuid(as_uuid=False), sa.ForeignKey("practice_tasks.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    Index("ix_idempotency_keys_task", "task_id"),
)
"""The ``Idempotency-Key`` of the requests of the last day that created a task; ``digest`` is that of the body."""

practice_state = Table(
    "practice_state",
    metadata,
    Column("user_id", sa.Text, sa.ForeignKey("users.id"), primary_key=True),
    Column("topic", sa.Text, primary_key=True),
    Column("difficulty", sa.SmallInteger, primary_key=True),
    Column("attempts", sa.Integer, nullable=False),
    Column("correct", sa.Integer, nullable=False),
    Column("timed", sa.Integer, nullable=False),
    Column("sum_log_seconds", sa.Double, nullable=False),
    Column("sum_sq_log_seconds", sa.Double, nullable=False),
    Column("first_index", sa.Integer, nullable=False),
    Column("last_index", sa.Integer, nullable=False),
    Column("last_correct", sa.Boolean, nullable=False),
    Column("last_at", sa.DateTime(timezone=True)),
    Column("decayed", sa.LargeBinary, nullable=False),
)
"""``topic`` is :func:`chalicelib.domain.topics.topic_key`, ``decayed`` the bytes of
:func:`chalicelib.features.columns.decayed_to_bytes`.

``first_index`` and ``last_index`` are values of ``practice_tasks.answer_index``; ``last_correct`` is that task's
``is_correct``.
"""

imports = Table(
    "imports",
    metadata,
    Column("id", sa.Integer, sa.Identity(), primary_key=True),
    Column("cohort", sa.Text, nullable=False),
    Column("file", sa.Text, nullable=False),
    Column("started_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    Column("finished_at", sa.DateTime(timezone=True)),
    Column("n_read", sa.Integer, nullable=False, server_default="0"),
    Column("n_added", sa.Integer, nullable=False, server_default="0"),
    Column("n_refused", sa.Integer, nullable=False, server_default="0"),
    Column("n_new_users", sa.Integer, nullable=False, server_default="0"),
    Column("undone_at", sa.DateTime(timezone=True)),
)
"""One row for each import of a file. ``finished_at`` is null for an import that was interrupted."""

limit_counts = Table(
    "limit_counts",
    metadata,
    Column("name", sa.Text, primary_key=True),
    Column("who", sa.Text, primary_key=True),
    Column("began", sa.DateTime(timezone=True), nullable=False),
    Column("n", sa.Integer, nullable=False),
)
"""How often an account or address (``who``) did what a limit bounds, since ``began``. Addresses are digests."""

student_usage = Table(
    "student_usage",
    metadata,
    Column("user_id", sa.Text, primary_key=True),
    Column("open_tasks", sa.Integer, nullable=False),
    Column("topics", sa.Integer, nullable=False),
    Column("n_bytes", sa.BigInteger, nullable=False),
)
"""About what a student has stored. It grows with tasks, by steps, and is counted anew when it reaches a limit.

A student without a row is counted at the next task. So an import deletes the rows of its students.
"""

service_accounts = Table(
    "service_accounts",
    metadata,
    Column("id", sa.Text, primary_key=True),
    Column("name", sa.Text, nullable=False),
    Column("scopes", ARRAY(sa.Text), nullable=False),
    Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    Column("revoked_at", sa.DateTime(timezone=True)),
    Column("cohort", sa.Text, nullable=False, server_default="default"),
    sa.UniqueConstraint("name", name="uq_service_accounts_name"),
)
"""Servers of other apps, whose learners all belong to ``cohort``.

``scopes`` holds values of :class:`chalicelib.domain.service_accounts.Scope`.
"""

service_keys = Table(
    "service_keys",
    metadata,
    Column("digest", sa.Text, primary_key=True),
    Column("service_id", sa.Text, sa.ForeignKey("service_accounts.id"), nullable=False),
    Column("hint", sa.Text, nullable=False),
    Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    Column("expires_at", sa.DateTime(timezone=True)),
    Column("revoked_at", sa.DateTime(timezone=True)),
    Column("last_used_at", sa.DateTime(timezone=True)),
)
"""Keys of service accounts by their SHA-256. ``hint`` is the beginning of the key."""

service_actions = Table(
    "service_actions",
    metadata,
    Column("id", sa.Uuid(as_uuid=False), primary_key=True, server_default=sa.func.gen_random_uuid()),
    Column("at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    Column("service_id", sa.Text, nullable=False),
    Column("hint", sa.Text, nullable=False),
    Column("operation", sa.Text, nullable=False),
    Column("user_id", sa.Text),
    Column("status", sa.SmallInteger, nullable=False),
    Column("request_id", sa.Text),
    Index("ix_service_actions_newest", "service_id", "at"),
    Index("ix_service_actions_at", "at"),
)
"""The requests of service accounts of the last 400 days; ``user_id`` is that of the learner."""

cohorts = Table(
    "cohorts",
    metadata,
    Column("name", sa.Text, primary_key=True),
    Column("email_domains", ARRAY(sa.Text), nullable=False, server_default="{}"),
    Column("invitation", sa.Text),
    Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    sa.UniqueConstraint("invitation", name="cohorts_invitation_key"),
)
"""The cohorts besides the deployment's own, which the setting ``COHORT`` names.

A student with an address in one of ``email_domains`` joins the cohort when the address is verified. ``invitation`` is
the digest of a code with which a student can register in it.
"""

embedding_model_tracker = Table(
    "embedding_model_tracker",
    metadata,
    Column("cohort", sa.Text, primary_key=True),
    Column("n_samples_since_training", sa.Integer, nullable=False, server_default="0"),
    Column("n_samples_last_training", sa.Integer, nullable=False, server_default="0"),
    Column("n_samples_total", sa.Integer, nullable=False, server_default="0"),
    Column("last_trained_at", sa.DateTime(timezone=True)),
    Column("model_version", sa.Text),
    Column("training_request_id", sa.Uuid(as_uuid=False)),
    Column("training_requested_at", sa.DateTime(timezone=True)),
    Column("training_enqueued_at", sa.DateTime(timezone=True)),
    Column("training_reason", sa.Text),
    Column("lease_expires_at", sa.DateTime(timezone=True)),
    Column("progress", JSONB),
    Column("last_error", sa.Text),
    Column("training_seconds", sa.Double),
    Column("training_failures", sa.Integer, nullable=False, server_default="0"),
    Column("next_training_at", sa.DateTime(timezone=True)),
    Column("n_shards_counted", sa.BigInteger, nullable=False, server_default="0"),
    sa.CheckConstraint("n_samples_since_training >= 0 AND n_samples_total >= 0", name="counts"),
)
"""One row for each cohort. ``n_shards_counted`` is the part of ``tracker_shards`` that its counters contain."""

tracker_shards = Table(
    "tracker_shards",
    metadata,
    Column("cohort", sa.Text, primary_key=True),
    Column("shard", sa.SmallInteger, primary_key=True),
    Column("n", sa.BigInteger, nullable=False),
)
"""Completions that were counted while another completion was at work on the tracker's row. ``n`` only grows."""

webhook_receivers = Table(
    "webhook_receivers",
    metadata,
    Column("id", sa.Integer, sa.Identity(), primary_key=True),
    Column("cohort", sa.Text, nullable=False),
    Column("service_id", sa.Text, sa.ForeignKey("service_accounts.id")),
    Column("url", sa.Text, nullable=False),
    Column("secret", sa.Text, nullable=False),
    Column("events", sa.ARRAY(sa.Text), nullable=False),
    Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    Column("disabled_at", sa.DateTime(timezone=True)),
    Column("lease_expires_at", sa.DateTime(timezone=True)),
    Column("next_attempt_at", sa.DateTime(timezone=True)),
    Column("failures", sa.Integer, nullable=False, server_default="0"),
    Column("last_error", sa.Text),
    Column("delivered_at", sa.DateTime(timezone=True)),
)
"""Servers that are told about events of a cohort. ``failures`` counts the attempts since the last success.

A receiver with ``service_id`` hears of the learners of that service account only, and only it gets their own ids.
"""

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    Column("receiver_id", sa.Integer, sa.ForeignKey("webhook_receivers.id", ondelete="CASCADE"), nullable=False),
    Column("message_id", sa.Uuid(as_uuid=False), nullable=False, server_default=sa.func.gen_random_uuid()),
    Column("type", sa.Text, nullable=False),
    Column("user_id", sa.Text),
    Column("data", JSONB, nullable=False),
    Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
    Column("attempts", sa.Integer, nullable=False, server_default="0"),
    Column("refusals", sa.Integer, nullable=False, server_default="0"),
    Column("delivered_at", sa.DateTime(timezone=True)),
    Column("dead_at", sa.DateTime(timezone=True)),
    Index(
        "ix_webhook_deliveries_waiting",
        "receiver_id",
        "id",
        postgresql_where=sa.text("delivered_at IS NULL AND dead_at IS NULL"),
    ),
    Index("ix_webhook_deliveries_of_user", "user_id", postgresql_where=sa.text("user_id IS NOT NULL")),
    Index("ix_webhook_deliveries_created", "created_at"),
)
"""One row for each event and receiver, with the student whom it is about.

A row that is neither delivered nor dead waits, in the order of the ids. ``refusals`` are the attempts that the receiver
answered with a status of 4xx which is about the message.
"""
