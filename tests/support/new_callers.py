"""Attacks by service accounts and with tokens of other issuers, next to those of :mod:`tests.support.forgeries`."""

from __future__ import annotations

import hmac
import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization

from chalicelib.api.routing import Access, Operation
from chalicelib.domain.service_accounts import Scope
from tests.support.api import DONE, TASK, Answer, Api, World
from tests.support.fakes.database import MemoryServiceStore
from tests.support.foreign import Foreign
from tests.support.forgeries import Attack, Forgery, Headers, part, protected_operations
from tests.support.oidc import Provider, rsa_key

LEARNER = "pupil-1"
_LISTS = ("/practice-tasks", "/export", "/analytics/predicted", "/recommendations", "/analytics/items")
_METHODS = {"GET": None, "PATCH": DONE, "DELETE": None}


def bad_keys(store: MemoryServiceStore, valid_token: str) -> list[Forgery]:
    """Return keys of service accounts that must let nobody in."""
    past = datetime.now(UTC) - timedelta(seconds=1)
    valid, expired = store.create("valid", *Scope), store.create("expired", *Scope, expires_at=past)
    revoked = store.create("revoked", *Scope)
    store.revoke(revoked)
    texts = {
        "unknown": "ssk_" + "a" * 43,
        "expired": expired,
        "revoked": revoked,
        "empty": "ssk_",
        "beginning": valid[:10],
        "upper case": valid.upper(),
        "longer": f"{valid}x",
        "shorter": valid[:-1],
        "two": f"{valid},{valid}",
        "key and token": f"{valid} {valid_token}",
    }
    found = [Forgery(f"{name} key", [("Authorization", f"Bearer {text}")]) for name, text in texts.items()]
    headers: dict[str, Headers] = {
        "key in another header": [("X-Api-Key", valid), ("X-Learner-Id", LEARNER)],
        "key as a password": [("Authorization", f"Basic {valid}")],
        "key and token in two headers": [
            ("Authorization", f"Bearer {valid}"),
            ("Authorization", f"Bearer {valid_token}"),
        ],
    }
    found += [Forgery(name, sent) for name, sent in headers.items()]
    return [Forgery(one.name, [*one.headers, ("X-Learner-Id", LEARNER)]) for one in found]


def foreign_forgeries(foreign: Foreign) -> list[Forgery]:
    """Return tokens of other issuers that must let nobody in."""
    tokens = _foreign_tokens(foreign.school, foreign.google)
    return [Forgery(f"issuer: {name}", [("Authorization", f"Bearer {token}")]) for name, token in tokens]


def _foreign_tokens(school: Provider, google: Provider) -> Iterator[tuple[str, str]]:
    now = int(time.time())
    admins: dict[str, Any] = {"groups": ["admins"]}
    for audience in ("another", "", None, [], ["another"], "the-app ", "THE-APP", {"the-app": 1}, ...):
        yield f"audience {audience}", school.token(aud=audience, **admins)
    for expiry in (now - 300, 0, None, "soon", ...):
        yield f"expiry {expiry}", school.token(exp=expiry, **admins)
    yield "not valid yet", school.token(nbf=now + 300, **admins)
    yield "issued in the future", school.token(iat=now + 3_000, exp=now + 6_000, **admins)
    for issuer in ("https://other.example.org", f"{school.issuer}/", school.issuer.upper(), "", ...):
        yield f"issuer {issuer}", school.token(iss=issuer, **admins)
    for subject in ("", None, ...):
        yield f"subject {subject}", school.token(sub=subject, **admins)
    stranger = rsa_key("stranger")
    yield "unknown key", school.token("two", school.keys["one"], **admins)
    yield "a stranger's key", school.token("one", stranger, **admins)
    yield "a stranger's key in the header", school.token("one", stranger, {"jku": "http://127.0.0.1:9/"}, **admins)
    yield "another issuer's claims", school.token("one", stranger, iss=google.issuer)
    yield "no signature", f"{school.token(**admins).rpartition('.')[0]}."
    yield "algorithm none", jwt.encode(school.claims(**admins), "", "none", {"kid": "one"})
    der = (
        school.keys["one"]
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    # The library refuses to sign with a public key.
    text = f"{part(json.dumps({'alg': 'HS256', 'kid': 'one'}))}.{part(json.dumps(school.claims(**admins)))}"
    yield "HS256 with the public key", f"{text}.{part(hmac.new(der, text.encode(), 'sha256').digest())}"


class _Tally:
    """Counts answers, and those that are not as they must be."""

    def __init__(self) -> None:
        self.n = 0
        self.wrong: list[str] = []

    def check(self, what: str, answer: Answer, status: int, absent: str | None = None) -> None:
        self.n += 1
        if answer.status != status or (absent is not None and absent in answer.body):
            self.wrong.append(f"{what}: {answer.status}")


def attack_as_services(world: World, student: Api) -> Attack:
    """Ask as service accounts for what their scopes and learners do not allow."""
    store, tally = MemoryServiceStore(world.database), _Tally()
    own, other = Api(store.create("school", *Scope)), Api(store.create("tutor", *Scope))
    without = {scope: Api(store.create(f"without {scope}", *(set(Scope) - {scope}))) for scope in Scope}
    task = _for(own, LEARNER, "POST", "/practice-tasks", TASK).json
    for operation in protected_operations():
        path, name = _path(operation, task["id"]), f"{operation.method} {operation.path}"
        refused = own if operation.scope is None else without[operation.scope]
        tally.check(f"{name} without the scope", _for(refused, LEARNER, operation.method, path, {}), 403)
        tally.check(f"{name} of a student for a learner", _for(student, LEARNER, operation.method, path, {}), 403)
        if operation.scope is not None and operation.learner:
            tally.check(f"{name} without a learner", own.call(operation.method, path, {}), 422)
            for odd in ("", "a b", "x" * 129, "a, b"):
                tally.check(f"{name} for {odd[:9]!r}", _for(own, odd, operation.method, path, {}), 422)
    strangers = [
        *((own, learner) for learner in ("pupil-2", LEARNER.upper(), task["user_id"])),
        *((other, learner) for learner in (LEARNER, task["user_id"], f"school:{LEARNER}")),
    ]
    for api, learner in strangers:
        for method, body in _METHODS.items():
            answer = _for(api, learner, method, f"/practice-tasks/{task['id']}", body)
            tally.check(f"{method} of another learner's task for {learner}", answer, 404)
        for path in _LISTS:
            tally.check(f"{path} for {learner}", _for(api, learner, "GET", path), 200, absent=task["id"])
    for method, body in _METHODS.items():
        tally.check(f"{method} as a student", student.call(method, f"/practice-tasks/{task['id']}", body), 404)
    _name_a_student(tally, own, student)
    return Attack(tally.n, tally.wrong)


def _name_a_student(tally: _Tally, own: Api, student: Api) -> None:
    """Name the account of a student in the place of a learner: it must not be reached."""
    user_id = student.get("/auth/me").json["id"]
    asked = f"/predictions?topic=Fractions&difficulty=medium&user_id={user_id}"
    tally.check("predictions of a student", _for(own, LEARNER, "GET", asked), 403)
    tally.check("the profile of a student", _for(own, user_id, "GET", "/auth/me"), 200, absent="ada@example")
    answer = {"id": "forged", **TASK, "is_correct": True, "learner_id": user_id}
    stored = own.post("/answers", {"answers": [answer]})
    tally.check("answers for a student", stored, 200)
    tally.check("the student's tasks", student.get("/practice-tasks"), 200, absent=stored.json["answers"][0]["task_id"])


def attack_as_foreigners(foreign: Foreign) -> Attack:
    """Ask with valid tokens of other issuers for what only admins may."""
    tally = _Tally()
    cognito: dict[str, Any] = {"cognito:groups": ["admins"]}
    callers = {
        "no group": foreign.school.token(),
        "another group": foreign.school.token(groups=["staff", "ADMINS", "admins "]),
        "groups of Cognito": foreign.school.token(**cognito),
        "a group of an issuer without groups": foreign.google.token(groups=["admins"]),
    }
    for name, token in callers.items():
        for operation in protected_operations():
            if operation.access is Access.ADMIN:
                answer = Api(token).call(operation.method, _path(operation, "x"), {})
                tally.check(f"{operation.method} {operation.path} with {name}", answer, 403)
    return Attack(tally.n, tally.wrong)


def _for(api: Api, learner: str, method: str, path: str, body: object = None) -> Answer:
    return api.call(method, path, body, headers={"X-Learner-Id": learner})


def _path(operation: Operation, task_id: str) -> str:
    return re.sub("{.*?}", lambda match: task_id if match[0] == "{task_id}" else "x", operation.path)
