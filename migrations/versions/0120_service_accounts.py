"""Service accounts, and users whom somebody else identifies."""

from __future__ import annotations

from alembic import op

revision = "0120"
down_revision = "0101"


def upgrade() -> None:
    op.execute("ALTER TABLE users ADD COLUMN issuer text, ADD COLUMN subject text")
    op.execute("""
        CREATE TABLE service_accounts (
            id text NOT NULL,
            name text NOT NULL,
            scopes text[] NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            revoked_at timestamptz,
            PRIMARY KEY (id),
            CONSTRAINT uq_service_accounts_name UNIQUE (name)
        )
        """)
    op.execute("""
        CREATE TABLE service_keys (
            digest text NOT NULL,
            service_id text NOT NULL REFERENCES service_accounts (id),
            hint text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            expires_at timestamptz,
            revoked_at timestamptz,
            last_used_at timestamptz,
            PRIMARY KEY (digest)
        )
        """)
    op.execute("""
        CREATE TABLE service_actions (
            id uuid NOT NULL DEFAULT gen_random_uuid(),
            at timestamptz NOT NULL DEFAULT now(),
            service_id text NOT NULL,
            hint text NOT NULL,
            operation text NOT NULL,
            user_id text,
            status smallint NOT NULL,
            request_id text,
            PRIMARY KEY (id)
        )
        """)
    op.execute("CREATE INDEX ix_service_actions_newest ON service_actions (service_id, at)")
    op.execute("CREATE INDEX ix_service_actions_at ON service_actions (at)")


def downgrade() -> None:
    for table in ("service_actions", "service_keys", "service_accounts"):
        op.execute(f"DROP TABLE {table}")
    op.execute("ALTER TABLE users DROP COLUMN issuer, DROP COLUMN subject")
