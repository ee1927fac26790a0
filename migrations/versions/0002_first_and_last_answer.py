"""Two columns of the practice state: the index of the first answer, and the outcome of the last one.

Existing rows get both from the completed tasks. An older program cannot complete tasks after this revision, and a newer
program cannot do so before it: install the program together with the migration.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

_FIRST_FROM_TASKS = """
UPDATE practice_state s SET first_index = met.first_index
FROM (SELECT user_id, topic_key, difficulty_numeric, min(answer_index) AS first_index
      FROM practice_tasks WHERE completed GROUP BY user_id, topic_key, difficulty_numeric) met
WHERE met.user_id = s.user_id AND met.topic_key = s.topic AND met.difficulty_numeric = s.difficulty"""

_FIRST_WITHOUT_TASKS = "UPDATE practice_state SET first_index = last_index WHERE first_index IS NULL"
"""A state without its tasks should not exist. If one does, only the index of its last answer is known."""

_LAST_FROM_TASKS = """
UPDATE practice_state s SET last_correct = t.is_correct FROM practice_tasks t
WHERE t.completed AND t.user_id = s.user_id AND t.answer_index = s.last_index"""

_LAST_WITHOUT_TASKS = """
UPDATE practice_state SET last_correct = (correct > 0 AND correct = attempts) WHERE last_correct IS NULL"""
"""Without its task, the last answer is known to be correct only if all answers were."""


def upgrade() -> None:
    op.execute("ALTER TABLE practice_state ADD COLUMN first_index integer, ADD COLUMN last_correct boolean")
    for fill in (_FIRST_FROM_TASKS, _FIRST_WITHOUT_TASKS, _LAST_FROM_TASKS, _LAST_WITHOUT_TASKS):
        op.execute(fill)
    op.execute("ALTER TABLE practice_state ALTER first_index SET NOT NULL, ALTER last_correct SET NOT NULL")


def downgrade() -> None:
    op.execute("ALTER TABLE practice_state DROP COLUMN last_correct, DROP COLUMN first_index")
