"""The one door to PostgreSQL: an engine, short units of work, and PostgreSQL's errors turned into ours.

Connections are in autocommit: a single statement has no BEGIN and COMMIT around it, and a transaction sends its own.
Leaving a transaction by an exception rolls it back when the connection returns to the pool. A unit of work whose
connection breaks before its COMMIT was sent has changed nothing, so it is run once more on a fresh connection; a
break at the COMMIT itself is reported, because nobody can tell whether it took effect.

Statements with parameters are prepared once per connection (:mod:`.prepared`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from chalicelib.domain.errors import DatabaseUnavailableError
from chalicelib.storage.prepared import PreparingConnection

T = TypeVar("T")

_log = logging.getLogger("studysmart.database")

MOST_CONNECTIONS = 32
"""Connections of one process at once. A Lambda needs one; more than are kept would be made anew for each request."""

_SERVER_GONE = ("57P01", "57P02", "57P03", "08000", "08003", "08006")
"""SQLSTATEs by which PostgreSQL says that it ends the session or is not ready."""

_NO_RESOURCES = "53"
"""SQLSTATEs that begin so: its disk is full, its memory is used up, or it has no connection left."""

_STATEMENTS_GONE = ("26000", "0A000")
"""What was prepared is not there (a pooler gave us another session), or a migration changed what it returns.

Nothing was executed, and everything the connection prepared is in doubt: it is replaced like a broken one. 0A000 is
"feature not supported" in general, and a second time it is reported as what it is.
"""


def connect(database_url: str, pool_size: int = MOST_CONNECTIONS) -> Engine:
    """An engine whose connections are made when they are first needed, the last used first; ``pool_size`` are kept."""
    # On a unix socket pg8000 would ask for TLS too, and read all of the system's authorities before it does.
    security: dict[str, Any] = {"ssl_context": False} if "unix_sock" in make_url(database_url).query else {}
    engine = create_engine(
        database_url,
        pool_size=pool_size,
        max_overflow=MOST_CONNECTIONS - pool_size,
        pool_timeout=5,
        pool_use_lifo=True,
        isolation_level="AUTOCOMMIT",
        connect_args={"timeout": 10, **security},
    )
    event.listen(engine, "do_connect", lambda _dialect, _record, args, options: PreparingConnection(*args, **options))
    event.listen(engine, "handle_error", _recognise_broken_connection)
    event.listen(engine, "connect", _forget_connect_timeout)
    return engine


def _forget_connect_timeout(connection: Any, _record: Any) -> None:
    """pg8000's one timeout also bounds every later read, and a long query is no broken connection."""
    connection._usock.settimeout(None)


def _recognise_broken_connection(context: ExceptionContext) -> None:
    """Tell SQLAlchemy of the ways in which pg8000 reports a lost connection."""
    original = context.original_exception
    if isinstance(original, OSError) or _state(original) in (*_SERVER_GONE, *_STATEMENTS_GONE):
        context.is_disconnect = True


def _state(original: BaseException | None) -> str | None:
    """The SQLSTATE of an error of pg8000's, None for one that PostgreSQL did not send."""
    if original is None or not original.args or not isinstance(original.args[0], dict):
        return None
    return str(original.args[0].get("C"))


def statement(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Run one statement in autocommit; once more if the connection was broken, so it must be idempotent."""
    return _attempt(engine, work, transaction=False)


def transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Run a transaction; once more if the connection broke before the COMMIT was sent."""
    return _attempt(engine, work, transaction=True)


def _attempt(engine: Engine, work: Callable[[Connection], T], *, transaction: bool) -> T:
    try:
        try:
            return _run(engine, work, transaction)
        except _BrokenBeforeCommitError as broken:
            _log.warning("connection to PostgreSQL was broken, trying once more: %s", broken.cause)
            return _run(engine, work, transaction)
    except _BrokenBeforeCommitError as broken:
        raise DatabaseUnavailableError(f"PostgreSQL does not answer: {_said(broken.cause)}") from broken.cause
    except (OperationalError, InterfaceError, PoolTimeoutError, OSError) as error:
        raise DatabaseUnavailableError(f"PostgreSQL does not answer: {_said(error)}") from error
    except DBAPIError as error:
        if not (_state(error.orig) or "").startswith(_NO_RESOURCES):
            raise
        raise DatabaseUnavailableError(f"PostgreSQL cannot do more: {_said(error)}") from error


def _said(error: Exception) -> str:
    """The driver's words, without the statement and its values: the tracker's ``last_error`` is shown to students."""
    return str(error.orig) if isinstance(error, DBAPIError) else str(error)


class _BrokenBeforeCommitError(Exception):
    """The connection broke while nothing had been committed."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _run(engine: Engine, work: Callable[[Connection], T], transaction: bool) -> T:
    try:
        connection = engine.connect()
    except (DBAPIError, OSError) as error:
        raise _BrokenBeforeCommitError(error) from error
    with connection:
        try:
            if not transaction:
                return work(connection)
            connection.exec_driver_sql("BEGIN")
            result = work(connection)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise _BrokenBeforeCommitError(error) from error
            raise
        except OSError as error:  # pg8000 lets a reset of the connection through as it is
            raise _BrokenBeforeCommitError(error) from error
        connection.exec_driver_sql("COMMIT")
        return result
