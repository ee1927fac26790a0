"""The learners for whom a caller acts: the caller, or others if the caller may act for them."""

from __future__ import annotations

from collections.abc import Collection

from chalicelib.domain.accounts import Caller
from chalicelib.domain.errors import Fault, ForbiddenError, InvalidInputError


def accounts_of(caller: Caller, learners: Collection[str | None]) -> dict[str | None, str]:
    """Return the id of the account of each learner. None is the caller.

    A student has no other learners. Admins name an account by its id. Service accounts name each learner by the app's
    own id. Raises ForbiddenError, InvalidInputError.
    """
    service = caller.service
    if service is not None:
        names = [learner for learner in learners if learner is not None]
        if len(names) < len(learners):
            message = "A service account has to name the learner of each entry"
            raise InvalidInputError([Fault(("body",), message, "value_error")])
        return {name: service.user_id(name) for name in names}
    accounts = {learner: caller.user_id if learner is None else learner for learner in learners}
    if not caller.is_admin and any(account != caller.user_id for account in accounts.values()):
        raise ForbiddenError("Only admins may act for other students")
    return accounts
