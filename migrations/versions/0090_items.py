"""The item of a task: its name as the client sent it, and its key.

The release before leaves both null in the tasks that it creates. Tasks from before this revision have no key either:
the keys depend on the texts of all tasks, and to write them here would lock the table for as long as that takes. So
``studysmart doctor --repair`` writes them, a few at a time, while the API runs.
"""

from __future__ import annotations

from alembic import op

revision = "0090"
down_revision = "0080"


def upgrade() -> None:
    op.execute("ALTER TABLE practice_tasks ADD COLUMN item_id text, ADD COLUMN item_key bigint")
    op.execute(
        "CREATE INDEX ix_practice_tasks_of_item ON practice_tasks (user_id, item_key, answer_index) "
        "WHERE item_key IS NOT NULL AND answer_index IS NOT NULL"
    )


def downgrade() -> None:
    op.execute("DROP INDEX ix_practice_tasks_of_item")
    op.execute("ALTER TABLE practice_tasks DROP COLUMN item_key, DROP COLUMN item_id")
