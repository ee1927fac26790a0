"""The acceptance check of a deployment: it passes the real API, and names what a broken one does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.request import Request, urlopen

import pytest

from infra.deploy import DeployError, acceptance
from tests.support.api import World


def test_the_api_passes_and_no_account_is_left(url: str, world: World) -> None:
    said: list[str] = []
    acceptance.check(url, said.append)
    assert [line.split()[:2] for line in said][:3] == [
        ["GET", "/health"],
        ["POST", "/auth/register"],
        ["POST", "/auth/login"],
    ]
    assert said[-1].split()[:2] == ["GET", "/dashboard"]
    assert [account.deleted for account in world.database.users.values()] == [True]


Answer = tuple[int, Any]


class Front:
    """A server that hands requests on to the API, and answers some of them itself."""

    def __init__(self, target: str) -> None:
        self.replaced: dict[tuple[str, str], Callable[[Any], Answer]] = {}
        front = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
                headers = {
                    name: self.headers[name] for name in ("Authorization", "Content-Type") if name in self.headers
                }
                request = Request(target + self.path, body, headers, method=self.command)  # noqa: S310 - our own address
                try:
                    with urlopen(request, timeout=60) as given:  # noqa: S310 - our own address
                        status, content = given.status, given.read()
                except OSError as error:
                    status, content = getattr(error, "code", 502), b"{}"
                place = (self.command, re.sub(r"[0-9a-f-]{36}$", "ID", self.path))
                if place in front.replaced:
                    is_json = content[:1] in (b"{", b"[")
                    status, value = front.replaced[place](json.loads(content) if is_json else content.decode())
                    content = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def front(url: str) -> Iterator[Front]:
    front = Front(url)
    thread = Thread(target=front.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield front
    front.server.shutdown()
    thread.join()
    front.server.server_close()


@pytest.mark.parametrize(
    ("method", "path", "replaced", "message"),
    [
        ("GET", "/health", lambda _: (503, {"database": "down"}), "/health answered 503 for 0 s"),
        ("POST", "/auth/register", lambda _: (500, {}), "POST /auth/register answered 500"),
        ("POST", "/auth/login", lambda _: (401, {}), "POST /auth/login answered 401"),
        ("POST", "/practice-tasks", lambda a: (201, {**a, "predicted_correct": None}), "that it has a prediction"),
        ("PATCH", "/practice-tasks/ID", lambda a: (200, {**a, "completed": False}), "that it is completed"),
        ("GET", "/practice-tasks", lambda _: (200, []), "that it has the task alone"),
        ("GET", "/model/status", lambda _: (200, {}), "that it has the counter"),
        ("POST", "/auth/delete-account", lambda _: (503, {}), "POST /auth/delete-account answered 503"),
        ("GET", "/auth/me", lambda _: (200, {}), "GET /auth/me answered 200"),
        ("GET", "/login", lambda _: (200, "moved"), "that it is a page"),
    ],
)
def test_what_is_broken_is_named(
    front: Front, method: str, path: str, replaced: Callable[[Any], Answer], message: str
) -> None:
    front.replaced[method, path] = replaced
    with pytest.raises(DeployError) as failure:
        acceptance.check(front.url, lambda _: None, health_seconds=0.0)
    assert message in str(failure.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [("http://127.0.0.1:9", "answered nothing"), ("studysmart.example", "is not the address of an API")],
)
def test_an_address_without_an_api_is_named(url: str, message: str) -> None:
    with pytest.raises(DeployError, match=message):
        acceptance.check(url, lambda _: None, health_seconds=0.0)
