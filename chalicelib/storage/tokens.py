"""Verifies Cognito's access tokens: JWT (RFC 7519), RS256 only, with the keys of the pool's JWKS (RFC 7517).

The keys are fetched once and kept. Cognito may rotate them, so an unknown key id causes a new fetch. Anyone can send an
unknown key id, so there is at most one such fetch in 30 seconds.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Annotated, Any

import jwt
import msgspec
from msgspec import Meta

from chalicelib import logs
from chalicelib.domain.accounts import Caller
from chalicelib.domain.errors import IdentityUnavailableError, UnauthenticatedError

ALGORITHM = "RS256"
FETCH_SECONDS = 3
REFETCH_SECONDS = 30.0
RETRY_SECONDS = 1.0
"""Minimum time between a failed fetch and the next one."""

LEEWAY_SECONDS = 10
"""Tolerated difference between Cognito's clock and ours."""

ISSUED_AHEAD_SECONDS = 900
"""The time of issue may be later than now by this, because a new token would be refused if our clock is behind."""

_COMPACT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
"""A token in three parts. Python's base64 skips other characters, so one token could be written in many ways."""

_REFUSED = "Could not validate credentials"

Fetch = Callable[[], Mapping[str, Any]]

_Second = Annotated[int, Meta(ge=0, le=2**40)]


class Claims(msgspec.Struct, frozen=True):
    """The claims of an access token that are read. A claim of another type or form is an invalid token.

    Cognito's access tokens have ``client_id`` in the place of an audience.
    """

    sub: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:-]{1,128}\Z")]
    iss: str
    client_id: str
    token_use: str
    exp: _Second
    iat: _Second
    nbf: _Second = 0
    groups: list[str] = msgspec.field(name="cognito:groups", default_factory=list)


def issuer_of(region: str, pool_id: str) -> str:
    """Return the ``iss`` of a pool's tokens."""
    return f"https://cognito-idp.{region}.amazonaws.com/{pool_id}"


def jwks_url_of(region: str, pool_id: str) -> str:
    """Return the address of a pool's keys."""
    return f"{issuer_of(region, pool_id)}/.well-known/jwks.json"


def fetch_jwks(url: str) -> Mapping[str, Any]:
    """Return the JWKS document at an address. Raises IdentityUnavailableError.

    botocore's HTTP client honours the same proxies as other AWS requests. ``urllib.request`` would load all certificate
    authorities of the system, even for an address without TLS.
    """
    from botocore.awsrequest import AWSRequest
    from botocore.exceptions import BotoCoreError
    from botocore.httpsession import URLLib3Session
    from botocore.utils import get_environ_proxies

    session = URLLib3Session(timeout=FETCH_SECONDS, proxies=get_environ_proxies(url))
    try:
        with logs.timed("cognito"):
            answer = session.send(AWSRequest("GET", url).prepare())
        if answer.status_code != HTTPStatus.OK:
            raise IdentityUnavailableError(f"fetching {url} failed: {answer.status_code}")
        document = json.loads(answer.content)
    except (BotoCoreError, ValueError) as error:  # no connection, or no JSON
        raise IdentityUnavailableError(f"fetching {url} failed: {error}") from error
    finally:
        session.close()
    if not isinstance(document, dict):
        raise IdentityUnavailableError(f"{url} holds no JWKS")
    return document


class KeyCache:
    """The public keys of a pool by key id, shared by all threads."""

    def __init__(self, fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._next_fetch = float("-inf")

    def key(self, kid: str) -> jwt.PyJWK:
        """Return the key with this id. Raises UnauthenticatedError, IdentityUnavailableError if no key is known."""
        if (known := self._keys.get(kid)) is not None:
            return known
        with self._lock:
            if kid not in self._keys and self._clock() >= self._next_fetch:
                self._refresh()
            keys = self._keys
        if not keys:
            raise IdentityUnavailableError("the keys of the user pool are not known")
        if kid not in keys:
            raise UnauthenticatedError(_REFUSED)
        return keys[kid]

    def _refresh(self) -> None:
        self._next_fetch = self._clock() + RETRY_SECONDS
        keys = (jwt.PyJWK(fields) for fields in self._fetch().get("keys", []) if fields.get("kty") == "RSA")
        self._keys = {key.key_id: key for key in keys if key.key_id is not None}
        self._next_fetch = self._clock() + REFETCH_SECONDS


class TokenVerifier:
    """A verifier of the access tokens of one pool and one client."""

    def __init__(self, keys: KeyCache, issuer: str, client_id: str, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._issuer = issuer
        self._client_id = client_id
        self._clock = clock

    def verify(self, token: str) -> Caller:
        """Return the caller of a valid token. Raises UnauthenticatedError."""
        claims, now = self._signed_claims(token), self._clock()
        if claims.exp + LEEWAY_SECONDS <= now:
            raise UnauthenticatedError("The token has expired")
        if claims.nbf > now + LEEWAY_SECONDS or claims.iat > now + ISSUED_AHEAD_SECONDS:
            raise UnauthenticatedError(_REFUSED)
        if (claims.iss, claims.client_id, claims.token_use) != (self._issuer, self._client_id, "access"):
            raise UnauthenticatedError(_REFUSED)
        return Caller(claims.sub, frozenset(claims.groups), claims.iat)

    def _signed_claims(self, token: str) -> Claims:
        if _COMPACT.fullmatch(token) is None:
            raise UnauthenticatedError(_REFUSED)
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            if not isinstance(kid, str):
                raise UnauthenticatedError(_REFUSED)
            payload = jwt.PyJWS().decode(token, self._keys.key(kid), algorithms=[ALGORITHM])
            return msgspec.json.decode(payload, type=Claims)
        # A header can be nested so deeply that json cannot read it.
        except (jwt.PyJWTError, msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise UnauthenticatedError(_REFUSED) from error
