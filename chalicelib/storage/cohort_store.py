"""Cohorts in PostgreSQL: who belongs to which, and moving students from one to another.

``users.cohort`` says to which cohort a student belongs, and nothing else does. A completion reads it with the student's
row, and counts in the tracker of that cohort. A move changes the row, so a completion that has read it before is done
again (:mod:`.completion`), and each answer is in the total of one cohort at any time.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Engine, text

from chalicelib.domain.errors import NotFoundError
from chalicelib.storage.database import statement, transaction
from chalicelib.storage.shards import ENSURE, changed_total_sql

_NAMES = text(
    """
    SELECT name FROM cohorts UNION SELECT cohort FROM embedding_model_tracker UNION SELECT CAST(:own AS text)
    ORDER BY 1
    """
)

_EXISTS = text(
    """
    SELECT :name = :own OR EXISTS (SELECT FROM cohorts WHERE name = :name)
        OR EXISTS (SELECT FROM users WHERE cohort = :name)
        OR EXISTS (SELECT FROM service_accounts WHERE cohort = :name)
        OR EXISTS (SELECT FROM embedding_model_tracker WHERE cohort = :name)
    """
)
"""A cohort that the setting ``COHORT`` named earlier has students, and no row in ``cohorts``."""

_JOINING = "hashtextextended('studysmart.cohorts', 0)"

_SHARE_COHORTS = text(f"SELECT pg_advisory_xact_lock_shared({_JOINING})")

LOCK_COHORTS = text(f"SELECT pg_advisory_xact_lock({_JOINING})")
"""Waits until nobody is being moved, and lets nobody be moved until the transaction ends."""

_OF_INVITATION = text("SELECT name FROM cohorts WHERE invitation = :digest")

OF_ADDRESS_SQL = """(SELECT name FROM cohorts
    WHERE lower(split_part(CAST(:email AS text), '@', 2)) = ANY(email_domains) ORDER BY name LIMIT 1)"""
"""The cohort that students with this address join, or null."""

_OF_ADDRESS = text(f"SELECT {OF_ADDRESS_SQL}")

_LOCK = text(
    """
    SELECT id, cohort FROM users WHERE id = ANY(CAST(:user_ids AS text[])) AND cohort <> :cohort
    ORDER BY id COLLATE "C" FOR UPDATE
    """
)

_LOCK_TRACKERS = text(
    "SELECT FROM embedding_model_tracker WHERE cohort = ANY(CAST(:cohorts AS text[]))"
    ' ORDER BY cohort COLLATE "C" FOR UPDATE'
)

_MOVE = text(
    f"""
    WITH before AS (
        SELECT id, cohort FROM users WHERE id = ANY(CAST(:user_ids AS text[])) AND cohort <> :cohort
    ), moved AS (
        UPDATE users u SET cohort = :cohort FROM before WHERE u.id = before.id
        RETURNING before.cohort AS old, u.n_answers
    ), changes AS (
        SELECT old AS cohort, -sum(n_answers) AS n FROM moved GROUP BY old
        UNION ALL SELECT :cohort, sum(n_answers) FROM moved
    ), counted AS (
        UPDATE embedding_model_tracker k SET {changed_total_sql("k", "CAST(c.n AS integer)")}
        FROM changes c WHERE k.cohort = c.cohort
    )
    SELECT count(*) FROM moved
    """  # noqa: S608 - parts are constants, values are bound
)
"""The answers that the students have are in the total of the cohort that they are in."""


class PostgresCohorts:
    """Implements :class:`chalicelib.ports.Cohorts`. ``own`` is the deployment's own cohort."""

    def __init__(self, engine: Engine, own: str) -> None:
        self._engine = engine
        self._own = own

    @property
    def own(self) -> str:
        """The deployment's own cohort, in which students are who were put into no other one."""
        return self._own

    def names(self) -> list[str]:
        """Return all cohorts, also those that have only a tracker."""
        return list(statement(self._engine, lambda c: c.execute(_NAMES, {"own": self._own}).scalars().all()))

    def exists(self, name: str) -> bool:
        """Return whether students can be in this cohort."""
        return "\0" not in name and bool(self._one(_EXISTS, name=name, own=self._own))

    def of_invitation(self, digest: str) -> str | None:
        """Return the cohort for which an invitation, given by its digest, is valid."""
        found: str | None = self._one(_OF_INVITATION, digest=digest)
        return found

    def of_address(self, email: str) -> str | None:
        """Return the cohort that students with this e-mail address join, None without one."""
        found: str | None = self._one(_OF_ADDRESS, email=email)
        return found

    def move(self, user_ids: Collection[str], cohort: str) -> int:
        """Move students to a cohort with their answers, and return how many were not in it. Raises NotFoundError."""
        return transaction(self._engine, lambda connection: move(connection, user_ids, cohort, self._own))

    def _one(self, query: Any, **values: Any) -> Any:
        return statement(self._engine, lambda connection: connection.execute(query, values).scalar_one_or_none())


def move(connection: Connection, user_ids: Collection[str], cohort: str, own: str) -> int:
    """Move students inside a transaction. Trackers are locked after students, as by every writer.

    Raises NotFoundError for a cohort that does not exist: it may have been removed a moment ago.
    """
    connection.execute(_SHARE_COHORTS)
    if not connection.execute(_EXISTS, {"name": cohort, "own": own}).scalar_one():
        raise NotFoundError(f"There is no cohort {cohort}")
    values: dict[str, Any] = {"user_ids": sorted(user_ids), "cohort": cohort}
    found = connection.execute(_LOCK, values).all()
    if not found:
        return 0
    # Only those that are locked: another move may have put somebody out of the cohort meanwhile.
    values["user_ids"] = [user_id for user_id, _ in found]
    connection.execute(ENSURE, {"cohort": cohort})
    connection.execute(_LOCK_TRACKERS, {"cohorts": sorted({cohort, *(old for _, old in found)})})
    return int(connection.execute(_MOVE, values).scalar_one())
