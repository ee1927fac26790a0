"""Two more orders of a student's tasks: by topic, and the open ones.

Without them a list of one topic, or of what is still to do, read all that the student ever completed to find nothing.
While the indices are made, nobody can write to the table.

Revision: 0003, after 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_practice_tasks_newest_of_topic", "practice_tasks", ["user_id", "topic_key", "created_at", "id"])
    op.create_index(
        "ix_practice_tasks_newest_open",
        "practice_tasks",
        ["user_id", "created_at", "id"],
        postgresql_where=sa.text("NOT completed"),
    )


def downgrade() -> None:
    op.drop_index("ix_practice_tasks_newest_open", "practice_tasks")
    op.drop_index("ix_practice_tasks_newest_of_topic", "practice_tasks")
