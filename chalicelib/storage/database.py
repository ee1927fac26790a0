"""Runs statements and transactions on PostgreSQL, and translates its errors into ours.

Connections are in autocommit mode: a single statement needs no BEGIN and COMMIT, and a transaction sends its own. If a
transaction raises, the pool rolls it back when it takes the connection back.

If the connection breaks before the COMMIT was sent, nothing has changed, so the work runs a second time on a new
connection. If it breaks at the COMMIT itself, the error is reported, because the outcome is unknown.

Statements with parameters are prepared once per connection, unless a pooler is in between (:mod:`.prepared`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from chalicelib import logs
from chalicelib.domain.errors import DatabaseUnavailableError, TooSlowError
from chalicelib.storage.database_url import new_engine, wait_for_answers
from chalicelib.storage.prepared import PreparingConnection
from chalicelib.storage.timeouts import DEFAULT, Timeouts

T = TypeVar("T")

_log = logging.getLogger("studysmart.database")

MOST_CONNECTIONS = 32
"""Maximum number of connections of one process. A Lambda needs one."""

_SERVER_GONE = ("57P01", "57P02", "57P03", "25P03", "08000", "08003", "08006")
"""SQLSTATEs of a session that PostgreSQL ends, or of a server that is not ready. 25P03 ends an idle transaction."""

_NO_RESOURCES = "53"
"""First two characters of the SQLSTATEs for a full disk, exhausted memory, or too many connections."""

_BAD_VALUE = "22"
"""First two characters of the SQLSTATEs whose messages quote the value."""

_STOPPED = "57014"
"""SQLSTATE of a statement that took longer than its limit."""

LOCKED = "55P03"
"""SQLSTATE of a statement that waited too long for a lock."""

UNIQUE_VIOLATION = "23505"
"""SQLSTATE of a row whose key another row has."""

LOGIN_REFUSED = ("28", "3D")
"""First two characters of the SQLSTATEs of a wrong password, an invalid token, an unknown user or database."""

_STATEMENTS_GONE = ("26000", "0A000")
"""SQLSTATEs of a prepared statement that is missing, or whose result a migration has changed.

It is missing if a pooler gave us another session. Nothing was executed, and the connection's other prepared statements
may be invalid too, so the connection is replaced like a broken one. 0A000 also means "feature not supported" in
general; then the second attempt fails too, and its error is raised.
"""


def connect(database_url: str, pool_size: int = MOST_CONNECTIONS, timeouts: Timeouts = DEFAULT) -> Engine:
    """Return an engine that opens connections on demand and keeps up to ``pool_size`` of them.

    Raises ConfigurationError for a URL that cannot be used.
    """
    engine = new_engine(
        database_url,
        connect_seconds=timeouts.connect,
        driver=PreparingConnection,
        pool_size=pool_size,
        max_overflow=MOST_CONNECTIONS - pool_size,
        pool_timeout=5,
        pool_use_lifo=True,
        isolation_level="AUTOCOMMIT",
        connect_args={"timeouts": timeouts},
    )
    event.listen(engine, "handle_error", _recognise_broken_connection)
    event.listen(engine, "handle_error", _hide_values)
    return engine


def _recognise_broken_connection(context: ExceptionContext) -> None:
    """Mark the errors with which pg8000 reports a lost connection, so that SQLAlchemy replaces the connection."""
    original = context.original_exception
    if isinstance(original, OSError) or _state(original) in (*_SERVER_GONE, *_STATEMENTS_GONE):
        context.is_disconnect = True


def _hide_values(context: ExceptionContext) -> None:
    """Remove values of rows and parameters from an error of PostgreSQL, because it may be logged."""
    original = context.original_exception
    if (state := _state(original)) is None:
        return
    fields: dict[str, str] = original.args[0]
    fields.pop("D", None)  # "Failing row contains (…)"
    if state.startswith(_BAD_VALUE):
        fields["M"] = "a value is not valid"
    if isinstance(context.sqlalchemy_exception, DBAPIError):
        context.sqlalchemy_exception.args = (str(original),)


def sql_state(error: DBAPIError) -> str | None:
    """Return the SQLSTATE of an error, None if it did not come from PostgreSQL."""
    return _state(error.orig)


def _state(original: BaseException | None) -> str | None:
    """Return the SQLSTATE of a pg8000 error, None if the error did not come from PostgreSQL."""
    if original is None or not original.args or not isinstance(original.args[0], dict):
        return None
    return str(original.args[0].get("C"))


def statement(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Run one statement. It must be idempotent, because it runs a second time if the connection was broken."""
    return _attempt(engine, work, transaction=False)


def transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Run a transaction. It runs a second time if the connection broke before the COMMIT was sent."""
    return _attempt(engine, work, transaction=True)


def _attempt(engine: Engine, work: Callable[[Connection], T], *, transaction: bool) -> T:
    try:
        try:
            return _run(engine, work, transaction)
        except _BrokenBeforeCommitError as broken:
            text = "The connection to PostgreSQL was broken; trying once more: %s"
            _log.warning(text, broken.cause, extra=logs.repeats("connection"))
            return _run(engine, work, transaction)
    except _BrokenBeforeCommitError as broken:
        raise DatabaseUnavailableError(f"PostgreSQL does not answer: {_message(broken.cause)}") from broken.cause
    except (OperationalError, InterfaceError, PoolTimeoutError, OSError) as error:
        raise DatabaseUnavailableError(f"PostgreSQL does not answer: {_message(error)}") from error
    except DBAPIError as error:
        if _state(error.orig) == _STOPPED:
            raise TooSlowError(f"PostgreSQL stopped a statement: {_message(error)}") from error
        if _state(error.orig) == LOCKED:
            raise DatabaseUnavailableError(f"PostgreSQL waited too long for a lock: {_message(error)}") from error
        if not (_state(error.orig) or "").startswith(_NO_RESOURCES):
            raise
        raise DatabaseUnavailableError(f"PostgreSQL has no resources left: {_message(error)}") from error


_TLS_HINT = "sslmode and sslrootcert in DATABASE_URL say how TLS is used; without them it is verify-full"


def _message(error: Exception) -> str:
    """Return the driver's message without the statement and its values, because students can see it."""
    message = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    return f"{message} ({_TLS_HINT})" if "SSL" in message else message


class _BrokenBeforeCommitError(Exception):
    """The connection broke while nothing had been committed."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


@contextmanager
def _patience(connection: Connection) -> Iterator[None]:
    """Limit the waits for answers: a connection that went silent must not keep a request for ever."""
    driver: Any = connection.connection.driver_connection
    wait_for_answers(driver, driver.timeouts.answer)
    try:
        yield
    finally:
        wait_for_answers(driver, None)


def _run(engine: Engine, work: Callable[[Connection], T], transaction: bool) -> T:
    try:
        connection = engine.connect()
    except (DBAPIError, OSError) as error:
        if isinstance(error, DBAPIError) and (sql_state(error) or "").startswith(LOGIN_REFUSED):
            raise DatabaseUnavailableError(f"PostgreSQL refuses the login: {_message(error)}") from error
        raise _BrokenBeforeCommitError(error) from error
    with connection, _patience(connection):
        try:
            if not transaction:
                return work(connection)
            connection.exec_driver_sql("BEGIN")
            result = work(connection)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise _BrokenBeforeCommitError(error) from error
            raise
        except OSError as error:  # pg8000 does not wrap a connection reset in an error of its own
            raise _BrokenBeforeCommitError(error) from error
        connection.exec_driver_sql("COMMIT")
        return result
