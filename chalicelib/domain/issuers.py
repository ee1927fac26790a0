"""Issuers of tokens other than the product's own user pool, and the users that they identify."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

GOOGLE = "https://accounts.google.com"

_Name = Annotated[str, Meta(min_length=1, max_length=200)]

# Without TLS only on this machine: a program that changes the answer of an issuer can sign in as anybody.
IssuerUrl = Annotated[
    str,
    Meta(pattern=r"^(https://[^/?#@\s]+|http://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?)(/[^?#\s]*)?\Z"),
]


class Issuer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An OpenID Connect issuer whose tokens are accepted.

    A token must name one of ``audience`` in ``audience_claim``. A claim may be inside others: ``realm_access.roles``.
    Without ``groups_claim`` nobody of the issuer is an admin. ``aliases`` are other values of ``iss``.
    ``cohort_claim`` names the cohort of a user; without it, or if there is no such cohort, the address decides. With
    it, members of ``cohort_admin_group`` are admins only where their claim names the cohort that they are in.
    With ``trust_email`` an address counts as verified even if the token does not say so.
    """

    issuer: IssuerUrl
    audience: Annotated[tuple[_Name, ...], Meta(min_length=1)]
    audience_claim: _Name = "aud"
    subject_claim: _Name = "sub"
    name_claim: _Name = "name"
    email_claim: _Name = "email"
    groups_claim: _Name | None = None
    admin_group: _Name = "admins"
    cohort_admin_group: _Name = "cohort-admins"
    cohort_claim: _Name | None = None
    trust_email: bool = False
    aliases: tuple[_Name, ...] = ()


class ForeignUser(msgspec.Struct, frozen=True):
    """A user as an issuer describes them. ``email`` is a verified address, None without one.

    ``expires_at`` is the second in which the token expires, ``cohort`` what its claim says, None without one.
    """

    issuer: str
    subject: str
    email: str | None = None
    full_name: str | None = None
    expires_at: int = 0
    cohort: str | None = None
