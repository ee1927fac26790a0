"""Remembers which tokens were verified, until they expire.

Verifying a token (an RSA signature, and JSON decoded three times) takes a fifth of what a request takes. A client
sends the same token with every request for an hour, and nothing that was verified of that text can change, save that
it expires. Kept is a digest of the text, never the token.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Protocol

import jwt

from chalicelib.domain.accounts import Caller

KEPT_TOKENS = 1_000
"""Tokens remembered by one process; the one that came first makes room."""


class Verifier(Protocol):
    """Turns a token into its caller."""

    def verify(self, token: str) -> Caller:
        """The caller of a valid token; UnauthenticatedError otherwise."""
        ...


class RememberingVerifier:
    """A verifier that asks another one once for each token. Shared by all threads."""

    def __init__(self, verifier: Verifier, clock: Callable[[], float] = time.time) -> None:
        self._verifier = verifier
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[bytes, tuple[float, Caller]] = {}

    def verify(self, token: str) -> Caller:
        """The caller of a valid token; UnauthenticatedError otherwise, also for one that has expired since."""
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(digest)
        if known is not None and self._clock() < known[0]:
            return known[1]
        caller = self._verifier.verify(token)
        expires_at = float(jwt.decode(token, options={"verify_signature": False})["exp"])
        with self._lock:
            self._known.pop(digest, None)
            if len(self._known) >= KEPT_TOKENS:
                del self._known[next(iter(self._known))]
            self._known[digest] = expires_at, caller
        return caller
