"""Accounts and the callers of the API."""

from __future__ import annotations

import msgspec

ADMIN_GROUP = "admins"


class Caller(msgspec.Struct, frozen=True):
    """The user who makes a request, from the verified access token."""

    user_id: str
    groups: frozenset[str]

    @property
    def is_admin(self) -> bool:
        """True if the caller is in the Cognito group ``admins``."""
        return ADMIN_GROUP in self.groups


class User(msgspec.Struct, frozen=True):
    """A student's account, with the fields of the HTTP contract."""

    id: str
    email: str | None
    full_name: str | None
    email_verified: bool
    profile_completed: bool
