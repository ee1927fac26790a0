"""The order in which everybody's tasks were completed, for the drift of predictions over the newest of them.

Imported history is not in it: nobody predicted those answers. While the index is made, nobody can write to the table.

Revision: 0004, after 0003.
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
