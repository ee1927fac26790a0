"""Accounts: register, sign in, the student's own profile."""

from __future__ import annotations

import logging

from chalicelib.domain.accounts import User
from chalicelib.domain.errors import UnauthenticatedError
from chalicelib.ports import Identity, UserStore

_log = logging.getLogger("studysmart.accounts")


def register(users: UserStore, identity: Identity, email: str, password: str, full_name: str | None) -> User:
    """Create an account. Cognito comes first, because a sign-in creates a row that a crash left missing."""
    user_id = identity.register(email, password, full_name)
    users.add(user_id, email, full_name)
    return _user(user_id, email, full_name, email_verified=False)


def login(users: UserStore, identity: Identity, email: str, password: str) -> str:
    """Return an access token, and complete a registration or deletion that a crash interrupted.

    Raises UnauthenticatedError.
    """
    token = identity.login(email, password)
    user_id = identity.verify(token).user_id
    if not _has_row(users, user_id):
        users.add(user_id, email.strip(), None)
        if not _has_row(users, user_id):
            _log.info("finishing the deletion of account %s", user_id)
            identity.delete(user_id)
            raise UnauthenticatedError("Incorrect email or password")
    return token


def _has_row(users: UserStore, user_id: str) -> bool:
    """Return whether the account has a row with an address, and is not deleted."""
    try:
        return users.get(user_id)[0] is not None
    except UnauthenticatedError:
        return False


def profile(users: UserStore, identity: Identity, user_id: str) -> User:
    """Return the student's account. Raises UnauthenticatedError if it was deleted."""
    email, full_name = users.get(user_id)
    return _user(user_id, email, full_name, email_verified=identity.email_verified(user_id))


def change_password(users: UserStore, identity: Identity, user_id: str, current: str, new: str) -> None:
    """Change the password. Raises BadRequestError if the current one is wrong."""
    email, _ = users.get(user_id)
    identity.change_password(email or user_id, current, new)


def delete_account(users: UserStore, identity: Identity, user_id: str, password: str) -> None:
    """Delete the account with its tasks and state. Raises BadRequestError for a wrong password.

    The data is deleted first, so a crash can leave a login, but never data.
    """
    email, _ = users.get(user_id)
    identity.check_password(email or user_id, password)
    users.erase(user_id)
    identity.delete(user_id)


def _user(user_id: str, email: str | None, full_name: str | None, *, email_verified: bool) -> User:
    return User(user_id, email, full_name, email_verified, profile_completed=bool(full_name))
