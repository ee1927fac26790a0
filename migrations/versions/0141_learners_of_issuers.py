"""Index of the users of each issuer, to count the learners of a service account."""

from __future__ import annotations

from alembic import op

revision = "0141"
down_revision = "0130"


def upgrade() -> None:
    op.execute("CREATE INDEX ix_users_of_issuer ON users (issuer) WHERE issuer IS NOT NULL AND deleted_at IS NULL")


def downgrade() -> None:
    op.execute("DROP INDEX ix_users_of_issuer")
