"""``studysmart service``: creates and revokes service accounts, rotates their keys, and shows what they did."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from chalicelib.domain.errors import ConflictError, NotFoundError
from chalicelib.domain.service_accounts import ABOUT_SCOPES, DEFAULT_SCOPES, hint_of, key_digest, new_key, scopes_of
from chalicelib.storage.database import statement, transaction
from chalicelib.wiring import Container
from ops import tables
from ops.arguments import actions_of, number, whole_number

OVERLAP_HOURS = 24.0
"""Default time for which the old keys go on working after a rotation."""

_NAMES = text("SELECT id, revoked_at IS NOT NULL AS is_revoked FROM service_accounts WHERE name = :name")
_CREATE = text("INSERT INTO service_accounts (id, name, scopes, cohort) VALUES (:id, :name, :scopes, :cohort)")
_ADD_KEY = text("INSERT INTO service_keys (digest, service_id, hint) VALUES (:digest, :id, :hint)")
_END_OTHERS = text(
    "UPDATE service_keys SET expires_at = least(expires_at, now() + make_interval(secs => :seconds))"
    " WHERE service_id = :id AND digest <> :digest AND revoked_at IS NULL"
)
_REVOKE = text("UPDATE service_accounts SET revoked_at = now() WHERE id = :id AND revoked_at IS NULL")
_REVOKE_KEYS = text(
    "UPDATE service_keys SET revoked_at = now() WHERE service_id = :id AND revoked_at IS NULL"
    " AND starts_with(hint, :hint) AND (CAST(:digest AS text) IS NULL OR digest = :digest) RETURNING hint"
)
_LIST = text(
    """
    SELECT a.name, a.cohort, a.scopes, a.created_at, a.revoked_at, coalesce((
        SELECT json_agg(json_build_object('key', k.hint, 'created_at', k.created_at, 'expires_at', k.expires_at,
            'revoked_at', k.revoked_at, 'last_used_at', k.last_used_at) ORDER BY k.created_at)
        FROM service_keys k WHERE k.service_id = a.id
    ), '[]') AS keys
    FROM service_accounts a ORDER BY a.created_at, a.name
    """
)
_ACTIONS = text(
    """
    SELECT s.at, s.hint AS key, s.operation, s.status, u.subject AS learner, s.user_id, s.request_id
    FROM service_actions s LEFT JOIN users u ON u.id = s.user_id
    WHERE s.service_id = :id ORDER BY s.at DESC LIMIT :limit
    """
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of the command, each with its arguments."""
    add = actions_of(parser)

    create = add("create", _create, "make a service account and print its key, which is not shown again")
    create.add_argument("name", metavar="NAME")
    default = ",".join(sorted(scope.value for scope in DEFAULT_SCOPES))
    known = "; ".join(f"{scope.value}: {words}" for scope, words in ABOUT_SCOPES.items())
    create.add_argument("--scopes", default=default, help=f"a list with commas (default: {default}). {known}")
    add("list", _list, "list the service accounts with their keys").add_argument(
        "--json", action="store_true", help="print JSON"
    )
    rotate = add("rotate", _rotate, "print a new key; the old ones go on working for a while")
    rotate.add_argument("name", metavar="NAME")
    rotate.add_argument(
        "--overlap",
        type=number(0, 8760),
        default=OVERLAP_HOURS,
        metavar="HOURS",
        help=f"hours for which the old keys work (default: {OVERLAP_HOURS:g})",
    )
    revoke = add("revoke", _revoke, "end a service account, or one of its keys, within a minute")
    revoke.add_argument("name", metavar="NAME")
    revoke.add_argument(
        "--key", metavar="BEGINNING", help="only this key: the beginning that `service list` shows, or all of it"
    )
    record = add("actions", _actions, "show what a service account did, newest first")
    record.add_argument("name", metavar="NAME")
    record.add_argument("--limit", type=whole_number(1), default=50, metavar="N", help="lines (default: 50)")
    record.add_argument("--json", action="store_true", help="print JSON")


def _create(container: Container, options: argparse.Namespace) -> int:
    scopes = sorted(scope.value for scope in scopes_of([name.strip() for name in options.scopes.split(",")]))
    key, cohort = new_key(), {"cohort": container.settings.cohort}

    def work(connection: Connection) -> None:
        if connection.execute(_NAMES, {"name": options.name}).first() is not None:
            raise ConflictError(f"the service account {options.name} exists already; `service rotate` makes a new key")
        service_id = secrets.token_hex(8)
        connection.execute(_CREATE, {"id": service_id, "name": options.name, "scopes": scopes, **cohort})
        connection.execute(_ADD_KEY, {"digest": key_digest(key), "id": service_id, "hint": hint_of(key)})

    transaction(container.engine, work)
    print(key)
    return 0


def _rotate(container: Container, options: argparse.Namespace) -> int:
    service_id, key = _id_of(container, options.name), new_key()
    digest = key_digest(key)

    def work(connection: Connection) -> None:
        if connection.execute(_NAMES, {"name": options.name}).one().is_revoked:
            raise ConflictError(f"the service account {options.name} is revoked; `service create` makes another one")
        connection.execute(_ADD_KEY, {"digest": digest, "id": service_id, "hint": hint_of(key)})
        connection.execute(_END_OTHERS, {"id": service_id, "digest": digest, "seconds": options.overlap * 3_600})

    transaction(container.engine, work)
    print(key)
    return 0


def _revoke(container: Container, options: argparse.Namespace) -> int:
    service_id = _id_of(container, options.name)
    given = options.key or ""
    hint = hint_of(given)  # a complete key is not printed

    def work(connection: Connection) -> Sequence[str]:
        if options.key is None:
            connection.execute(_REVOKE, {"id": service_id})
        values = {"id": service_id, "hint": hint, "digest": None if given == hint else key_digest(given)}
        return connection.execute(_REVOKE_KEYS, values).scalars().all()

    revoked = transaction(container.engine, work)
    if options.key is not None and not revoked:
        raise NotFoundError(f"no valid key of {options.name} begins with {hint}")
    what = f"The service account {options.name}" if options.key is None else f"The key {', '.join(revoked)}…"
    print(f"{what} ends within a minute.")
    return 0


def _list(container: Container, options: argparse.Namespace) -> int:
    found = [dict(row) for row in statement(container.engine, lambda c: c.execute(_LIST).mappings().all())]
    header = ["NAME", "COHORT", "SCOPES", "KEY", "CREATED (UTC)", "LAST USED (UTC)", "STATE"]
    rows = [
        [
            account["name"],
            account["cohort"],
            ",".join(account["scopes"]),
            key["key"] + "…",
            tables.utc_time(key["created_at"]),
            tables.utc_time(key["last_used_at"]),
            _state(account, key),
        ]
        for account in found
        for key in account["keys"]
    ]
    lines = tables.table(header, rows) if rows else ["There is no service account yet."]
    tables.show(options.json, found, lines)
    return 0


def _state(account: Mapping[str, Any], key: Mapping[str, Any]) -> str:
    if account["revoked_at"] is not None or key["revoked_at"] is not None:
        return "revoked"
    if key["expires_at"] is None:
        return "valid"
    is_over = datetime.fromisoformat(key["expires_at"]) <= datetime.now().astimezone()
    return f"{'expired' if is_over else 'valid until'} {tables.utc_time(key['expires_at'])}"


def _actions(container: Container, options: argparse.Namespace) -> int:
    values = {"id": _id_of(container, options.name), "limit": options.limit}
    found = [dict(row) for row in statement(container.engine, lambda c: c.execute(_ACTIONS, values).mappings().all())]
    rows = [
        [tables.utc_time(row["at"].isoformat()), row["key"], str(row["status"]), row["operation"], row["learner"] or ""]
        for row in found
    ]
    lines = tables.table(["TIME (UTC)", "KEY", "STATUS", "OPERATION", "LEARNER"], rows)
    tables.show(options.json, found, lines if rows else [f"{options.name} did nothing yet."])
    return 0


def _id_of(container: Container, name: str) -> str:
    """Return the id of a service account. Raises NotFoundError."""
    found = statement(container.engine, lambda c: c.execute(_NAMES, {"name": name}).scalar_one_or_none())
    if found is None:
        raise NotFoundError(f"there is no service account {name}")
    return str(found)
