"""Alembic runs this module for each command: it connects and applies the revisions in one transaction."""

from __future__ import annotations

from alembic import context
from sqlalchemy import pool, text

from chalicelib.storage.database import CONNECT_SECONDS
from chalicelib.storage.database_url import new_engine
from migrations.schema import metadata

MIGRATION_LOCK = 4_008_001
"""The key of the advisory lock that lets only one migration run at a time."""


def run() -> None:
    """Connect to the database that the caller named and upgrade it."""
    url = context.config.attributes["database_url"]
    engine = new_engine(url, connect_seconds=CONNECT_SECONDS, poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata, compare_type=True)
        with context.begin_transaction():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            context.run_migrations()
    engine.dispose()


run()
