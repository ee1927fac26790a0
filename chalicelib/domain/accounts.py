"""Accounts and the callers of the API."""

from __future__ import annotations

import msgspec

ADMIN_GROUP = "admins"


class Caller(msgspec.Struct, frozen=True):
    """Who makes a request, as the verified access token says."""

    user_id: str
    groups: frozenset[str]

    @property
    def is_admin(self) -> bool:
        """Whether the caller is in the Cognito group ``admins``."""
        return ADMIN_GROUP in self.groups


class User(msgspec.Struct, frozen=True):
    """A student's account, field for field as the HTTP contract shows it."""

    id: str
    email: str | None
    full_name: str | None
    email_verified: bool
    profile_completed: bool
