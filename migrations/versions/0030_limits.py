"""Counts of what accounts and addresses do, and how much each student has stored."""

from __future__ import annotations

from alembic import op

revision = "0030"
down_revision = "0050"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE limit_counts (
            name text NOT NULL,
            who text NOT NULL,
            began timestamptz NOT NULL,
            n integer NOT NULL,
            PRIMARY KEY (name, who)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE student_usage (
            user_id text PRIMARY KEY,
            open_tasks integer NOT NULL,
            topics integer NOT NULL,
            n_bytes bigint NOT NULL
        )
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE student_usage")
    op.execute("DROP TABLE limit_counts")
