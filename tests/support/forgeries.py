"""Tokens and headers that must not let anybody in, and an API whose tokens can be signed by a test."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from chalicelib import wiring
from chalicelib.api import root
from chalicelib.api.routing import Access, Operation
from chalicelib.domain.accounts import Caller
from chalicelib.storage.token_cache import CachingVerifier
from chalicelib.storage.tokens import KeyCache, TokenVerifier
from tests.support.api import Api, World, create, installed_world
from tests.support.fakes.services import MemoryIdentity

ISSUER = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_pool"
CLIENT = "the-client"
KID = "one"

Headers = list[tuple[str, str]]


class Forgery(NamedTuple):
    """A request's headers that must be answered with 401."""

    name: str
    headers: Headers


@cache
def key() -> rsa.RSAPrivateKey:
    """Return the key of the pool."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def _other_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _jwk(of: rsa.RSAPrivateKey) -> dict[str, Any]:
    return {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(of.public_key())), "kid": KID, "alg": "RS256", "use": "sig"}


class SigningIdentity(MemoryIdentity):
    """Accounts in memory, whose access tokens are verified as those of Cognito are."""

    def __init__(self) -> None:
        super().__init__()
        keys = KeyCache(lambda: {"keys": [_jwk(key())]})
        self._verifier = CachingVerifier(TokenVerifier(keys, ISSUER, CLIENT).verify)

    def verify(self, token: str) -> Caller:
        return super().verify(token) if token in self._tokens else self._verifier.verify(token)

    def is_admin(self, user_id: str, group: str = "admins") -> bool:
        """Every account is an administrator, so a request can only be refused for its token."""
        return True


@contextmanager
def signing_world() -> Iterator[World]:
    """Let the application use fakes that accept tokens of :func:`signed`."""
    with installed_world() as world:
        world.identity = SigningIdentity()
        wiring.install(world.container())
        yield world


def claims(user_id: str, **changes: Any) -> dict[str, Any]:
    """Return the claims of an admin's valid token. A change to ``...`` leaves a claim out."""
    now = int(time.time())
    full = {
        "iss": ISSUER,
        "sub": user_id,
        "client_id": CLIENT,
        "token_use": "access",
        "cognito:groups": ["admins"],
        "iat": now,
        "exp": now + 600,
        **changes,
    }
    return {name: value for name, value in full.items() if value is not ...}


def part(content: bytes | str) -> str:
    """Return one part of a token."""
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def signed(content: Mapping[str, Any] | str, header: Mapping[str, Any] | str | None = None, by: Any = None) -> str:
    """Return a token with a right signature of the pool's key, or of another one, over any content."""
    head = {"alg": "RS256", "kid": KID} if header is None else header
    first = part(head if isinstance(head, str) else json.dumps(head))
    second = part(content if isinstance(content, str) else json.dumps(content))
    signature = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(
        f"{first}.{second}".encode(), by or key()
    )
    return f"{first}.{second}.{part(signature)}"


_TEXTS: tuple[Any, ...] = ("", " ", None, 0, 7, True, 1.5, [], ["x"], {}, {"x": "y"}, "x" * 100_000)
"""Values of wrong types and lengths, for a claim or a header that should be a short text."""

_ODD_NAMES = ("a b", "a\0", "\n", "x\r\ny", "\u202e", "ä", "\ud800", "' OR 1=1 --", "../x", "{id}", "%00", "a\n")

_ODD_TIMES: tuple[Any, ...] = ("", "soon", "99999999999", None, True, [], [9e9], {}, -1, 1.5, 2**70, float("nan"))
_ODD_TIMES += (float("inf"), float("-inf"), 1e308)

_ODD_GROUPS: tuple[Any, ...] = ("admins", {"admins": 1}, 1, True, 1.5, None, ["admins", 1], [["admins"]], [None], [{}])


def _claims_refused(user_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
    now = int(time.time())
    for name, values in {
        "sub": (*_TEXTS, *_ODD_NAMES, "unknown", "00000000-0000-4000-8000-000000000000", user_id.upper() + "0"),
        "iss": (*_TEXTS, ISSUER + "/", ISSUER.upper(), ISSUER + "2", [ISSUER]),
        "client_id": (*_TEXTS, CLIENT + " ", [CLIENT]),
        "token_use": (*_TEXTS, "id", "refresh", "ACCESS", ["access"]),
        "exp": (*_ODD_TIMES, 0, now - 60, now - 86_400),
        "iat": (*_ODD_TIMES, now + 86_400, 2**40),
        "nbf": (*_ODD_TIMES, now + 86_400, 2**40),
        "cognito:groups": _ODD_GROUPS,
    }.items():
        if name not in ("nbf", "cognito:groups"):
            yield f"no {name}", claims(user_id, **{name: ...})
        for value in values:
            yield f"{name} {str(value)[:20]!r}", claims(user_id, **{name: value})
    yield "aud in the place of client_id", claims(user_id, client_id=..., aud=CLIENT)
    yield "no claims", {}


def _forged_tokens(user_id: str) -> Iterator[tuple[str, str]]:
    good = claims(user_id)
    valid = signed(good)
    first, second, last = valid.split(".")
    for algorithm in ("none", "None", "NONE", "nOnE", ""):
        for signature in ("", "x", last):
            head = part(json.dumps({"alg": algorithm, "kid": KID}))
            yield f"algorithm {algorithm!r}", f"{head}.{second}.{signature}"
    public = key().public_key()
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    secrets = {
        "PEM": public.public_bytes(serialization.Encoding.PEM, spki),
        "DER": public.public_bytes(serialization.Encoding.DER, spki),
        "JWK": json.dumps(_jwk(key())).encode(),
        "nothing": b"",
        "kid": KID.encode(),
    }
    for name, secret in secrets.items():
        for bits in (256, 384, 512):
            text = f"{part(json.dumps({'alg': f'HS{bits}', 'kid': KID}))}.{second}"
            signature = part(hmac.new(secret, text.encode(), getattr(hashlib, f"sha{bits}")).digest())
            yield f"HS{bits} with the {name}", f"{text}.{signature}"
    for algorithm in ("RS384", "RS512", "PS256", "PS512"):
        yield algorithm, jwt.encode(good, key(), algorithm, {"kid": KID})
    yield "ES256", jwt.encode(good, ec.generate_private_key(ec.SECP256R1()), "ES256", {"kid": KID})
    yield "another key", signed(good, by=_other_key())
    for kid in (*_TEXTS, "two", "../../etc/passwd", "' UNION SELECT 1 --", "http://localhost/", "one\0", "ONE"):
        yield f"kid {str(kid)[:20]!r}", signed(good, {"alg": "RS256", "kid": kid}, _other_key())
        yield f"kid {str(kid)[:20]!r} and the right key", signed(good, {"alg": "RS256", "kid": kid})
    own = {"alg": "RS256", "kid": KID}
    for name, value in {"jwk": _jwk(_other_key()), "jku": "http://127.0.0.1:9/", "x5u": "http://127.0.0.1:9/"}.items():
        yield f"own key in {name}", signed(good, {**own, name: value}, _other_key())
        yield f"own key in {name}, no kid", signed(good, {"alg": "RS256", name: value}, _other_key())
    yield "critical extension", signed(good, {**own, "crit": ["exp"], "exp": 1})
    yield "detached payload", signed(good, {**own, "crit": ["b64"], "b64": False})
    for header in (
        "",
        "[]",
        "null",
        "7",
        '"x"',
        "{",
        "[" * 50_000,
        '{"alg":' * 20_000,
        "\0",
        "\ud800",
        '{"kid":"one"}',
    ):
        yield f"header {header[:12]!r}", signed(good, header)
    for payload in ("", "[]", "null", "7", '"x"', "{", "[" * 50_000, '{"sub":' * 20_000, "\0", "\ud800"):
        yield f"payload {payload[:12]!r}", signed(payload)
    for name, content in _claims_refused(user_id):
        yield name, signed(content)
    swapped = part(json.dumps({**good, "cognito:groups": ["admins", "staff"]}))
    yield "another payload", f"{first}.{swapped}.{last}"
    yield "no signature", f"{first}.{second}."
    yield "two parts", f"{first}.{second}"
    yield "four parts", f"{valid}.{last}"
    yield "an encrypted token", f"{valid}.{last}.{last}"
    yield "half a signature", f"{first}.{second}.{last[: len(last) // 2]}"
    yield "signature in standard base64", f"{first}.{second}.{last.replace('-', '+').replace('_', '/')}+/="
    for position in range(0, len(second), 37):
        flipped = second[:position] + ("A" if second[position] != "A" else "B") + second[position + 1 :]
        yield f"flipped character {position}", f"{first}.{flipped}.{last}"
    for text in ("", ".", "..", "...", "a", "a.b.c", "null", "undefined", "x" * 60_000, f"{valid}, {valid}", "\u00e9"):
        yield f"text {text[:12]!r}", text


def forgeries(user_id: str) -> list[Forgery]:
    """Return all forgeries that try to be an admin with the id of an existing account."""
    valid, forged = signed(claims(user_id)), signed(claims(user_id), by=_other_key())
    found = [Forgery(name, [("Authorization", f"Bearer {token}")]) for name, token in _forged_tokens(user_id)]
    schemes = ["", "Bearer", "Bearer ", "Basic " + valid, "Token " + valid, valid, "Bearer:" + valid, "Bearer" + valid]
    schemes += [f"Bearer Bearer {valid}", f"Bearer {valid},", f'Bearer "{valid}"', f"Bearer token={valid}"]
    schemes += [
        f"Bearer {valid} {valid}",
        f"Bearer {valid};x",
        f"Basic x, Bearer {valid}",
        f"Bearer {forged},Bearer {valid}",
    ]
    found += [Forgery(f"scheme {text[:14]!r}", [("Authorization", text)]) for text in schemes]
    found += [
        Forgery("no header", []),
        Forgery("cookie", [("Cookie", f"Authorization=Bearer {valid}; access_token={valid}; token={valid}")]),
        Forgery("other headers", [("X-Authorization", f"Bearer {valid}"), ("X-Access-Token", valid), ("Token", valid)]),
        Forgery("proxy header", [("Proxy-Authorization", f"Bearer {valid}"), ("X-Forwarded-User", user_id)]),
        Forgery(
            "claims in headers", [("X-Amzn-Oidc-Identity", user_id), ("X-User-Id", user_id), ("X-Groups", "admins")]
        ),
        Forgery("two forged headers", [("Authorization", f"Bearer {forged}"), ("Authorization", f"Bearer {forged}")]),
        Forgery(
            "a forged and a valid header", [("Authorization", f"Bearer {forged}"), ("Authorization", f"Bearer {valid}")]
        ),
        Forgery(
            "a valid and a forged header", [("Authorization", f"Bearer {valid}"), ("Authorization", f"Bearer {forged}")]
        ),
    ]
    return found


class Attack(NamedTuple):
    """How many requests were sent, and those that were not refused as they must be."""

    n: int
    wrong: list[str]


def protected_operations() -> list[Operation]:
    """Return all documented operations that need a token."""
    return [one for one in root.documented if one.access is not Access.PUBLIC]


def attack(url: str, forged: Iterable[Forgery], operations: Iterable[Operation], task_id: str) -> Attack:
    """Send each forgery to each operation. The answer must be 401, or 400 or 431 where a header is too long to read."""
    n, wrong = 0, []
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    operations = list(operations)
    for forgery in forged:
        size = sum(len(name) + len(value) for name, value in forgery.headers)
        for operation in operations:
            status = _status(connection, operation, forgery.headers, task_id)
            n += 1
            if status != 401 and not (status in (400, 431) and size > 60_000):
                wrong.append(f"{operation.method} {operation.path} with {forgery.name}: {status}")
    connection.close()
    return Attack(n, wrong)


def _status(connection: http.client.HTTPConnection, operation: Operation, headers: Headers, task_id: str) -> int:
    path = re.sub("{.*?}", lambda match: task_id if match[0] == "{task_id}" else "x", operation.path)
    body = b"{}" if operation.body is not None else b""
    connection.putrequest(operation.method, path, skip_accept_encoding=True)
    for name, value in [*headers, ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]:
        connection.putheader(name, value.encode("utf-8", "surrogatepass"))
    try:
        connection.endheaders(body)
        answer = connection.getresponse()
        answer.read()
    except (BrokenPipeError, ConnectionResetError):  # refused before all of it was read
        connection.close()
        return 431
    return answer.status


def task_of(student: Api) -> str:
    """Return the id of a new task of a student."""
    return str(create(student)["id"])


def attack_as(student: Api, foreign_task: str) -> Attack:
    """Ask as a student for another student's task, which must be a 404, and for what only admins may, a 403."""
    wrong, n = [], 0
    for method, body in {"GET": None, "PATCH": {"is_correct": True, "actual_time_seconds": 3}, "DELETE": None}.items():
        for task_id in (foreign_task, foreign_task.upper(), "00000000-0000-4000-8000-000000000000", "x", "%00", "'--"):
            n += 1
            status = student.call(method, f"/practice-tasks/{task_id}", body).status
            wrong += [] if status == 404 else [f"{method} of the foreign task {task_id}: {status}"]
    for operation in protected_operations():
        if operation.access is Access.ADMIN:
            n += 1
            status = student.call(operation.method, operation.path, {}).status
            wrong += [] if status == 403 else [f"{operation.method} {operation.path} as a student: {status}"]
    for path in ("/practice-tasks", "/export", "/analytics/predicted", "/recommendations"):
        n += 1
        answer = student.get(path)
        wrong += [f"{path} shows a foreign task"] if answer.status != 200 or foreign_task in answer.body else []
    return Attack(n, wrong)
