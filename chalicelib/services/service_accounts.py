"""Requests of service accounts: whose key it is, what it may do, for which learner, and the record of it.

How a route meets a service account. Its decorator names the :class:`Scope` that a service account needs; without one,
service accounts are refused. The view gets a ``caller``:

- ``caller.service`` is the account with its id, name and scopes, None for a user with an access token;
- ``caller.user_id`` is the learner that the header ``X-Learner-Id`` names, so most views need not know about services.

An operation that takes learners in its body declares ``learner=False``. Then the header is not needed, and
:meth:`ServiceAccounts.learners` gives the ids in ``users`` for the app's own ids, with one statement for all of them.
``caller.service.user_id(learner_id)`` gives one without any statement, for reading.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from chalicelib.domain.accounts import Caller
from chalicelib.domain.errors import (
    Fault,
    ForbiddenError,
    InvalidInputError,
    LimitError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from chalicelib.domain.limits import SERVICE_LEARNERS
from chalicelib.domain.service_accounts import (
    LEARNER_HEADER,
    LEARNER_PATTERN,
    Scope,
    ServiceAccount,
    ServiceAction,
    key_digest,
)
from chalicelib.ports import ServiceStore
from chalicelib.services.limits import FULL_SECONDS

_log = logging.getLogger("studysmart.service_accounts")

KEPT_SECONDS = 45.0
"""Seconds for which a process uses an account or a learner without reading it again. A revoked key ends in a minute."""

KEPT_KEYS = 1_000
KEPT_LEARNERS = 20_000


class ServiceAccounts:
    """The keys and learners that this process has seen lately. Threads may share it."""

    def __init__(
        self,
        store: ServiceStore,
        max_learners: int = 0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._max_learners = max_learners
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._accounts: dict[str, tuple[float, ServiceAccount]] = {}
        self._learners: dict[str, float] = {}

    def account(self, key: str) -> ServiceAccount:
        """Return the account of a key. Raises UnauthenticatedError if the key is unknown, expired or revoked."""
        digest, now = key_digest(key), self._clock()
        known = self._accounts.get(digest)
        account = known[1] if known is not None and now - known[0] < KEPT_SECONDS else self._read(digest, now)
        if account is None or (account.expires_at is not None and account.expires_at <= self._now()):
            raise UnauthenticatedError("The key of the service account is unknown, has expired or was revoked")
        return account

    def _read(self, digest: str, now: float) -> ServiceAccount | None:
        """Read an account. Unknown keys are not kept, or random keys would push out the valid ones."""
        account = self._store.account(digest)
        with self._lock:
            self._accounts.pop(digest, None)
            if account is not None:
                if len(self._accounts) >= KEPT_KEYS:
                    self._accounts.clear()
                self._accounts[digest] = now, account
        return account

    def caller(self, account: ServiceAccount, scope: Scope | None, learner_id: str | None, writes: bool) -> Caller:
        """Return the caller of a request for a learner, or of one without a learner.

        ``scope`` is that of the operation. The learner gets a row in ``users`` with the first one that writes.
        Raises ForbiddenError without the scope, NotFoundError if the learner was deleted, LimitError if the account has
        too many learners.
        """
        if scope is None:
            raise ForbiddenError("Service accounts may not do this")
        if scope not in account.scopes:
            raise ForbiddenError(f"The service account has no scope {scope.value}")
        if learner_id is None:
            return Caller(account.id, frozenset(), service=account)
        check_learner_id(learner_id)
        user_id = account.user_id(learner_id)
        if self._clock() - self._learners.get(user_id, float("-inf")) >= KEPT_SECONDS:
            if writes:
                self.learners(account, [learner_id])
            elif self._store.is_deleted(user_id):
                raise NotFoundError(f"The learner {learner_id} was deleted")
        return Caller(user_id, frozenset(), service=account)

    def learners(self, account: ServiceAccount, learner_ids: Iterable[str]) -> dict[str, str]:
        """Return ids in ``users`` by the app's own ids. Missing learners are made, with one statement for all.

        Raises NotFoundError if one of them was deleted, LimitError if there would be too many. The ids must have the
        form of ``LearnerId``.
        """
        ids = {learner_id: account.user_id(learner_id) for learner_id in learner_ids}
        deleted = self._store.add_learners(account.id, ids, self._max_learners)
        if deleted is None:
            raise LimitError(SERVICE_LEARNERS.format(self._max_learners), FULL_SECONDS)
        if deleted:
            names = [learner_id for learner_id, user_id in ids.items() if user_id in deleted]
            raise NotFoundError(f"The learner {names[0]} was deleted")
        now = self._clock()
        with self._lock:
            if len(self._learners) + len(ids) > KEPT_LEARNERS:
                self._learners.clear()
            self._learners.update(dict.fromkeys(ids.values(), now))
        return ids

    def forget(self, user_id: str) -> None:
        """Read a learner again with the next request for it."""
        with self._lock:
            self._learners.pop(user_id, None)

    def record(self, action: ServiceAction) -> None:
        """Store an action. It has happened already, so a failure is only logged, with the action."""
        try:
            self._store.record(action)
        except UnavailableError as error:
            _log.error("an action of a service account was not stored: %s (%s)", action, error)


def check_learner_id(learner_id: str) -> None:
    """Raise InvalidInputError unless the value of the header is an id of a learner."""
    if re.search(LEARNER_PATTERN, learner_id, re.ASCII) is None:
        message = "must be 1 to 128 visible ASCII characters"
        raise InvalidInputError([Fault(("header", LEARNER_HEADER), message, "value_error")])
