"""Accounts: register, sign in, the student's own profile."""

from __future__ import annotations

import logging

from chalicelib.domain.accounts import User
from chalicelib.domain.errors import UnauthenticatedError
from chalicelib.ports import Identity, UserStore

_log = logging.getLogger("studysmart.accounts")


def register(users: UserStore, identity: Identity, email: str, password: str, full_name: str | None) -> User:
    """Make an account. Identity comes first: a row that is missing after a crash is made at the next sign-in."""
    user_id = identity.register(email, password, full_name)
    users.add(user_id, email, full_name)
    return _user(user_id, email, full_name, email_verified=False)


def login(users: UserStore, identity: Identity, email: str, password: str) -> str:
    """An access token, else UnauthenticatedError. Mends an account whose registration or deletion broke off."""
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
    """Whether there is a row, not deleted, that knows its address."""
    try:
        return users.get(user_id)[0] is not None
    except UnauthenticatedError:
        return False


def profile(users: UserStore, identity: Identity, user_id: str) -> User:
    """The student's own account; UnauthenticatedError when it was deleted."""
    email, full_name = users.get(user_id)
    return _user(user_id, email, full_name, email_verified=identity.email_verified(user_id))


def update_profile(users: UserStore, identity: Identity, user_id: str, full_name: str | None) -> User:
    """Change the name."""
    users.set_full_name(user_id, full_name)
    return profile(users, identity, user_id)


def change_password(users: UserStore, identity: Identity, user_id: str, current: str, new: str) -> None:
    """Change the password; BadRequestError when the current one is wrong."""
    email, _ = users.get(user_id)
    identity.change_password(email or user_id, current, new)


def delete_account(users: UserStore, identity: Identity, user_id: str, password: str) -> None:
    """Delete the account with its tasks and state; BadRequestError, and nothing deleted, for a wrong password.

    The data goes first: a crash leaves a login, never data.
    """
    email, _ = users.get(user_id)
    identity.check_password(email or user_id, password)
    users.erase(user_id)
    identity.delete(user_id)


def _user(user_id: str, email: str | None, full_name: str | None, *, email_verified: bool) -> User:
    return User(user_id, email, full_name, email_verified, profile_completed=bool(full_name))
