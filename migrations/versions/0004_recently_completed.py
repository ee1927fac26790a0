"""An index on the completed tasks of all students by time, for the drift of the newest predictions.

It leaves out imported history, whose answers were never predicted. Nobody can write to the table while the index is
created.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_practice_tasks_recently_completed",
        "practice_tasks",
        ["completed_at"],
        postgresql_where=sa.text("completed AND completed_at > created_at"),
    )


def downgrade() -> None:
    op.drop_index("ix_practice_tasks_recently_completed", "practice_tasks")
