"""Alembic migrations. The command line, the container and the one-machine stack run them, but never the Lambda."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InterfaceError

from chalicelib.domain.errors import ConfigurationError, DatabaseUnavailableError
from chalicelib.storage.database import LOCKED, LOGIN_REFUSED, sql_state, statement
from migrations.schema import metadata

_HERE = Path(__file__).parent


def alembic_config(database_url: str) -> Config:
    """Return Alembic's configuration for a database, without an ini file."""
    config = Config()
    config.set_main_option("script_location", str(_HERE))
    config.attributes["database_url"] = database_url
    return config


def upgrade(database_url: str) -> None:
    """Bring the database to the newest revision. Raises ConfigurationError, DatabaseUnavailableError."""
    try:
        command.upgrade(alembic_config(database_url), "head")
    except (InterfaceError, OSError) as error:
        cause = error.orig if isinstance(error, InterfaceError) else error
        raise DatabaseUnavailableError(f"PostgreSQL does not answer: {cause}") from error
    except DBAPIError as error:
        if sql_state(error) == LOCKED:
            raise DatabaseUnavailableError(f"a table is in use, run the migration again: {error.orig}") from error
        if (sql_state(error) or "").startswith(LOGIN_REFUSED):
            raise DatabaseUnavailableError(f"PostgreSQL refuses the login: {error.orig}") from error
        raise
    except CommandError as error:
        raise ConfigurationError(
            f"the tables are newer than this release, or not its own: {error}. A rollback leaves them as they are."
        ) from error


def newest_revision() -> str:
    """Return the revision that this program needs."""
    head = ScriptDirectory(str(_HERE)).get_current_head()
    assert head is not None  # noqa: S101 - narrows a type
    return head


def revision(engine: Engine) -> str | None:
    """Return the revision of the database, None for one without tables. Raises DatabaseUnavailableError."""
    return statement(engine, lambda c: MigrationContext.configure(c).get_current_revision())


def missing(engine: Engine) -> list[str]:
    """Return a sentence for each table, column or index that is missing or different. Others are ignored."""

    def compare(connection: Connection) -> list[str]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return [text for difference in compare_metadata(context, metadata) for text in _described(difference)]

    return statement(engine, compare)


def _described(difference: Any) -> list[str]:
    if isinstance(difference, list):
        return [text for part in difference for text in _described(part)]
    kind, *what = difference
    if kind.startswith("remove_"):
        return []
    if kind.startswith("modify_"):
        _, table, column, _, before, after = what
        return [f"{kind} {table}.{column}: {before} should be {after}"]
    if kind == "add_column":
        return [f"column {what[1]}.{what[2].name} is missing"]
    return [f"{kind.removeprefix('add_')} {getattr(what[0], 'name', what[0])} is missing"]
