"""``studysmart account``: lists accounts, sets a forgotten password, and erases an account with its data."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable

from sqlalchemy import text

from chalicelib.domain.errors import NotFoundError
from chalicelib.services import accounts
from chalicelib.storage.database import statement
from chalicelib.wiring import Container
from ops import tables

Action = Callable[[Container, argparse.Namespace], int]

_LIST = text(
    "SELECT id, email, full_name, n_answers, created_at FROM users WHERE deleted_at IS NULL ORDER BY created_at, id"
)
_FIND = text("SELECT id FROM users WHERE deleted_at IS NULL AND (lower(email) = lower(:name) OR id = :name)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of the command, each with its arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    def add(name: str, action: Action, text: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        sub.set_defaults(action=action)
        return sub

    add("list", _list, "list the accounts, oldest first").add_argument("--json", action="store_true", help="print JSON")
    password = add("set-password", _set_password, "set the password of an account and end its sessions")
    password.add_argument("email", metavar="EMAIL")
    password.add_argument("password", metavar="PASSWORD", nargs="?", help="(default: asked for, or read from a pipe)")
    erase = add("erase", _erase, "delete an account with its tasks and its practice state")
    erase.add_argument("account", metavar="EMAIL", help="or the id of a student, as `account list` shows it")
    erase.add_argument("--yes", action="store_true", help="delete it; without this, only say what would be deleted")


def run(container: Container, options: argparse.Namespace) -> int:
    """Run the action that the arguments name."""
    action: Action = options.action
    return action(container, options)


def _list(container: Container, options: argparse.Namespace) -> int:
    found = statement(container.engine, lambda c: c.execute(_LIST).mappings().all())
    as_json = [{**row, "created_at": row["created_at"].isoformat()} for row in found]
    rows = [
        [
            row["id"],
            row["email"] or "",
            row["full_name"] or "",
            str(row["n_answers"]),
            tables.utc_time(row["created_at"]),
        ]
        for row in as_json
    ]
    lines = tables.table(["ID", "EMAIL", "NAME", "ANSWERS", "CREATED (UTC)"], rows, right=("ANSWERS",))
    tables.show(options.json, as_json, lines if rows else ["There is no account yet."])
    return 0


def _set_password(container: Container, options: argparse.Namespace) -> int:
    user_id = container.identity.id_of(options.email)
    password = options.password
    if password is None:
        password = getpass.getpass("New password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    container.identity.set_password(options.email, password)
    accounts.end_sessions(container.users, container.identity, user_id)
    print(f"The password of {options.email} was changed. Its sessions end within a minute.")
    return 0


def _erase(container: Container, options: argparse.Namespace) -> int:
    ids = statement(container.engine, lambda c: c.execute(_FIND, {"name": options.account}).scalars().all())
    if not ids:
        # A deletion that was interrupted leaves an account without data.
        ids = [container.identity.id_of(options.account)]
    if len(ids) > 1:
        raise NotFoundError(
            f"{len(ids)} accounts have the e-mail {options.account}; name one by its id: {', '.join(ids)}"
        )
    if not options.yes:
        print(f"This would delete account {ids[0]} ({options.account}) with all its data. Repeat with --yes to do it.")
        return 1
    container.users.erase(ids[0])
    container.identity.delete(ids[0])
    print(f"Account {ids[0]} ({options.account}) was deleted.")
    return 0
