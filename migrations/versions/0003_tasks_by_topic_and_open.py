"""Two indexes on the tasks of a student: one by topic, one of the open tasks.

Without them, a list of one topic or of the open tasks read everything that the student ever completed. Nobody can write
to the table while the indexes are created.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("CREATE INDEX ix_practice_tasks_newest_of_topic ON practice_tasks (user_id, topic_key, created_at, id)")
    op.execute(
        "CREATE INDEX ix_practice_tasks_newest_open ON practice_tasks (user_id, created_at, id) WHERE NOT completed"
    )


def downgrade() -> None:
    op.execute("DROP INDEX ix_practice_tasks_newest_open, ix_practice_tasks_newest_of_topic")
