"""The time from which the access tokens of an account are valid."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0007"


def upgrade() -> None:
    op.execute("ALTER TABLE users ADD COLUMN tokens_valid_from timestamptz, ADD COLUMN kept_tokens text")


def downgrade() -> None:
    op.execute("ALTER TABLE users DROP COLUMN tokens_valid_from, DROP COLUMN kept_tokens")
