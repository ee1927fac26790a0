"""``studysmart account``: lists, disables, exports and erases accounts, sets passwords, and excludes answers."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection, TextClause, text

from chalicelib.domain.errors import NotFoundError
from chalicelib.services import accounts
from chalicelib.storage.database import statement
from chalicelib.wiring import Container
from ops import tables
from ops.arguments import actions_of

_LIST = text(
    "SELECT id, email, full_name, n_answers, created_at, excluded_at, issuer, subject, cohort FROM users"
    " WHERE deleted_at IS NULL ORDER BY created_at, id"
)
# An id comes before an address, so nobody can take an id from its account. A learner's own id is chosen by the app.
_FIND = text(
    """
    WITH found AS (
        SELECT id, id = :name AS is_id FROM users
        WHERE deleted_at IS NULL AND (id = :name OR lower(email) = lower(:name))
    )
    SELECT id FROM found WHERE is_id OR NOT EXISTS (SELECT 1 FROM found WHERE is_id)
    """
)
_FIND_LEARNER = text(
    """
    SELECT u.id FROM users u JOIN service_accounts a ON u.issuer = 'service:' || a.id
    WHERE a.name = :service AND u.subject = :name AND u.deleted_at IS NULL
    """
)
_EXCLUDE = text(
    "UPDATE users SET excluded_at = coalesce(excluded_at, clock_timestamp()) WHERE id = ANY(:ids) RETURNING id, cohort"
)
_INCLUDE = text("UPDATE users SET excluded_at = NULL WHERE id = ANY(:ids) RETURNING id, cohort")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of the command, each with its arguments."""
    add = actions_of(parser)

    add("list", _list, "list the accounts, oldest first").add_argument("--json", action="store_true", help="print JSON")
    password = add("set-password", _set_password, "set the password of an account and end its sessions")
    password.add_argument("email", metavar="EMAIL")
    password.add_argument("password", metavar="PASSWORD", nargs="?", help="(default: asked for, or read from a pipe)")
    for name, action, words in (
        ("disable", _disable, "end the sessions of an account and refuse it until `enable`; its data stays"),
        ("enable", _enable, "undo `disable`"),
    ):
        add(name, action, words).add_argument("email", metavar="EMAIL")
    for name, action, words in (
        ("exclude", _exclude, "exclude the answers of accounts from all later trainings"),
        ("include", _include, "undo `exclude`"),
    ):
        mark = add(name, action, words)
        mark.add_argument("accounts", metavar="ACCOUNT", nargs="+", help="an e-mail address, or the id of a student")
        _add_service(mark)
    export = add("export", _export, "print everything that the database has about an account, one JSON object per line")
    export.add_argument("account", metavar="EMAIL", help="or the id of a student, as `account list` shows it")
    _add_service(export)
    erase = add("erase", _erase, "delete an account with its tasks and its practice state")
    erase.add_argument("account", metavar="EMAIL", help="or the id of a student, as `account list` shows it")
    erase.add_argument("--yes", action="store_true", help="delete; without this, only say what would be deleted")
    _add_service(erase)


def _add_service(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--service", metavar="NAME", help="take the ids as those of this service account's learners")


def _list(container: Container, options: argparse.Namespace) -> int:
    found = statement(container.engine, lambda c: c.execute(_LIST).mappings().all())
    as_json = [
        {
            **row,
            "created_at": row["created_at"].isoformat(),
            "excluded_at": None if row["excluded_at"] is None else row["excluded_at"].isoformat(),
        }
        for row in found
    ]
    rows = [
        [
            row["id"],
            row["email"] or row["subject"] or "",
            row["full_name"] or "",
            row["cohort"],
            str(row["n_answers"]),
            tables.utc_time(row["created_at"]),
            "" if row["excluded_at"] is None else tables.utc_time(row["excluded_at"]),
        ]
        for row in as_json
    ]
    lines = tables.table(
        ["ID", "EMAIL OR OWN ID", "NAME", "COHORT", "ANSWERS", "CREATED (UTC)", "EXCLUDED (UTC)"],
        rows,
        right=("ANSWERS",),
    )
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


def _disable(container: Container, options: argparse.Namespace) -> int:
    user_id = container.identity.id_of(options.email)
    container.identity.set_enabled(options.email, False)
    accounts.end_sessions(container.users, container.identity, user_id)
    print(f"Account {options.email} is disabled. Its sessions end within a minute.")
    return 0


def _enable(container: Container, options: argparse.Namespace) -> int:
    container.identity.set_enabled(options.email, True)
    print(f"Account {options.email} can sign in again.")
    return 0


def _exclude(container: Container, options: argparse.Namespace) -> int:
    return _mark(container, options, _EXCLUDE, "excluded from trainings")


def _include(container: Container, options: argparse.Namespace) -> int:
    return _mark(container, options, _INCLUDE, "included in trainings again")


def _mark(container: Container, options: argparse.Namespace, change: TextClause, words: str) -> int:
    """Change all the named accounts, or none if one of them does not exist."""
    found = {name: id_of(container, name, options.service) for name in options.accounts}
    unknown = [name for name, user_id in found.items() if user_id is None]
    if unknown:
        raise NotFoundError(f"no account has the e-mail or the id {', '.join(unknown)}; nothing was changed")
    rows = statement(container.engine, lambda c: c.execute(change, {"ids": list(found.values())}).all())
    cohorts = dict(map(tuple, rows))
    for name, user_id in found.items():
        train = f"`studysmart --cohort {cohorts[user_id]} train` trains without waiting for answers."
        print(f"Account {user_id} ({name}) is {words}. {train}")
    return 0


def id_of(container: Container, name: str, service: str | None) -> str | None:
    """Return the id of an account by its e-mail or id, None without one. Raises NotFoundError for several.

    With the name of a service account, ``name`` is the app's own id of a learner.
    """
    query = _FIND if service is None else _FIND_LEARNER
    ids = statement(container.engine, lambda c: c.execute(query, {"name": name, "service": service}).scalars().all())
    if len(ids) > 1:
        raise NotFoundError(f"{len(ids)} accounts have the e-mail {name}; name one by its id: {', '.join(ids)}")
    return str(ids[0]) if ids else None


def _export(container: Container, options: argparse.Namespace) -> int:
    from migrations.schema import metadata

    user_id = id_of(container, options.account, options.service)
    if user_id is None:
        raise NotFoundError(f"no account has the e-mail or the id {options.account}")
    # Every table that knows students, so a new one is exported too.
    owners = {"users": "id"} | {table.name: "user_id" for table in metadata.sorted_tables if "user_id" in table.c}
    for table, owner in owners.items():
        query = text(f"SELECT row_to_json(t) FROM {table} t WHERE {owner} = :user_id")  # noqa: S608 - our own names
        for row in statement(container.engine, partial(_rows, query, user_id)):
            print(json.dumps({"table": table, **row}, ensure_ascii=False))
    return 0


def _rows(query: TextClause, user_id: str, connection: Connection) -> Sequence[dict[str, object]]:
    return connection.execute(query, {"user_id": user_id}).scalars().all()


def _erase(container: Container, options: argparse.Namespace) -> int:
    # A deletion that was interrupted leaves an account without data.
    user_id = id_of(container, options.account, options.service)
    if user_id is None and options.service is not None:
        raise NotFoundError(f"the service account {options.service} has no learner {options.account}")
    user_id = user_id or container.identity.id_of(options.account)
    if not options.yes:
        print(f"This would delete account {user_id} ({options.account}) with all its data. Repeat with --yes to do it.")
        return 1
    container.users.erase(user_id)
    container.identity.delete(user_id)
    print(f"Account {user_id} ({options.account}) was deleted.")
    return 0
