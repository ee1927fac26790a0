"""The time at which a student's answers last changed."""

from __future__ import annotations

from alembic import op

revision = "0150"
down_revision = "0141"


def upgrade() -> None:
    op.execute("ALTER TABLE users ADD COLUMN changed_at timestamptz NOT NULL DEFAULT now()")
    # A trigger, so that changes by the release before are noticed too.
    op.execute("""
        CREATE FUNCTION note_changed_student() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.changed_at := clock_timestamp();
            RETURN NEW;
        END $$
        """)
    op.execute("""
        CREATE TRIGGER users_changed BEFORE UPDATE OF n_answers, excluded_at ON users
        FOR EACH ROW EXECUTE FUNCTION note_changed_student()
        """)


def downgrade() -> None:
    op.execute("DROP TRIGGER users_changed ON users")
    op.execute("DROP FUNCTION note_changed_student")
    op.execute("ALTER TABLE users DROP COLUMN changed_at")
