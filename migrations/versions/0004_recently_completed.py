"""An index on the completed tasks of all students by time, for the drift of the newest predictions.

It leaves out imported history, whose answers were never predicted. Nobody can write to the table while the index is
created.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(
        "CREATE INDEX ix_practice_tasks_recently_completed ON practice_tasks (completed_at) "
        "WHERE completed AND completed_at > created_at"
    )


def downgrade() -> None:
    op.execute("DROP INDEX ix_practice_tasks_recently_completed")
