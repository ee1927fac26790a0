"""The time at which a student asked for the solution of an open task."""

from __future__ import annotations

from alembic import op

revision = "0080"
down_revision = "0030"


def upgrade() -> None:
    op.execute("ALTER TABLE practice_tasks ADD COLUMN solution_viewed_at timestamptz")


def downgrade() -> None:
    op.execute("ALTER TABLE practice_tasks DROP COLUMN solution_viewed_at")
