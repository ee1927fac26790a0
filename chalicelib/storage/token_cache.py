"""Caches the callers of verified tokens for an hour, or until the tokens expire.

Verifying a token takes a fifth of the time of a request, and a client sends the same token for an hour. After
an hour it is verified again, because the key that signed it may have been withdrawn. The cache holds digests, never
tokens.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from hashlib import sha256

import jwt

from chalicelib.domain.accounts import Caller

KEPT_SECONDS = 3_600.0
"""Seconds for which a token is not verified again."""

KEPT_TOKENS = 1_000
"""Maximum number of tokens in the cache of one process. The oldest one is removed first."""


class CachingVerifier:
    """A verifier that calls ``verify`` once for each token. Threads may share it."""

    def __init__(self, verify: Callable[[str], Caller], clock: Callable[[], float] = time.time) -> None:
        self._verify = verify
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[bytes, tuple[float, Caller]] = {}

    def verify(self, token: str) -> Caller:
        """Return the caller of a valid token. Raises UnauthenticatedError."""
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(digest)
        if known is not None and self._clock() < known[0]:
            return known[1]
        caller = self._verify(token)
        expires_at = float(jwt.decode(token, options={"verify_signature": False})["exp"])
        with self._lock:
            self._known.pop(digest, None)
            if len(self._known) >= KEPT_TOKENS:
                del self._known[next(iter(self._known))]
            self._known[digest] = min(expires_at, self._clock() + KEPT_SECONDS), caller
        return caller
