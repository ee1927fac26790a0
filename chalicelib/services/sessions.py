"""The check that an access token was not ended: by a sign-out, a new password, or the loss of an account or a role."""

from __future__ import annotations

import time
from collections.abc import Callable

from chalicelib.domain.accounts import ADMIN_GROUP, COHORT_ADMIN_GROUP, Caller, TokenRule
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
        self._known: dict[tuple[str, str | None], tuple[float, TokenRule]] = {}
        """By account, and the group of administrators as whose member the caller acts."""

    def check(self, caller: Caller, token: str) -> str | None:
        """Return the caller's cohort, None for one without a row.

        Raises UnauthenticatedError if the token of the caller was ended, or the account does not exist. A token of an
        administrator is also refused if the account was disabled or is not in the group any more.
        """
        read_at, rule = self._known.get((caller.user_id, caller.admin_group), (float("-inf"), TokenRule()))
        fresh = self._clock() - read_at < KEPT_SECONDS
        # A rule that refuses is read again: another process may have admitted the token since.
        if not fresh or not rule.admits(caller.issued_at, token):
            rule = self._read(caller)
        if not rule.admits(caller.issued_at, token):
            raise UnauthenticatedError("The session has ended, please sign in again")
        return rule.cohort

    def forget(self, user_id: str) -> None:
        """Read the rule of an account again with its next request."""
        for group in (None, ADMIN_GROUP, COHORT_ADMIN_GROUP):
            self._known.pop((user_id, group), None)

    def _read(self, caller: Caller) -> TokenRule:
        now = self._clock()
        if caller.foreign is not None:
            rule = self._users.admit(caller.user_id, caller.foreign, caller.issued_at)
            return self._keep(caller, now, rule)
        known = self._users.token_rule(caller.user_id)
        rule = known or TokenRule()
        if known is None:
            # An account that was not made by this API gets its row with the first login or task.
            self._identity.email_verified(caller.user_id)
        # The claims of a token are as old as the token. Of the few administrators Cognito can be asked.
        group = caller.admin_group
        if group is not None and not rule.deleted and not self._identity.is_admin(caller.user_id, group):
            raise UnauthenticatedError("The account is no administrator any more, please sign in again")
        return self._keep(caller, now, rule)

    def _keep(self, caller: Caller, now: float, rule: TokenRule) -> TokenRule:
        if len(self._known) >= KEPT_RULES:
            self._known.clear()
        self._known[caller.user_id, caller.admin_group] = now, rule
        return rule
