"""Accounts and the callers of the API."""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated

import msgspec

from chalicelib.domain.fields import about
from chalicelib.domain.issuers import ForeignUser
from chalicelib.domain.service_accounts import ServiceAccount

ADMIN_GROUP = "admins"


def token_digest(token: str) -> str:
    """Return a digest by which a token is recognised. Tokens themselves are not stored."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Caller(msgspec.Struct, frozen=True):
    """The user for whom a request is made.

    ``issued_at`` is the second in which the access token was issued, by the clock of the identity provider.

    A ``foreign`` user is identified by another issuer than the product's user pool.

    A ``service`` that makes the request acts for the learner ``user_id``. In operations without a learner ``user_id``
    is the id of the service account, which has no row in ``users``.
    """

    user_id: str
    groups: frozenset[str]
    issued_at: int = 0
    service: ServiceAccount | None = None
    foreign: ForeignUser | None = None

    @property
    def is_admin(self) -> bool:
        """True if the caller is in the Cognito group ``admins``."""
        return ADMIN_GROUP in self.groups


class Session(msgspec.Struct, frozen=True):
    """The tokens of a sign-in. ``expires_in`` is the life of the access token in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int


class TokenRule(msgspec.Struct, frozen=True):
    """The tokens of an account that are valid: those issued after ``valid_from``, in seconds, and the kept ones.

    Tokens have whole seconds only, so one that was issued in the second of the change must be kept by its digest.
    """

    deleted: bool = False
    valid_from: int = 0
    kept: frozenset[str] = frozenset()

    def admits(self, issued_at: int, token: str) -> bool:
        """Return whether a token with this time of issue is valid."""
        return not self.deleted and (issued_at > self.valid_from or token_digest(token) in self.kept)


class User(msgspec.Struct, frozen=True):
    """A student's account, with the fields of the HTTP contract."""

    id: Annotated[str, about("Id of the account", "9b2c1f7e-52a1-4c0f-9d3e-0a6f2f4f8f11")]
    email: Annotated[str, about("E-mail address; null if the identity provider has none", "ada@example.org")] | None
    full_name: Annotated[str, about("Name; null if none was given", "Ada Lovelace")] | None
    email_verified: Annotated[bool, about("The address was verified with a code", False)]
    profile_completed: Annotated[bool, about("The profile has a name", True)]
