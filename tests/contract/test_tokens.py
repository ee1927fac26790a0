"""Access tokens: which are taken, which are not, and how the pool's keys are fetched."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from chalicelib.domain.errors import IdentityUnavailableError, UnauthenticatedError
from chalicelib.storage.tokens import KeyCache, TokenVerifier, fetch_document, issuer_of

ISSUER = issuer_of("eu-central-1", "eu-central-1_pool")
CLIENT = "the-client"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwk_of(key: rsa.RSAPrivateKey, kid: str) -> dict[str, Any]:
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    return {**public, "kid": kid, "alg": "RS256", "use": "sig"}


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    full = {
        "iss": ISSUER,
        "sub": "student-1",
        "client_id": CLIENT,
        "token_use": "access",
        "iat": now,
        "exp": now + 600,
        **changes,
    }
    return {name: value for name, value in full.items() if value is not None}


def signed(content: dict[str, Any], key: Any = KEY, kid: str = "one", algorithm: str = "RS256") -> str:
    return jwt.encode(content, key, algorithm=algorithm, headers={"kid": kid})


class Keys:
    """A JWKS document that counts how often it was fetched."""

    def __init__(self, **keys: rsa.RSAPrivateKey) -> None:
        self.keys = keys
        self.fetched = 0
        self.available = True

    def __call__(self) -> Mapping[str, Any]:
        self.fetched += 1
        if not self.available:
            raise IdentityUnavailableError("away")
        return {"keys": [jwk_of(key, kid) for kid, key in self.keys.items()]}


def verifier(keys: Keys, clock: Callable[[], float] = time.monotonic) -> TokenVerifier:
    return TokenVerifier(KeyCache(keys, clock), ISSUER, CLIENT)


def test_a_valid_token_gives_its_caller() -> None:
    caller = verifier(Keys(one=KEY)).verify(signed(claims()))
    assert (caller.user_id, caller.is_admin) == ("student-1", False)


def test_a_token_from_the_future_is_taken_because_our_clock_may_be_behind() -> None:
    later = int(time.time()) + 600
    assert verifier(Keys(one=KEY)).verify(signed(claims(iat=later, exp=later + 600))).user_id == "student-1"


def test_the_groups_of_a_token_make_an_admin() -> None:
    token = signed(claims(**{"cognito:groups": ["staff", "admins"]}))
    assert verifier(Keys(one=KEY)).verify(token).is_admin


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": int(time.time()) - 60},
        {"exp": None},
        {"iss": "https://cognito-idp.eu-central-1.amazonaws.com/another"},
        {"iss": None},
        {"client_id": "another"},
        {"client_id": None, "aud": CLIENT},
        {"token_use": "id"},
        {"token_use": None},
        {"sub": None},
        {"sub": 7},
        {"sub": ""},
        {"sub": "student\n"},
        {"iat": None},
        {"iat": "now"},
        {"iat": int(time.time()) + 86_400},
        {"nbf": int(time.time()) + 86_400},
        {"exp": str(int(time.time()) + 600)},
        {"exp": float("inf")},
        {"cognito:groups": {"admins": 1}},
        {"cognito:groups": ["admins", 1]},
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UnauthenticatedError):
        verifier(Keys(one=KEY)).verify(signed(claims(**changes)))


def test_a_token_of_another_key_is_refused() -> None:
    with pytest.raises(UnauthenticatedError):
        verifier(Keys(one=KEY)).verify(signed(claims(), OTHER_KEY))


def test_a_token_signed_with_the_public_key_as_a_secret_is_refused() -> None:
    """The confusion of algorithms; made by hand, because PyJWT does not sign with such a key."""
    public = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    head, content, _ = signed(claims(), "x" * 32, algorithm="HS256").split(".")
    signature = base64.urlsafe_b64encode(hmac.digest(public, f"{head}.{content}".encode(), "sha256")).decode()
    with pytest.raises(UnauthenticatedError):
        verifier(Keys(one=KEY)).verify(f"{head}.{content}.{signature.rstrip('=')}")


@pytest.mark.parametrize("algorithm", ["RS384", "PS256"])
def test_only_rs256_is_taken(algorithm: str) -> None:
    with pytest.raises(UnauthenticatedError):
        verifier(Keys(one=KEY)).verify(signed(claims(), algorithm=algorithm))


def test_an_unsigned_token_is_refused() -> None:
    with pytest.raises(UnauthenticatedError):
        verifier(Keys(one=KEY)).verify(jwt.encode(claims(), "", algorithm="none", headers={"kid": "one"}))


@pytest.mark.parametrize("token", ["", "a", "a.b.c", "..", "\u00e9", "a" * 10_000])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(UnauthenticatedError):
        verifier(Keys(one=KEY)).verify(token)


def test_keys_are_fetched_once() -> None:
    keys = Keys(one=KEY)
    one = verifier(keys)
    for _ in range(3):
        one.verify(signed(claims()))
    assert keys.fetched == 1


def test_a_new_key_is_found_without_a_restart() -> None:
    now = [0.0]
    keys = Keys(one=KEY)
    one = verifier(keys, lambda: now[0])
    one.verify(signed(claims()))
    keys.keys["two"] = OTHER_KEY
    now[0] += 31
    assert one.verify(signed(claims(), OTHER_KEY, "two")).user_id == "student-1"


def test_unknown_key_ids_do_not_make_for_a_fetch_each() -> None:
    keys = Keys(one=KEY)
    one = verifier(keys, lambda: 0.0)
    for number in range(5):
        with pytest.raises(UnauthenticatedError):
            one.verify(signed(claims(), OTHER_KEY, f"unknown-{number}"))
    assert keys.fetched == 1


def test_many_threads_at_a_cold_start_fetch_once() -> None:
    keys = Keys(one=KEY)
    one, start, token = verifier(keys), threading.Barrier(8), signed(claims())

    def work() -> None:
        start.wait()
        one.verify(token)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert keys.fetched == 1


def test_without_keys_it_is_an_outage_and_soon_tried_again() -> None:
    now = [0.0]
    keys = Keys(one=KEY)
    keys.available = False
    one = verifier(keys, lambda: now[0])
    for _ in range(3):
        with pytest.raises(IdentityUnavailableError):
            one.verify(signed(claims()))
    assert keys.fetched == 1
    keys.available = True
    now[0] += 2
    assert one.verify(signed(claims())).user_id == "student-1"


def test_known_keys_outlive_an_outage() -> None:
    now = [0.0]
    keys = Keys(one=KEY)
    one = verifier(keys, lambda: now[0])
    one.verify(signed(claims()))
    keys.available = False
    now[0] += 3600
    assert one.verify(signed(claims())).user_id == "student-1"


@pytest.mark.parametrize(
    ("status", "body"), [(200, b'{"keys": []}'), (200, b"[]"), (200, b"no json"), (404, b"{}"), (500, b"{}")]
)
def test_keys_come_over_http_or_are_an_outage(status: int, body: bytes) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/jwks.json"
        if body == b'{"keys": []}':
            assert fetch_document(url) == {"keys": []}
        else:
            with pytest.raises(IdentityUnavailableError):
                fetch_document(url)
        thread.join()


def test_no_answer_over_http_is_an_outage() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        port = server.server_port
    with pytest.raises(IdentityUnavailableError):
        fetch_document(f"http://127.0.0.1:{port}/jwks.json")
