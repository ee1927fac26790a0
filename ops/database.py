"""``studysmart database roles``: creates the three roles that programs log in as, and grants what each needs.

It can be run again at any time: afterwards the roles have exactly these privileges. It needs a login that may create
roles and give away the tables, such as the master user of RDS.
"""

from __future__ import annotations

import argparse
import os
import re

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from chalicelib.domain.errors import ConfigurationError
from chalicelib.storage.database import transaction
from chalicelib.storage.timeouts import timeouts_of
from chalicelib.wiring import Container
from ops import tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of the command, each with its arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    words = "create the roles of API, trainings and migrations with the privileges that each needs"
    roles = actions.add_parser("roles", help=words, description=f"{words[0].upper()}{words[1:]}.")
    roles.add_argument(
        "--prefix", type=_prefix, help="start of their names (default: that of the existing roles, or studysmart)"
    )
    roles.add_argument("--iam", action="store_true", help="let them log in to RDS by tokens instead of passwords")
    roles.epilog = (
        "Without --iam the passwords are read from the environment variables API_PASSWORD, TRAINER_PASSWORD and "
        "MIGRATOR_PASSWORD; a role whose variable is not set keeps its password. Migrations repeat the grants."
    )


def run(container: Container, options: argparse.Namespace) -> int:
    """Create the roles, and print them. Raises ConfigurationError, DatabaseUnavailableError."""
    from migrations import newest_revision, revision
    from migrations.roles import PURPOSES, create, prefix_of

    variables = {role: f"{role.upper()}_PASSWORD" for role in PURPOSES}
    passwords = {role: os.environ[name] for role, name in variables.items() if os.environ.get(name)}
    if options.iam and passwords:
        raise ConfigurationError(f"--iam needs no password, and {variables[next(iter(passwords))]} is set")

    def work(connection: Connection) -> str:
        prefix = options.prefix or prefix_of(connection) or "studysmart"
        create(connection, prefix, timeouts_of(container.settings), passwords, iam=options.iam)
        return prefix

    try:
        found = revision(container.engine)
        if found not in (None, newest_revision()):
            raise ConfigurationError(f"the tables are of revision {found}: run studysmart migrate first")
        prefix = transaction(container.engine, work)
    except DBAPIError as error:
        raise ConfigurationError(f"the roles were not changed, because PostgreSQL says: {error.orig}") from error
    rows = [[f"{prefix}_{role}", purpose] for role, purpose in PURPOSES.items()]
    tables.print_lines(tables.table(["role", "may"], rows))
    return 0


def _prefix(text: str) -> str:
    if not re.fullmatch("[a-z_][a-z0-9_]{0,40}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name of small letters, digits and _")
    return text
