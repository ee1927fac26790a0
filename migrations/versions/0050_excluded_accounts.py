"""The time since which an account is excluded from trainings."""

from __future__ import annotations

from alembic import op

revision = "0050"
down_revision = "0010"


def upgrade() -> None:
    op.execute("ALTER TABLE users ADD COLUMN excluded_at timestamptz")


def downgrade() -> None:
    op.execute("ALTER TABLE users DROP COLUMN excluded_at")
