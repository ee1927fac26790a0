"""The duration of the last training, the failures since, and the earliest start of the next one."""

from __future__ import annotations

from alembic import op

revision = "0100"
down_revision = "0090"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE embedding_model_tracker
            ADD COLUMN training_seconds double precision,
            ADD COLUMN training_failures integer NOT NULL DEFAULT 0,
            ADD COLUMN next_training_at timestamptz
        """)


def downgrade() -> None:
    op.execute("""
        ALTER TABLE embedding_model_tracker
            DROP COLUMN training_seconds, DROP COLUMN training_failures, DROP COLUMN next_training_at
        """)
