"""Accounts and the callers of the API."""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated

import msgspec

from chalicelib.domain.fields import about
from chalicelib.domain.issuers import ForeignUser
from chalicelib.domain.service_accounts import ServiceAccount

ADMIN_GROUP = "admins"
COHORT_ADMIN_GROUP = "cohort-admins"
"""The group of the admins of one cohort: the one that they belong to."""


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
    def admin_group(self) -> str | None:
        """The group that makes the caller an admin, of all cohorts or of one. None for others."""
        return next((group for group in (ADMIN_GROUP, COHORT_ADMIN_GROUP) if group in self.groups), None)

    @property
    def is_admin(self) -> bool:
        """True if the caller is an admin of all cohorts, or of the one that they belong to."""
        return self.admin_group is not None

    def within(self, cohort: str | None) -> Caller:
        """Return the caller with the rights in this cohort: an issuer's admin of one cohort is none in another."""
        claimed = None if self.foreign is None else self.foreign.cohort
        if claimed in (None, cohort):
            return self
        return msgspec.structs.replace(self, groups=self.groups - {COHORT_ADMIN_GROUP})


class Session(msgspec.Struct, frozen=True):
    """The tokens of a sign-in. ``expires_in`` is the life of the access token in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int


class TokenRule(msgspec.Struct, frozen=True):
    """The tokens of an account that are valid: those issued after ``valid_from``, in seconds, and the kept ones.

    Tokens have whole seconds only, so one that was issued in the second of the change must be kept by its digest.

    ``cohort`` is that of the account, None for one without a row.
    """

    deleted: bool = False
    valid_from: int = 0
    kept: frozenset[str] = frozenset()
    cohort: str | None = None

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
