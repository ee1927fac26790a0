"""Verifies tokens of OpenID Connect issuers that the settings name: RS256 or ES256, with the issuer's published keys.

An issuer is asked at its first token, for its configuration and its keys. Both are kept. An unknown key id causes a new
fetch, at most one in 30 seconds, and so do keys older than an hour, so that withdrawn ones end. If the issuer does not
answer, the keys that are known go on working.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import jwt
import msgspec

from chalicelib.domain.accounts import ADMIN_GROUP, COHORT_ADMIN_GROUP, Caller
from chalicelib.domain.errors import IdentityUnavailableError, UnauthenticatedError
from chalicelib.domain.issuers import ForeignUser, Issuer
from chalicelib.domain.service_accounts import user_id_of
from chalicelib.storage.token_cache import CachingVerifier
from chalicelib.storage.tokens import (
    COMPACT,
    ISSUED_AHEAD_SECONDS,
    REFUSED,
    KeyCache,
    Second,
    fetch_document,
    signed_payload,
)

ALGORITHMS = ("RS256", "ES256")
LEEWAY_SECONDS = 60
"""Tolerated difference between the issuer's clock and ours."""

KEPT_KEYS_SECONDS = 3_600.0

_TYPES = ("", "JWT", "AT+JWT", "APPLICATION/AT+JWT")
"""Values of the header ``typ``, in upper case, of tokens that identify a user. Others sign a user out, for example."""

_MAXIMUM = 255

Fetch = Callable[[str], Mapping[str, Any]]


def _fetched(address: str) -> Mapping[str, Any]:
    return fetch_document(address, "issuer")


class _Times(msgspec.Struct, frozen=True):
    """The claims of which every token needs a number."""

    exp: Second
    iat: Second
    nbf: Second = 0


class ForeignTokens:
    """Implements :class:`chalicelib.ports.ForeignIdentity`. Threads may share it."""

    def __init__(
        self,
        issuers: Iterable[Issuer],
        fetch: Fetch = _fetched,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._verifiers: dict[str, CachingVerifier] = {}
        for issuer in issuers:
            keys = KeyCache(partial(_keys_of, issuer.issuer, fetch), monotonic, ALGORITHMS, KEPT_KEYS_SECONDS)
            verifier = CachingVerifier(IssuerVerifier(issuer, keys, clock).verify, clock)
            for name in (issuer.issuer, *issuer.aliases):
                self._verifiers[name] = verifier

    @property
    def issuers(self) -> Collection[str]:
        """The values of ``iss``."""
        return self._verifiers.keys()

    def verify(self, token: str) -> Caller | None:
        """Return the caller of a valid token, None for a token of an issuer that the settings do not name.

        Raises UnauthenticatedError, IdentityUnavailableError if the issuer does not answer and no key is known.
        """
        if not self._verifiers:
            return None
        verifier = self._verifiers.get(_unverified_issuer(token))
        return None if verifier is None else verifier.verify(token)


class IssuerVerifier:
    """A verifier of the tokens of one issuer."""

    def __init__(self, issuer: Issuer, keys: KeyCache, clock: Callable[[], float] = time.time) -> None:
        self._issuer = issuer
        self._keys = keys
        self._clock = clock

    def verify(self, token: str) -> Caller:
        """Return the caller of a valid token. Raises UnauthenticatedError, IdentityUnavailableError."""
        payload = signed_payload(token, self._keys, _TYPES)
        try:
            claims = msgspec.json.decode(payload, type=dict[str, Any])
            times = msgspec.convert(claims, _Times)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise UnauthenticatedError(REFUSED) from error
        self._check(claims, times)
        issuer = self._issuer
        subject = _text(claims, issuer.subject_claim)
        if subject is None or "events" in claims:  # the latter is in tokens that sign a user out
            raise UnauthenticatedError(REFUSED)
        cohort = None if issuer.cohort_claim is None else _cohort(_claim(claims, issuer.cohort_claim))
        known = self._email(claims), _text(claims, issuer.name_claim), times.exp, cohort
        user = ForeignUser(issuer.issuer, subject, *known)
        groups = self._groups(claims)
        if issuer.cohort_claim is not None and cohort is None:
            groups -= {COHORT_ADMIN_GROUP}
        return Caller(user_id_of(issuer.issuer, subject), groups, times.iat, foreign=user)

    def _check(self, claims: Mapping[str, Any], times: _Times) -> None:
        now, issuer = self._clock(), self._issuer
        if times.exp + LEEWAY_SECONDS <= now:
            raise UnauthenticatedError("The token has expired")
        if times.nbf > now + LEEWAY_SECONDS or times.iat > now + ISSUED_AHEAD_SECONDS:
            raise UnauthenticatedError("The token is not valid yet")
        if claims.get("iss") not in (issuer.issuer, *issuer.aliases):
            raise UnauthenticatedError(REFUSED)
        if not set(_texts(_claim(claims, issuer.audience_claim))) & set(issuer.audience):
            raise UnauthenticatedError("The token is for another audience")

    def _email(self, claims: Mapping[str, Any]) -> str | None:
        """Return the address, None if nobody verified that it is the user's."""
        said = claims.get("email_verified")
        is_verified = self._issuer.trust_email or said is True or said == "true"
        return _text(claims, self._issuer.email_claim) if is_verified else None

    def _groups(self, claims: Mapping[str, Any]) -> frozenset[str]:
        """Return the groups, in which the issuer's groups of admins have the product's names."""
        if self._issuer.groups_claim is None:
            return frozenset()
        named = set(_texts(_claim(claims, self._issuer.groups_claim)))
        theirs = {ADMIN_GROUP: self._issuer.admin_group, COHORT_ADMIN_GROUP: self._issuer.cohort_admin_group}
        return frozenset(named - theirs.keys() | {ours for ours, name in theirs.items() if name in named})


def _unverified_issuer(token: str) -> str:
    """Return the ``iss`` that a token claims, empty if it has none. It only chooses who verifies the token."""
    if COMPACT.fullmatch(token) is None:
        return ""
    try:
        claimed = jwt.decode(token, options={"verify_signature": False}).get("iss")
    except (jwt.PyJWTError, ValueError, RecursionError):
        return ""
    return claimed if isinstance(claimed, str) else ""


def _keys_of(issuer: str, fetch: Fetch) -> Mapping[str, Any]:
    """Return the keys of an issuer, whose address its configuration names. Raises IdentityUnavailableError."""
    found = fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if found.get("issuer") != issuer:
        raise IdentityUnavailableError(f"the configuration of {issuer} is that of {found.get('issuer')!r}")
    address = found.get("jwks_uri")
    if not isinstance(address, str) or urlsplit(address).scheme not in ("https", urlsplit(issuer).scheme):
        raise IdentityUnavailableError(f"the configuration of {issuer} has no usable jwks_uri")
    return fetch(address)


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim by its name, or by the names of the objects around it, joined by dots."""
    if name in claims:
        return claims[name]
    outer, _, inner = name.partition(".")
    value = claims.get(outer)
    return _claim(value, inner) if inner and isinstance(value, dict) else None


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = _claim(claims, name)
    is_text = isinstance(value, str) and 0 < len(value) <= _MAXIMUM and value.isprintable()
    return value if is_text else None


def _cohort(value: Any) -> str | None:
    """Return what a claim names as the cohort, whatever it is: what is no cohort's name gets into the log later."""
    return None if value in (None, "") else str(value)[:_MAXIMUM].replace("\0", "\ufffd")


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str)]
