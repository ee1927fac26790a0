"""The keys of requests that created a task, so that a request can be sent again."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE idempotency_keys (
            user_id text NOT NULL,
            key text NOT NULL,
            digest bytea NOT NULL,
            task_id uuid NOT NULL REFERENCES practice_tasks (id) ON DELETE CASCADE,
            created_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (user_id, key)
        )
        """
    )
    op.execute("CREATE INDEX ix_idempotency_keys_task ON idempotency_keys (task_id)")


def downgrade() -> None:
    op.execute("DROP TABLE idempotency_keys")
