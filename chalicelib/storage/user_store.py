"""The rows of ``users`` in PostgreSQL."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, Engine, text

from chalicelib.domain.accounts import TokenRule
from chalicelib.domain.errors import UnauthenticatedError
from chalicelib.domain.issuers import ForeignUser
from chalicelib.storage import completion
from chalicelib.storage.cohort_store import OF_ADDRESS_SQL, PostgresCohorts
from chalicelib.storage.database import statement, transaction

_log = logging.getLogger("studysmart.accounts")

_ADD = text(
    """
    INSERT INTO users (id, email, full_name, cohort) VALUES (:id, :email, :full_name, :cohort)
    ON CONFLICT (id) DO UPDATE SET email = excluded.email, full_name = coalesce(excluded.full_name, users.full_name)
    WHERE users.deleted_at IS NULL
    """
)

_GET = text("SELECT email, full_name, deleted_at IS NOT NULL FROM users WHERE id = :id")

_SET_NAME = text("UPDATE users SET full_name = :full_name WHERE id = :id AND deleted_at IS NULL RETURNING 1")

_TOKEN_RULE = text(
    """
    SELECT deleted_at IS NOT NULL, coalesce(floor(extract(epoch FROM tokens_valid_from))::bigint, 0),
        coalesce(kept_tokens, ''), cohort
    FROM users WHERE id = :id
    """
)

# A token of the second of the deletion is older than the deletion, or cannot be distinguished from one that is.
_ADMIT = text(
    f"""
    INSERT INTO users AS u (id, issuer, subject, email, full_name, cohort)
    VALUES (:id, :issuer, :subject, :email, :full_name,
        coalesce((SELECT name FROM cohorts WHERE name = :claimed), {OF_ADDRESS_SQL}, :cohort))
    ON CONFLICT (id) DO UPDATE SET subject = excluded.subject, email = coalesce(excluded.email, u.email),
        full_name = coalesce(u.full_name, excluded.full_name),
        tokens_valid_from = greatest(u.tokens_valid_from, u.deleted_at), deleted_at = NULL
    WHERE CASE WHEN u.deleted_at IS NULL THEN u.email IS DISTINCT FROM coalesce(excluded.email, u.email)
               ELSE extract(epoch FROM u.deleted_at) < CAST(:issued_at AS bigint) END
    """  # noqa: S608 - parts are constants, values are bound
)

_END_SESSIONS = text("UPDATE users SET tokens_valid_from = clock_timestamp(), kept_tokens = :kept WHERE id = :id")

_KEEP_TOKEN = text("UPDATE users SET kept_tokens = concat_ws(' ', kept_tokens, CAST(:digest AS text)) WHERE id = :id")

_DELETE_TASKS = text("DELETE FROM practice_tasks WHERE user_id = :id RETURNING completed")

_DELETE_STATE = text("DELETE FROM practice_state WHERE user_id = :id")

_DELETE_USAGE = text("DELETE FROM student_usage WHERE user_id = :id")
_DELETE_EVENTS = text("DELETE FROM webhook_deliveries WHERE user_id = :id")

_BLANK = text(
    "UPDATE users SET email = NULL, full_name = NULL, subject = NULL, n_answers = 0, kept_tokens = NULL,"
    " deleted_at = clock_timestamp() WHERE id = :id"
)


class PostgresUserStore:
    """Implements :class:`chalicelib.ports.UserStore`."""

    def __init__(self, engine: Engine, cohort: str) -> None:
        self._engine = engine
        self._cohort = cohort

    def add(self, user_id: str, email: str, full_name: str | None) -> None:
        """Store the row of a new account, or complete an existing one that is not deleted."""
        values = {"id": user_id, "email": email, "full_name": full_name, "cohort": self._cohort}
        statement(self._engine, lambda c: c.execute(_ADD, values))

    def get(self, user_id: str) -> tuple[str | None, str | None]:
        """Return (email, full_name). Raises UnauthenticatedError if the account was deleted or does not exist.

        The e-mail is None if an import or the student's first task made the row. The next login adds the e-mail.
        """
        row = statement(self._engine, lambda c: c.execute(_GET, {"id": user_id}).one_or_none())
        # The row of a deleted account stays, because the account's access tokens are valid until they expire.
        if row is None or row[2]:
            raise UnauthenticatedError("This account does not exist")
        return row[0], row[1]

    def admit(self, user_id: str, user: ForeignUser, issued_at: int) -> TokenRule:
        """Make the row of another issuer's user at the first token, and return the tokens that are valid.

        A user who was deleted begins anew with a token that was issued later. A new address is stored.
        """
        told = {"issuer": user.issuer, "subject": user.subject, "email": user.email, "full_name": user.full_name}
        told |= {"claimed": user.cohort, "cohort": self._cohort}
        statement(self._engine, lambda c: c.execute(_ADMIT, {"id": user_id, "issued_at": issued_at, **told}))
        rule = self.token_rule(user_id) or TokenRule()
        if user.cohort in (None, rule.cohort) or rule.deleted:
            return rule
        return self._in_claimed_cohort(user_id, rule, str(user.cohort))

    def _in_claimed_cohort(self, user_id: str, rule: TokenRule, claimed: str) -> TokenRule:
        """Move a student to the cohort that the issuer names."""
        cohorts = PostgresCohorts(self._engine, self._cohort)
        if not cohorts.exists(claimed):
            _log.warning("the token of user %s names the cohort %r, which does not exist", user_id, claimed)
            return rule
        cohorts.move([user_id], claimed)
        return msgspec.structs.replace(rule, cohort=claimed)

    def set_full_name(self, user_id: str, full_name: str | None) -> None:
        """Change the name. Raises UnauthenticatedError if the account was deleted or does not exist."""
        values = {"id": user_id, "full_name": full_name}
        if statement(self._engine, lambda c: c.execute(_SET_NAME, values).one_or_none()) is None:
            raise UnauthenticatedError("This account does not exist")

    def token_rule(self, user_id: str) -> TokenRule | None:
        """Return the tokens of the account that are valid. None if the account has no row."""
        row = statement(self._engine, lambda c: c.execute(_TOKEN_RULE, {"id": user_id}).one_or_none())
        return None if row is None else TokenRule(row[0], row[1], frozenset(row[2].split()), row[3])

    def end_sessions(self, user_id: str, kept: Sequence[str]) -> None:
        """Refuse all tokens issued until now, except those with the given digests."""
        values = {"id": user_id, "kept": " ".join(kept)}
        statement(self._engine, lambda c: c.execute(_END_SESSIONS, values))

    def keep_token(self, user_id: str, digest: str) -> None:
        """Admit a token that was issued in the second in which the sessions were ended."""
        statement(self._engine, lambda c: c.execute(_KEEP_TOKEN, {"id": user_id, "digest": digest}))

    def erase(self, user_id: str) -> None:
        """Delete the student's tasks and state, and blank the row. The id stays, marked as deleted."""

        def work(connection: Connection) -> None:
            completion.take_user(connection, user_id)
            deleted = connection.execute(_DELETE_TASKS, {"id": user_id}).all()
            connection.execute(_DELETE_STATE, {"id": user_id})
            connection.execute(_DELETE_USAGE, {"id": user_id})
            connection.execute(_DELETE_EVENTS, {"id": user_id})
            connection.execute(_BLANK, {"id": user_id})
            completion.uncount(connection, user_id, sum(completed for (completed,) in deleted))

        transaction(self._engine, work)
