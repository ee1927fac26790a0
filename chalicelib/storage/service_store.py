"""Service accounts, their learners and the record of their actions in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, text

from chalicelib.domain.service_accounts import Scope, ServiceAccount, ServiceAction, issuer_of
from chalicelib.storage.database import statement

ACTION_DAYS = 400
"""Age at which the record of an action is deleted."""

_ACCOUNT = text(
    """
    SELECT a.id, a.name, a.scopes, k.hint, k.expires_at, a.cohort,
        k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute' AS stale
    FROM service_keys k JOIN service_accounts a ON a.id = k.service_id
    WHERE k.digest = :digest AND k.revoked_at IS NULL AND a.revoked_at IS NULL
        AND (k.expires_at IS NULL OR k.expires_at > now())
    """
)

_USED = text(
    "UPDATE service_keys SET last_used_at = now() WHERE digest = :digest"
    " AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')"
)

# An unchanged row is not written again. The last part sees the rows as they were before. PostgreSQL counts the learners
# only if there is a new one.
_ADD_LEARNERS = text(
    """
    WITH given AS (
        SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:subjects AS text[])) AS g (id, subject)
    ), fresh AS MATERIALIZED (
        SELECT * FROM given WHERE NOT EXISTS (SELECT 1 FROM users u WHERE u.id = given.id)
    ), room AS MATERIALIZED (
        SELECT CASE WHEN :maximum = 0 OR NOT EXISTS (SELECT 1 FROM fresh) THEN true ELSE
            (SELECT count(*) FROM fresh) <= :maximum
                - (SELECT count(*) FROM users WHERE issuer = :issuer AND deleted_at IS NULL)
        END AS is_enough
    ), added AS (
        INSERT INTO users (id, issuer, subject, cohort)
        SELECT id, :issuer, subject, (SELECT cohort FROM service_accounts WHERE id = :service_id)
        FROM fresh WHERE (SELECT is_enough FROM room) ORDER BY id
        ON CONFLICT (id) DO NOTHING
    )
    SELECT is_enough, ARRAY(SELECT u.id FROM users u JOIN given USING (id) WHERE u.deleted_at IS NOT NULL) AS deleted
    FROM room
    """
)

_DELETED = text("SELECT EXISTS (SELECT 1 FROM users WHERE id = :id AND deleted_at IS NOT NULL)")

_RECORD = text(
    """
    INSERT INTO service_actions (service_id, hint, operation, user_id, status, request_id)
    VALUES (:service_id, :hint, :operation, :user_id, :status, :request_id)
    """
)

_PRUNE = text(f"DELETE FROM service_actions WHERE at < now() - interval '{ACTION_DAYS} days'")  # noqa: S608 - a constant


class PostgresServiceStore:
    """Implements :class:`chalicelib.ports.ServiceStore`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def account(self, digest: str) -> ServiceAccount | None:
        """Return the account of a valid key by the key's digest, and note that the key was used."""

        def work(connection: Connection) -> Any:
            found = connection.execute(_ACCOUNT, {"digest": digest}).one_or_none()
            if found is not None and found.stale:
                connection.execute(_USED, {"digest": digest})
            return found

        row = statement(self._engine, work)
        if row is None:
            return None
        # A scope that a later release added is unknown here, and nothing needs it.
        known = {scope.value: scope for scope in Scope}
        scopes = frozenset(known[name] for name in row.scopes if name in known)
        return ServiceAccount(row.id, row.name, scopes, row.hint, row.expires_at, row.cohort)

    def add_learners(self, service_id: str, ids: Mapping[str, str], maximum: int) -> set[str] | None:
        """Make rows for learners, given as ids in ``users`` by the app's own, and return the deleted ones.

        None means that nothing was made, because the account would have more than ``maximum`` learners then.
        """
        values: dict[str, Any] = {"ids": list(ids.values()), "subjects": list(ids), "issuer": issuer_of(service_id)}
        values |= {"service_id": service_id, "maximum": maximum}
        row = statement(self._engine, lambda c: c.execute(_ADD_LEARNERS, values).one())
        return set(row.deleted) if row.is_enough else None

    def is_deleted(self, user_id: str) -> bool:
        """Return whether a learner was deleted. One without a row was not."""
        return bool(statement(self._engine, lambda c: c.execute(_DELETED, {"id": user_id}).scalar_one()))

    def record(self, action: ServiceAction) -> None:
        """Store an action."""
        values = msgspec.structs.asdict(action)
        statement(self._engine, lambda c: c.execute(_RECORD, values))

    def prune(self) -> None:
        """Delete the records of old actions."""
        statement(self._engine, lambda c: c.execute(_PRUNE))
