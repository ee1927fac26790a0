"""Each row of the practice state also says at which of the student's answers it was practised first.

Rows that are there get it from the completed tasks. A program of before this revision cannot complete tasks after
it, nor a newer one before it: install the program together with the migration.

Revision: 0002, after 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_FROM_TASKS = """
UPDATE practice_state s SET first_index = met.first_index
FROM (SELECT user_id, topic_key, difficulty_numeric, min(answer_index) AS first_index
      FROM practice_tasks WHERE completed GROUP BY user_id, topic_key, difficulty_numeric) met
WHERE met.user_id = s.user_id AND met.topic_key = s.topic AND met.difficulty_numeric = s.difficulty"""

_WITHOUT_TASKS = "UPDATE practice_state SET first_index = last_index WHERE first_index IS NULL"
"""No state is without its tasks; were one, its last answer is the only one that is known to have been."""


def upgrade() -> None:
    op.add_column("practice_state", sa.Column("first_index", sa.Integer))
    op.execute(_FROM_TASKS)
    op.execute(_WITHOUT_TASKS)
    op.alter_column("practice_state", "first_index", nullable=False)


def downgrade() -> None:
    op.drop_column("practice_state", "first_index")
