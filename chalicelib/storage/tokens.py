"""Verification of Cognito's access tokens: RFC 7519 (JWT), RS256 only, keys from the pool's JWKS (RFC 7517).

The keys are fetched once and kept. A key id that is not among them makes for a new fetch, because Cognito may have
changed its keys, but not more often than each half minute: a key id is whatever a stranger writes into a header.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import jwt

from chalicelib.domain.accounts import Caller
from chalicelib.domain.errors import IdentityUnavailableError, UnauthenticatedError

ALGORITHM = "RS256"
REFETCH_SECONDS = 30.0
RETRY_SECONDS = 1.0
"""How soon after a failed fetch the next one may be tried."""

LEEWAY_SECONDS = 10
"""Clocks of Cognito and ours may differ by this much."""

Fetch = Callable[[], Mapping[str, Any]]


def issuer_of(region: str, pool_id: str) -> str:
    """The ``iss`` of a pool's tokens."""
    return f"https://cognito-idp.{region}.amazonaws.com/{pool_id}"


def jwks_url_of(region: str, pool_id: str) -> str:
    """Where AWS publishes a pool's keys."""
    return f"{issuer_of(region, pool_id)}/.well-known/jwks.json"


def fetch_from(url: str, timeout_seconds: int = 3) -> Fetch:
    """A function that fetches a JWKS document over HTTP; IdentityUnavailableError when it cannot.

    By botocore's HTTP client, which knows the same proxies as its other requests and makes a TLS context only where
    there is TLS: ``urllib.request`` reads all of the system's authorities even for a plain address.
    """

    def fetch() -> Mapping[str, Any]:
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError
        from botocore.httpsession import URLLib3Session
        from botocore.utils import get_environ_proxies

        session = URLLib3Session(timeout=timeout_seconds, proxies=get_environ_proxies(url))
        try:
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

    return fetch


class KeyCache:
    """The public keys of a pool by key id, shared by all threads."""

    def __init__(self, fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._next_fetch = float("-inf")

    def key(self, kid: str) -> jwt.PyJWK:
        """The key of that id. UnauthenticatedError when there is none, IdentityUnavailableError when none is known."""
        if (known := self._keys.get(kid)) is not None:
            return known
        with self._lock:
            if kid not in self._keys and self._clock() >= self._next_fetch:
                self._refresh()
            keys = self._keys
        if not keys:
            raise IdentityUnavailableError("the keys of the user pool are not known")
        if kid not in keys:
            raise UnauthenticatedError("Could not validate credentials")
        return keys[kid]

    def _refresh(self) -> None:
        self._next_fetch = self._clock() + RETRY_SECONDS
        keys = (jwt.PyJWK(fields) for fields in self._fetch().get("keys", []) if fields.get("kty") == "RSA")
        self._keys = {key.key_id: key for key in keys if key.key_id is not None}
        self._next_fetch = self._clock() + REFETCH_SECONDS


class TokenVerifier:
    """Turns an access token of one pool and one client into its caller."""

    def __init__(self, keys: KeyCache, issuer: str, client_id: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._client_id = client_id

    def verify(self, token: str) -> Caller:
        """The caller of a valid token; UnauthenticatedError for any other, saying no more than a client needs."""
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(
                token,
                self._keys.key(str(header.get("kid"))),
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                # Cognito's access tokens name their client in client_id and have no audience. When one was issued
                # limits nothing (RFC 7519), and where our clock is behind, a fresh login must not be refused.
                options={"require": ["exp", "iss", "sub"], "verify_aud": False, "verify_iat": False},
            )
        except jwt.ExpiredSignatureError as error:
            raise UnauthenticatedError("The token has expired") from error
        except jwt.PyJWTError as error:
            raise UnauthenticatedError("Could not validate credentials") from error
        if claims.get("token_use") != "access" or claims.get("client_id") != self._client_id:
            raise UnauthenticatedError("Could not validate credentials")
        groups = claims.get("cognito:groups") or []
        return Caller(claims["sub"], frozenset(group for group in groups if isinstance(group, str)))
