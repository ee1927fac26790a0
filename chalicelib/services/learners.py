"""The learners for whom a caller acts: the caller, or others if the caller may act for them."""

from __future__ import annotations

from collections.abc import Iterable

from chalicelib.domain.accounts import Caller
from chalicelib.domain.errors import ForbiddenError


def accounts_of(caller: Caller, learners: Iterable[str | None]) -> dict[str | None, str]:
    """Return the id of the account of each learner. None is the caller.

    A student has no other learners. Admins name an account by its id. Raises ForbiddenError.
    """
    accounts = {learner: caller.user_id if learner is None else learner for learner in learners}
    if not caller.is_admin and any(account != caller.user_id for account in accounts.values()):
        raise ForbiddenError("Only admins may act for other students")
    return accounts
