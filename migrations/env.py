"""Alembic runs this module for each command: it connects and applies the revisions in one transaction."""

from __future__ import annotations

from alembic import context
from sqlalchemy import pool, text

from chalicelib.storage.database_url import new_engine
from chalicelib.storage.timeouts import DEFAULT
from migrations.roles import own_and_grant, prefix_of
from migrations.schema import metadata

MIGRATION_LOCK = 4_008_001
"""The key of the advisory lock that lets only one migration run at a time."""

LOCK_SECONDS = 5
"""How long a migration waits for the lock of a table."""


def run() -> None:
    """Connect to the database that the caller named and upgrade it."""
    url = context.config.attributes["database_url"]
    engine = new_engine(url, connect_seconds=DEFAULT.connect, poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata, compare_type=True)
        with context.begin_transaction():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            # Everybody else waits behind a migration that waits for a lock, so it gives up and can be run again.
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
            context.run_migrations()
            # The privileges name columns of the newest revision.
            newest = context.get_context().get_current_revision() == context.get_head_revision()
            if newest and (prefix := prefix_of(connection)) is not None:
                own_and_grant(connection, prefix)
    engine.dispose()


run()
