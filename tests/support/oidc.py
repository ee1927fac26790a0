"""A small OpenID Connect provider on this machine, whose keys can be rotated and which can be switched off."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

AUDIENCE = "the-app"


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """Return the RSA key of a name, the same in all tests."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    """Return the elliptic key of a name, the same in all tests."""
    return ec.generate_private_key(ec.SECP256R1())


def jwk_of(kid: str, key: Any) -> dict[str, Any]:
    """Return the public part of a key."""
    is_rsa = isinstance(key, rsa.RSAPrivateKey)
    kind: Any = jwt.algorithms.RSAAlgorithm if is_rsa else jwt.algorithms.ECAlgorithm
    alg = "RS256" if is_rsa else "ES256"
    return {**json.loads(kind.to_jwk(key.public_key())), "kid": kid, "use": "sig", "alg": alg}


class Provider:
    """The keys and the answers of an issuer. ``fetched`` counts the requests."""

    def __init__(self, issuer: str = "https://id.example.org") -> None:
        self.issuer = issuer
        self.keys: dict[str, Any] = {"one": rsa_key("one")}
        self.odd_keys: list[Any] = []
        self.configuration: dict[str, Any] = {}
        self.available = True
        self.fetched = 0

    def answer(self, path: str) -> dict[str, Any] | None:
        """Return the document of a path, None if the provider is away or has none."""
        self.fetched += 1
        if not self.available:
            return None
        if path.endswith("/.well-known/openid-configuration"):
            return {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys", **self.configuration}
        return {"keys": [*self.odd_keys, *(jwk_of(kid, key) for kid, key in self.keys.items())]}

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return the claims of a valid token. A change to ``...`` leaves a claim out."""
        now = int(time.time())
        full = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "auth0|123",
            "name": "Ada Lovelace",
            "email": "ada@example.org",
            "email_verified": True,
            "iat": now,
            "exp": now + 600,
            **changes,
        }
        return {name: value for name, value in full.items() if value is not ...}

    def token(self, kid: str = "one", key: Any = None, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """Return a signed token."""
        key = key or self.keys[kid]
        algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        return jwt.encode(self.claims(**changes), key, algorithm, {"kid": kid, **(header or {})})


@contextmanager
def served() -> Iterator[Provider]:
    """Serve a provider over HTTP on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document = provider.answer(self.path)
            self.send_response(503 if document is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    provider = Provider(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
