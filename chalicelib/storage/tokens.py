"""Verifies Cognito's access tokens: JWT (RFC 7519), RS256 only, with the keys of the pool's JWKS (RFC 7517).

The keys are fetched once and kept. Cognito may rotate them, so an unknown key id causes a new fetch. Anyone can send an
unknown key id, so there is at most one such fetch in 30 seconds.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from http import HTTPStatus
from typing import Annotated, Any

import jwt
import msgspec
from msgspec import Meta

from chalicelib import logs
from chalicelib.domain.accounts import Caller
from chalicelib.domain.errors import IdentityUnavailableError, UnauthenticatedError

_log = logging.getLogger("studysmart.identity")

ALGORITHM = "RS256"
MINIMUM_RSA_BITS = 2_048
FETCH_SECONDS = 3
REFETCH_SECONDS = 30.0
RETRY_SECONDS = 1.0
"""Minimum time between a failed fetch and the next one."""

LEEWAY_SECONDS = 10
"""Tolerated difference between Cognito's clock and ours."""

ISSUED_AHEAD_SECONDS = 900
"""The time of issue may be later than now by this, because a new token would be refused if our clock is behind."""

COMPACT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
"""A token in three parts. Python's base64 skips other characters, so one token could be written in many ways."""

REFUSED = "Could not validate credentials"

Fetch = Callable[[], Mapping[str, Any]]

Second = Annotated[int, Meta(ge=0, le=2**40)]


class Claims(msgspec.Struct, frozen=True):
    """The claims of an access token that are read. A claim of another type or form is an invalid token.

    Cognito's access tokens have ``client_id`` in the place of an audience.
    """

    sub: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:-]{1,128}\Z")]
    iss: str
    client_id: str
    token_use: str
    exp: Second
    iat: Second
    nbf: Second = 0
    groups: list[str] = msgspec.field(name="cognito:groups", default_factory=list)


def issuer_of(region: str, pool_id: str) -> str:
    """Return the ``iss`` of a pool's tokens."""
    return f"https://cognito-idp.{region}.amazonaws.com/{pool_id}"


def jwks_url_of(region: str, pool_id: str) -> str:
    """Return the address of a pool's keys."""
    return f"{issuer_of(region, pool_id)}/.well-known/jwks.json"


def fetch_document(url: str, service: str = "cognito") -> Mapping[str, Any]:
    """Return the JSON document at an address, such as a JWKS. Raises IdentityUnavailableError.

    ``service`` is the name under which the log counts the time.
    botocore's HTTP client honours the same proxies as other AWS requests. ``urllib.request`` would load all certificate
    authorities of the system, even for an address without TLS.
    """
    from botocore.awsrequest import AWSRequest
    from botocore.exceptions import BotoCoreError
    from botocore.httpsession import URLLib3Session
    from botocore.utils import get_environ_proxies

    session = URLLib3Session(timeout=FETCH_SECONDS, proxies=get_environ_proxies(url))
    try:
        with logs.timed(service):
            answer = session.send(AWSRequest("GET", url).prepare())
        if answer.status_code != HTTPStatus.OK:
            raise IdentityUnavailableError(f"fetching {url} failed: {answer.status_code}")
        document = json.loads(answer.content)
    except (BotoCoreError, ValueError) as error:  # no connection, or no JSON
        raise IdentityUnavailableError(f"fetching {url} failed: {error}") from error
    finally:
        session.close()
    if not isinstance(document, dict):
        raise IdentityUnavailableError(f"{url} holds no JSON object")
    return document


class KeyCache:
    """The public keys of an issuer by key id, shared by all threads. Keys of other algorithms are skipped.

    Keys older than ``kept_seconds`` are fetched again, if the issuer answers.
    """

    def __init__(
        self,
        fetch: Fetch,
        clock: Callable[[], float] = time.monotonic,
        algorithms: Collection[str] = (ALGORITHM,),
        kept_seconds: float = float("inf"),
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._algorithms = algorithms
        self._kept_seconds = kept_seconds
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._next_fetch = float("-inf")
        self._is_away = False

    def key(self, kid: str) -> jwt.PyJWK:
        """Return the key with this id. Raises UnauthenticatedError, IdentityUnavailableError if no key is known."""
        if kid in self._keys:
            # Other threads need not wait for an issuer that may not answer.
            if self._is_old() and self._lock.acquire(blocking=False):
                try:
                    self._renew()
                finally:
                    self._lock.release()
        else:
            with self._lock:
                if kid not in self._keys and self._clock() >= self._next_fetch:
                    self._refresh()
        keys = self._keys
        if not keys or (kid not in keys and self._is_away):
            raise IdentityUnavailableError("the keys of the issuer are not known")
        if kid not in keys:
            raise UnauthenticatedError(REFUSED)
        return keys[kid]

    def _renew(self) -> None:
        """Fetch old keys again. The known ones go on working if the issuer does not answer."""
        if self._clock() < self._next_fetch:
            return
        try:
            self._refresh()
        except IdentityUnavailableError as error:
            self._next_fetch = self._clock() + REFETCH_SECONDS
            _log.warning("the known keys go on working: %s", error)

    def _is_old(self) -> bool:
        return self._clock() - self._fetched_at >= self._kept_seconds

    def _refresh(self) -> None:
        self._next_fetch, self._is_away = self._clock() + RETRY_SECONDS, True
        found = self._fetch().get("keys")
        keys = [self._usable(fields) for fields in (found if isinstance(found, list) else [])]
        usable = {key.key_id: key for key in keys if key is not None and key.key_id is not None}
        if not usable:
            raise IdentityUnavailableError("the issuer has no usable keys")
        self._keys, self._is_away = usable, False
        self._fetched_at = self._clock()
        self._next_fetch = self._clock() + REFETCH_SECONDS

    def _usable(self, fields: Any) -> jwt.PyJWK | None:
        """Return a key that signs with one of the algorithms, None for any other."""
        if not isinstance(fields, dict) or fields.get("use", "sig") != "sig":
            return None
        try:
            key = jwt.PyJWK(fields)
        except (jwt.PyJWTError, ValueError, KeyError, TypeError):
            return None
        size = getattr(key.key, "key_size", 0)
        is_weak = fields.get("kty") == "RSA" and size < MINIMUM_RSA_BITS
        return None if is_weak or key.algorithm_name not in self._algorithms else key


def signed_payload(token: str, keys: KeyCache, types: Collection[str] = ()) -> bytes:
    """Return the payload of a token with a valid signature. Raises UnauthenticatedError, IdentityUnavailableError.

    ``types`` are the admitted values of the header ``typ`` in upper case; the default is any.
    """
    if COMPACT.fullmatch(token) is None:
        raise UnauthenticatedError(REFUSED)
    try:
        header = jwt.get_unverified_header(token)
        kid = header.get("kid")
        if not isinstance(kid, str) or (types and str(header.get("typ", "")).upper() not in types):
            raise UnauthenticatedError(REFUSED)
        key = keys.key(kid)
        return bytes(jwt.PyJWS().decode(token, key, algorithms=[key.algorithm_name]))
    # A header can be nested so deeply that json cannot read it.
    except (jwt.PyJWTError, UnicodeError, RecursionError) as error:
        raise UnauthenticatedError(REFUSED) from error


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
            raise UnauthenticatedError(REFUSED)
        if (claims.iss, claims.client_id, claims.token_use) != (self._issuer, self._client_id, "access"):
            raise UnauthenticatedError(REFUSED)
        return Caller(claims.sub, frozenset(claims.groups), claims.iat)

    def _signed_claims(self, token: str) -> Claims:
        try:
            return msgspec.json.decode(signed_payload(token, self._keys), type=Claims)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise UnauthenticatedError(REFUSED) from error
