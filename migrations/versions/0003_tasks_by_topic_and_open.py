"""Two indexes on the tasks of a student: one by topic, one of the open tasks.

Without them, a list of one topic or of the open tasks read everything that the student ever completed. Nobody can write
to the table while the indexes are created.
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
