"""The check that an access token was not ended by a sign-out, a new password or a deletion of its account."""

from __future__ import annotations

import time
from collections.abc import Callable

from chalicelib.domain.accounts import Caller, TokenRule
from chalicelib.domain.errors import UnauthenticatedError
from chalicelib.ports import Identity, UserStore

KEPT_SECONDS = 45.0
"""Seconds for which a process uses a rule without reading it again. Ended tokens are refused within a minute."""

KEPT_RULES = 10_000


class Sessions:
    """The rules of the accounts that this process has served lately. Threads may share it."""

    def __init__(self, users: UserStore, identity: Identity, clock: Callable[[], float] = time.monotonic) -> None:
        self._users = users
        self._identity = identity
        self._clock = clock
        self._known: dict[str, tuple[float, TokenRule]] = {}

    def check(self, caller: Caller, token: str) -> None:
        """Raise UnauthenticatedError if the token of the caller was ended, or the account does not exist."""
        read_at, rule = self._known.get(caller.user_id, (float("-inf"), TokenRule()))
        fresh = self._clock() - read_at < KEPT_SECONDS
        # A rule that refuses is read again: another process may have admitted the token since.
        if not fresh or not rule.admits(caller.issued_at, token):
            rule = self._read(caller.user_id)
        if not rule.admits(caller.issued_at, token):
            raise UnauthenticatedError("The session has ended, please sign in again")

    def forget(self, user_id: str) -> None:
        """Read the rule of an account again with its next request."""
        self._known.pop(user_id, None)

    def _read(self, user_id: str) -> TokenRule:
        now = self._clock()
        rule = self._users.token_rule(user_id)
        if rule is None:
            # An account that was not made by this API gets its row with the first login or task.
            self._identity.email_verified(user_id)
            rule = TokenRule()
        if len(self._known) >= KEPT_RULES:
            self._known.clear()
        self._known[user_id] = now, rule
        return rule
