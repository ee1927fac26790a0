"""The life of an account over HTTP, on PostgreSQL and moto, with a second process that serves the same student."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from chalicelib import wiring
from chalicelib.config import settings_from
from chalicelib.domain.errors import UnauthenticatedError
from chalicelib.services.sessions import Sessions
from chalicelib.wiring import Container
from tests.support.api import serving

pytestmark = pytest.mark.slow

EMAIL = "ada@example.org"
FIRST, SECOND, THIRD = "correct horse", "battery staple", "third password"


@pytest.fixture
def container(environment: dict[str, str]) -> Iterator[Container]:
    container = Container(settings_from(environment))
    wiring.install(container)
    yield container
    wiring.install(None)
    container.engine.dispose()


@pytest.fixture
def call(container: Container) -> Iterator[Callable[..., httpx.Response]]:
    """Posts to the API, with a token if one is given. Without a body it is a GET."""
    with serving() as url, httpx.Client(base_url=url, trust_env=False, timeout=120) as client:

        def send(path: str, body: object = None, token: str | None = None) -> httpx.Response:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            return client.request("GET" if body is None else "POST", path, json=body, headers=headers)

        yield send


def test_the_life_of_an_account(container: Container, call: Callable[..., httpx.Response], outbox: Path) -> None:
    now = [0.0]
    elsewhere = Sessions(container.users, container.identity, lambda: now[0])

    def code(subject: str) -> str:
        sent = [json.loads(line) for line in outbox.read_text().splitlines()]
        return str([one["code"] for one in sent if one["to"] == EMAIL and subject in one["subject"]][-1])

    def login(password: str) -> dict[str, str]:
        answer = call("/auth/login", {"email": EMAIL, "password": password})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def status(token: str) -> int:
        return call("/auth/me", token=token).status_code

    def ends_elsewhere(*tokens: str) -> None:
        """Let a minute pass in the other process, which then refuses the tokens."""
        now[0] += 60.0
        for token in tokens:
            with pytest.raises(UnauthenticatedError):
                elsewhere.check(container.identity.verify(token), token)

    account = {"email": EMAIL, "password": FIRST, "full_name": "Ada"}
    assert call("/auth/register", account).status_code == 201
    first = login(FIRST)["access_token"]
    assert call("/auth/verify-email", {"code": code("verify")}, first).status_code == 200
    assert call("/auth/me", token=first).json()["email_verified"] is True

    refreshed = call("/auth/refresh", {"refresh_token": login(FIRST)["refresh_token"]}).json()
    assert status(refreshed["access_token"]) == 200
    elsewhere.check(container.identity.verify(first), first)

    assert call("/auth/forgot-password", {"email": EMAIL}).status_code == 200
    reset = {"email": EMAIL, "code": code("new password"), "new_password": SECOND}
    assert call("/auth/reset-password", {**reset, "code": "0"}).status_code == 400
    assert call("/auth/reset-password", reset).status_code == 200
    assert call("/auth/reset-password", reset).status_code == 400
    assert (status(first), status(refreshed["access_token"])) == (401, 401)
    assert call("/auth/refresh", {"refresh_token": refreshed["refresh_token"]}).status_code == 401
    ends_elsewhere(first, refreshed["access_token"])

    mine, other = login(SECOND), login(SECOND)
    change = {"current_password": SECOND, "new_password": THIRD}
    changed = call("/auth/change-password", change, mine["access_token"]).json()
    assert (status(mine["access_token"]), status(changed["access_token"])) == (200, 200)
    assert status(other["access_token"]) == 401
    assert call("/auth/refresh", {"refresh_token": other["refresh_token"]}).status_code == 401
    assert call("/auth/refresh", {"refresh_token": changed["refresh_token"]}).status_code == 200
    ends_elsewhere(other["access_token"])
    elsewhere.check(container.identity.verify(mine["access_token"]), mine["access_token"])

    last = login(THIRD)["access_token"]
    for refused in ({"password": SECOND}, {}):
        assert call("/auth/delete-account", refused, last).status_code == 400
    assert status(last) == 200
    assert call("/auth/delete-account", {"password": THIRD}, last).status_code == 200
    assert (status(last), status(changed["access_token"])) == (401, 401)
    ends_elsewhere(last)
    assert call("/auth/register", {**account, "password": THIRD}).status_code == 201
