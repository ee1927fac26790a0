"""The SQL of backup and restore: all tables as of one moment, and back into an empty database.

The format is PostgreSQL's text format of COPY with a line of column names. It restores every value exactly, floats too,
and escapes line ends. It passes through this process in pieces, so memory does not grow with the tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from io import BufferedIOBase
from typing import Any

from pg8000 import dbapi
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from chalicelib.domain.errors import BackupError, ConflictError, DatabaseUnavailableError
from migrations.schema import metadata

TABLES = (
    "users",
    "practice_tasks",
    "practice_state",
    "embedding_model_tracker",
    "tracker_shards",
    "service_accounts",
    "service_keys",
    "service_actions",
    "cohorts",
)
"""In an order in which their foreign keys allow to fill them."""

_SESSION = (
    "SET LOCAL TIME ZONE 'UTC'",
    "SET LOCAL datestyle = 'ISO'",
    "SET LOCAL bytea_output = 'hex'",
    "SET LOCAL extra_float_digits = 1",
)

_UNUSED = """
SELECT NOT EXISTS (SELECT 1 FROM users) AND NOT EXISTS (SELECT 1 FROM practice_tasks)
   AND NOT EXISTS (SELECT 1 FROM practice_state) AND NOT EXISTS (SELECT 1 FROM service_accounts)
   AND NOT EXISTS (SELECT 1 FROM cohorts)
   AND NOT EXISTS (SELECT 1 FROM embedding_model_tracker
                   WHERE n_samples_total > 0 OR model_version IS NOT NULL OR training_request_id IS NOT NULL)"""

_UNSENT = """
UPDATE embedding_model_tracker SET training_enqueued_at = NULL, lease_expires_at = NULL, progress = NULL
WHERE training_request_id IS NOT NULL"""
"""No worker holds a training of the backup, and no queue has its message. The sweeper sends it."""


_REVOKE_KEYS = "UPDATE service_keys SET revoked_at = now() WHERE revoked_at IS NULL"
"""A key may have been revoked or rotated since the backup, so none is valid."""


def columns_of(table: str) -> list[str]:
    """Return the columns that are stored, not computed."""
    return [column.name for column in metadata.tables[table].columns if column.computed is None]


def model_versions(connection: Any) -> dict[str, str | None]:
    """Return the version that the tracker of each cohort names."""
    return dict(
        _run(connection, "SELECT cohort, model_version FROM embedding_model_tracker ORDER BY cohort").fetchall()
    )


def copy(connection: Any, table: str, stream: BufferedIOBase) -> int:
    """Write the rows of a table to a stream, ordered by their key; return their number."""
    key = ", ".join(column.name for column in metadata.tables[table].primary_key)
    query = f"SELECT {', '.join(columns_of(table))} FROM {table} ORDER BY {key}"  # noqa: S608 - parts are constants, values are bound
    return int(_run(connection, f"COPY ({query}) TO STDOUT (FORMAT text, HEADER)", stream).rowcount)


def fill(connection: Any, table: str, stream: BufferedIOBase) -> int:
    """Store rows that :func:`copy` wrote; return their number. Raises BackupError if they do not fit."""
    statement = f"COPY {table} ({', '.join(columns_of(table))}) FROM STDIN (FORMAT text, HEADER MATCH)"
    try:
        return int(_run(connection, statement, stream).rowcount)
    except dbapi.DatabaseError as error:
        raise BackupError(f"{table} cannot be filled: {error}") from error


def _run(connection: Any, statement: str, stream: BufferedIOBase | None = None) -> Any:
    cursor = connection.cursor()
    cursor.execute(statement, stream=stream)
    return cursor


def snapshot(engine: Engine) -> AbstractContextManager[Any]:
    """Give a connection that sees all tables as of one moment. Raises DatabaseUnavailableError."""
    return _transaction(engine, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")


@contextmanager
def empty_tables(engine: Engine, keep_keys: bool = False) -> Iterator[Any]:
    """Give a connection to fill the empty tables. The changes of the block take effect together, or not at all.

    The keys of service accounts are revoked, unless they are to be kept.
    Nobody else can write during the block. Raises ConflictError when the tables are in use, DatabaseUnavailableError.
    """
    with _transaction(engine, "BEGIN") as connection:
        _run(connection, f"LOCK TABLE {', '.join(TABLES)} IN SHARE ROW EXCLUSIVE MODE")
        if not _run(connection, _UNUSED).fetchone()[0]:
            raise ConflictError("the database is not empty: it has accounts, tasks, cohorts, or a training")
        _run(connection, "DELETE FROM embedding_model_tracker")
        _run(connection, "DELETE FROM tracker_shards")
        yield connection
        _run(connection, _UNSENT)
        if not keep_keys:
            _run(connection, _REVOKE_KEYS)
        _run(connection, f"ANALYZE {', '.join(TABLES)}")


@contextmanager
def _transaction(engine: Engine, begin: str) -> Iterator[Any]:
    """Run a transaction. The connection is closed if the block fails, because it may be in the middle of a copy."""
    try:
        with engine.connect() as pooled:
            connection = pooled.connection.driver_connection
            try:
                _run(connection, begin)
                for setting in _SESSION:
                    _run(connection, setting)
                yield connection
                _run(connection, "COMMIT")
            except BaseException:
                pooled.invalidate()
                raise
    except (DBAPIError, dbapi.InterfaceError, OSError) as error:
        raise DatabaseUnavailableError(f"PostgreSQL does not answer: {error}") from error
