"""``studysmart sql``: runs SQL statements on the stack's database, from a prompt, ``-c`` or standard input.

Each statement takes effect at once, unless it stands between BEGIN and COMMIT. At the prompt an error ends only its
own statement; elsewhere it ends the command with status 1.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import Any

from pg8000.exceptions import DatabaseError, InterfaceError
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from chalicelib.config import database_address
from chalicelib.domain.errors import DatabaseUnavailableError
from chalicelib.storage.database import connect
from ops import tables
from ops.stack import enter

_WELCOME = r"SQL on {0}. End each statement with ; (\d lists the tables, \d NAME shows a table, \q ends)"
_QUIT = {r"\q", "exit", "quit"}
_COMMENT = r"--[^\n]*|/\*.*?(?:\*/|\Z)"
_TOKEN = re.compile(
    # What may contain a semicolon that does not end a statement: comments, texts, quoted names, and dollar quotes.
    rf"""{_COMMENT}|[eE]'(?:[^'\\]|''|\\.)*(?:'|\Z)|'[^']*(?:'|\Z)|"[^"]*(?:"|\Z)"""
    r"|\$(?P<tag>(?:[A-Za-z_]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)|;",
    re.DOTALL,
)
_TABLES = """
SELECT relname AS "table", pg_size_pretty(pg_total_relation_size(oid)) AS size
FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname"""
_COLUMNS = """
SELECT attname AS "column", format_type(atttypid, atttypmod) AS type, attnotnull AS required,
    pg_get_expr(adbin, adrelid) AS "default"
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = '{name}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("-c", dest="sql", metavar="SQL", help="run these statements instead of showing a prompt")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_const", const="json", dest="shape", help="print rows as JSON")
    shape.add_argument("--csv", action="store_const", const="csv", dest="shape", help="print rows as CSV")


def run(options: argparse.Namespace) -> int:
    """Run the statements of ``-c``, of standard input, or of a prompt. Raises NoStackError, ConfigurationError."""
    enter(options.state_dir)
    session = Session(connect(database_address(os.environ), pool_size=2), options.shape)
    if options.sql is None and sys.stdin.isatty():
        return prompt(session)
    statements, rest = split(options.sql if options.sql is not None else sys.stdin.read())
    return 0 if all(session.execute(statement) for statement in [*statements, rest]) else 1


def split(text: str) -> tuple[list[str], str]:
    """Return the statements of a text that end with a semicolon, and the text after the last one."""
    statements, start = [], 0
    for token in _TOKEN.finditer(text):
        if token[0] == ";":
            statements.append(text[start : token.start()])
            start = token.end()
    return statements, text[start:]


def prompt(session: Session) -> int:
    """Read statements from the terminal until the user ends it."""
    with suppress(ImportError):
        import readline  # noqa: F401 - gives the prompt a history and editing
    print(_WELCOME.format(session.database))
    unfinished = ""
    while True:
        try:
            line = input("studysmart-> " if unfinished.strip() else "studysmart=> ")
        except EOFError:
            print()
            return 0
        except KeyboardInterrupt:
            print()
            unfinished = ""
            continue
        if not unfinished.strip() and line.strip().rstrip(";") in _QUIT:
            return 0
        if not unfinished.strip() and line.lstrip().startswith("\\"):
            session.describe(line.strip())
            continue
        statements, unfinished = split(f"{unfinished}{line}\n")
        for statement in statements:
            session.execute(statement)


class Session:
    """One connection, and the shape in which it prints rows: a table, or ``json`` or ``csv``."""

    def __init__(self, engine: Engine, shape: str | None) -> None:
        self._engine = engine
        self._shape = shape
        # Statements run on a thread, so that Ctrl-C on the main thread can ask PostgreSQL to cancel one.
        self._thread = ThreadPoolExecutor(1)
        try:
            self._pooled = engine.connect()
            ((self._pid, self.database),) = self._run("SELECT pg_backend_pid(), current_database()").rows
        except (DBAPIError, OSError) as error:
            reason = _message(error.orig if isinstance(error, DBAPIError) else error)
            raise DatabaseUnavailableError(f"PostgreSQL does not answer: {reason}") from error

    def execute(self, statement: str) -> bool:
        """Run one statement and print what it returns; on an error print its message and return False.

        Raises DatabaseUnavailableError when the connection is lost.
        """
        words = re.sub(_COMMENT, "", statement, flags=re.DOTALL).split()
        if not words:
            return True
        try:
            result = self._run(statement)
        except DatabaseError as error:
            print(f"error: {_message(error)}", file=sys.stderr)
            return False
        except (InterfaceError, OSError) as error:
            raise DatabaseUnavailableError(f"the connection to PostgreSQL was lost: {error}") from error
        if result.columns is None:
            count = f" {result.row_count}" if result.row_count >= 0 else ""
            print(f"{words[0].upper()}{count}", file=sys.stderr if self._shape else sys.stdout)
        else:
            self._print([column["name"] for column in result.columns], result.rows)
        return True

    def describe(self, line: str) -> None:
        r"""Carry out ``\d`` or ``\d NAME``; print the commands for any other line."""
        command, _, name = line.partition(" ")
        if command != r"\d":
            print(_WELCOME.format(self.database))
        else:
            self.execute(_COLUMNS.format(name=name.strip(" ;").replace("'", "''")) if name.strip() else _TABLES)

    @property
    def _driver(self) -> Any:
        # Its simple protocol takes a statement as it is: other ways treat % as the beginning of a parameter.
        return self._pooled.connection.driver_connection

    def _run(self, statement: str) -> Any:
        running = self._thread.submit(self._driver.execute_simple, statement)
        while True:
            try:
                return running.result()
            except KeyboardInterrupt:
                with self._engine.connect() as other:
                    other.exec_driver_sql("SELECT pg_cancel_backend(%s)", (self._pid,))

    def _print(self, names: list[str], rows: list[list[Any]]) -> None:
        if self._shape == "json":
            tables.print_json([dict(zip(names, map(_json_value, row), strict=True)) for row in rows])
        elif self._shape == "csv":
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(names)
            writer.writerows([["" if value is None else _text(value) for value in row] for row in rows])
        else:
            cells = [["NULL" if value is None else _text(value).replace("\n", r"\n") for value in row] for row in rows]
            numbers = [name for i, name in enumerate(names) if any(isinstance(row[i], int | float) for row in rows)]
            tables.print_lines(tables.table(names, cells, right=numbers))
            print(f"({tables.count(len(rows), 'row')})")


def _message(error: BaseException | None) -> str:
    """Return PostgreSQL's message with its detail and hint."""
    fields = error.args[0] if error and error.args and isinstance(error.args[0], dict) else {"M": str(error)}
    sentences = [str(fields[name]) for name in "MDH" if name in fields]
    return sentences[0] if len(sentences) == 1 else " ".join(f"{sentence.rstrip('.')}." for sentence in sentences)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, bytes):
        return rf"\x{value.hex()}"
    if isinstance(value, dict | list):
        return json.dumps(value, default=str)
    return str(value)


def _json_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    return value if isinstance(value, str | int | float | dict | list | datetime | None) else _text(value)
