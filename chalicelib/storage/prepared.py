"""pg8000 connections that prepare each statement once and keep it.

pg8000 needs three round trips for each execution (parse, describe, execute), and searches the text for parameters each
time. These connections prepare a statement at its first execution. Later executions take one round trip.

A pooler in transaction mode gives each statement to any session, where a name may belong to a statement of another
client. So with a pooler nothing is prepared: a statement is parsed and executed in one round trip.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
from pg8000 import legacy
from pg8000.converters import TIMESTAMPTZ, make_params, timestamptz_in
from pg8000.core import DESCRIBE, SYNC_MSG, Context, _flush, _write

from chalicelib import logs
from chalicelib.storage.timeouts import Timeouts

_UNNAMED = b"\x00"

KEPT_STATEMENTS = 100
"""Maximum number of prepared statements of a connection. The one that was not used for longest is closed first."""


class _Prepared(msgspec.Struct, frozen=True):
    name: bytes
    columns: list[dict[str, Any]] | None
    readers: list[Any]


@lru_cache(maxsize=512)
def _numbered(operation: str) -> str:
    """Return the statement with PostgreSQL's ``$1`` in the place of SQLAlchemy's ``%s``."""
    return str(legacy.convert_paramstyle("format", operation, ())[0])


def _time_from(text: str) -> Any:
    """Return a timestamp. pg8000's own reader uses strptime, which takes twenty times as long."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # infinity, or beyond the year 9999
        return timestamptz_in(text)


class PreparingCursor(legacy.Cursor):  # type: ignore[misc]  # pg8000 has no types
    """A cursor that prepares statements with parameters."""

    def execute(self, operation: str, args: Sequence[Any] = (), stream: Any = None) -> PreparingCursor:
        """Run a statement. pg8000 itself runs those without parameters or with a stream."""
        with logs.timed("database"):
            return self._execute(operation, args, stream)

    def _execute(self, operation: str, args: Sequence[Any], stream: Any) -> PreparingCursor:
        if not args or stream is not None or self.paramstyle != "format" or not self._c.autocommit:
            super().execute(operation, args, stream)
            return self
        self._context = self._c.execute_prepared(_numbered(operation), args)
        self._row_iter = iter(self._context.rows or ())
        return self


class PreparingConnection(legacy.Connection):  # type: ignore[misc]
    """A connection that keeps its prepared statements, with ``timeouts`` that PostgreSQL enforces.

    Through a pooler it enforces those of the database user instead, because the session will be somebody else's.
    """

    def __init__(self, *args: Any, timeouts: Timeouts, **kwargs: Any) -> None:
        with logs.timed("database"):
            super().__init__(*args, **kwargs)
            self.timeouts = timeouts
            self.pooled = self._set_limits()
        self._prepared: OrderedDict[str, _Prepared] = OrderedDict()
        self.register_in_adapter(TIMESTAMPTZ, _time_from)

    def cursor(self) -> PreparingCursor:
        """Return a new cursor."""
        return PreparingCursor(self)

    def execute_prepared(self, statement: str, values: Sequence[Any]) -> Any:
        """Execute a statement, and return pg8000's context with rows and columns.

        Raises pg8000's DatabaseError for an error of PostgreSQL, InterfaceError for a broken connection.
        """
        if self.pooled:
            return self._execute_at_once(statement, make_params(self.py_types, values))
        prepared = self._prepared.get(statement)
        if prepared is None:
            prepared = self._prepare(statement)
        else:
            self._prepared.move_to_end(statement)
        parameters = make_params(self.py_types, values)
        return self.execute_named(prepared.name, parameters, prepared.columns, prepared.readers, statement)

    def _set_limits(self) -> bool:
        """Set the limits of the session, and return True if it is that of a pooler such as PgBouncer.

        A pooler may give each statement another session. It tells its clients process ids of its own, so that they
        differ from the session's. This happens before any transaction, whose rollback would reset the limits.
        """
        told = int.from_bytes((self._backend_key_data or b"")[:4], "big", signed=True)
        limits = {
            "statement_timeout": self.timeouts.statement,
            "lock_timeout": self.timeouts.lock,
            "idle_in_transaction_session_timeout": self.timeouts.idle_transaction,
        }
        settings = (f"set_config('{name}', '{round(seconds * 1_000)}', false)" for name, seconds in limits.items())
        query = f"SELECT pg_backend_pid(), CASE WHEN pg_backend_pid() = {told} THEN concat({', '.join(settings)}) END"
        return bool(self.execute_simple(query).rows[0][0] != told)

    def _execute_at_once(self, statement: str, parameters: Sequence[str | None]) -> Any:
        """Parse, bind, describe and execute in one message, which a pooler gives to one session."""
        context = Context(statement)
        self.send_PARSE(_UNNAMED, statement, ())
        self.send_BIND(_UNNAMED, parameters)
        self._send_message(DESCRIBE, b"P" + _UNNAMED)
        self.send_EXECUTE()
        _write(self._sock, SYNC_MSG)
        _flush(self._sock)
        self.handle_messages(context)
        return context

    def _prepare(self, statement: str) -> _Prepared:
        if len(self._prepared) >= KEPT_STATEMENTS:
            self.close_prepared_statement(self._prepared.popitem(last=False)[1].name)
        prepared = _Prepared(*self.prepare_statement(statement, ()))
        self._prepared[statement] = prepared
        return prepared
