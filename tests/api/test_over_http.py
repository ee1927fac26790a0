"""The whole contract once with a real HTTP client against the local server, as an existing front end would use it."""

from __future__ import annotations

import re
import socket
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

import httpx
import pytest

from chalicelib import wiring
from chalicelib.config import settings_from
from chalicelib.storage.aws import aws_client
from chalicelib.wiring import Container
from tests.support.api import ORIGINS, PASSWORD, TASK, World, serving
from tests.support.proxies import proxied


@dataclass
class Backend:
    """A running API, and the way to make somebody its admin."""

    url: str
    make_admin: Callable[[str], None]


@pytest.fixture(params=["memory", pytest.param("real", marks=pytest.mark.slow)])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """The API over HTTP, on the fakes and on PostgreSQL and moto."""
    if request.param == "memory":
        world: World = request.getfixturevalue("world")
        yield Backend(request.getfixturevalue("url"), world.identity.make_admin)
        return
    settings = settings_from({**request.getfixturevalue("environment"), "CORS_ORIGINS": ",".join(ORIGINS)})
    container = Container(settings)
    wiring.install(container)
    cognito = aws_client("cognito-idp", settings.aws_region)

    def make_admin(user_id: str) -> None:
        cognito.admin_add_user_to_group(UserPoolId=settings.user_pool_id, Username=user_id, GroupName="admins")

    with serving() as server, proxied(server) as address:
        yield Backend(address, make_admin)
    wiring.install(None)
    container.engine.dispose()


@pytest.fixture
def client(backend: Backend) -> Iterator[httpx.Client]:
    origin = {"Origin": ORIGINS[0]}
    with httpx.Client(base_url=backend.url, headers=origin, trust_env=False, timeout=30) as client:
        yield client


def sign_up(client: httpx.Client, email: str) -> dict[str, str]:
    account = {"email": email, "password": PASSWORD}
    assert client.post("/auth/register", json=account).status_code == 201
    return sign_in(client, email)


def sign_in(client: httpx.Client, email: str) -> dict[str, str]:
    account = {"email": email, "password": PASSWORD}
    return {"Authorization": f"Bearer {client.post('/auth/login', json=account).json()['access_token']}"}


def test_a_front_end_can_do_all_of_the_contract(client: httpx.Client, backend: Backend) -> None:
    preflight = client.options("/practice-tasks", headers={"Access-Control-Request-Method": "POST"})
    assert preflight.is_success
    assert preflight.headers["Access-Control-Allow-Origin"] == ORIGINS[0]
    assert client.get("/").json()["docs"] == "/docs"
    assert client.get("/health").json()["status"] == "healthy"
    assert client.get("/docs").headers["Content-Type"].startswith("text/html")

    client.headers.update(sign_up(client, "ada@example.org"))
    me = client.get("/auth/me").json()
    assert client.put("/auth/me", json={"full_name": "Ada"}).json() == {
        **me,
        "full_name": "Ada",
        "profile_completed": True,
    }

    created = client.post("/practice-tasks", json={**TASK, "study_session_id": str(uuid.uuid4())})
    assert created.status_code == 201
    task = created.json()
    assert client.get(f"/practice-tasks/{task['id']}").json() == task
    assert client.get(f"/practice-tasks/subject/{quote(TASK['subject'])}/latest").json() == task
    assert client.get("/predictions", params={"topic": "Fractions", "difficulty": "easy"}).status_code == 200

    done = client.patch(f"/practice-tasks/{task['id']}", json={"is_correct": True, "actual_time_seconds": 12})
    assert done.json()["training"] == {"counter": 1, "threshold": 5, "queued": False}
    assert client.get("/practice-tasks", params={"completed": True}).json()[0]["id"] == task["id"]
    assert client.get("/model/status").json()["counter"] == 1
    assert client.post("/model/train").status_code == 403
    backend.make_admin(me["id"])
    client.headers.update(sign_in(client, "ada@example.org"))
    assert client.post("/model/train").status_code == 202
    assert client.post("/model/counter", json={"value": 0}).json()["counter"] == 0

    deleted = client.delete(f"/practice-tasks/{task['id']}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    changed = client.post("/auth/change-password", json={"current_password": PASSWORD, "new_password": "new password"})
    assert changed.status_code == 200
    assert client.post("/auth/delete-account", json={"password": "new password"}).status_code == 200
    assert client.get("/auth/me").status_code == 401


def test_pages_can_be_followed_over_http(client: httpx.Client) -> None:
    client.headers.update(sign_up(client, "ada@example.org"))
    ids = [client.post("/practice-tasks", json=TASK).json()["id"] for _ in range(3)]
    first = client.get("/practice-tasks?limit=2")
    following = urljoin(str(first.url), first.links["next"]["url"])
    assert urlsplit(following).path == "/practice-tasks"
    assert [task["id"] for task in [*first.json(), *client.get(following).json()]] == ids[::-1]


@pytest.mark.parametrize("name", ["AC/DC", "100% & more?", "Gr\u00f6\u00dfen #1", "a%2Fb"])
def test_a_subject_survives_the_path(client: httpx.Client, name: str) -> None:
    client.headers.update(sign_up(client, "ada@example.org"))
    task = client.post("/practice-tasks", json={**TASK, "subject": name}).json()
    found = client.get(f"/practice-tasks/subject/{quote(name, safe='')}/latest")
    assert found.json()["id"] == task["id"]


@pytest.mark.parametrize("path", ["/nothing", "/nothing/at/all", "/practice-tasks/1/2", "/n" * 40 + "?q=a/b"])
def test_unknown_paths_are_json_with_and_without_a_token(client: httpx.Client, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer x"}):
        answer = client.get(path, headers=headers)
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGINS[0]


def test_requests_of_many_threads_do_not_mix(client: httpx.Client) -> None:
    tokens = [sign_up(client, f"student{n}@example.org") for n in range(4)]

    def work(n: int) -> set[str]:
        for _ in range(5):
            assert client.post("/practice-tasks", json={**TASK, "topic": f"{n}"}, headers=tokens[n]).is_success
        return {task["topic"] for task in client.get("/practice-tasks", headers=tokens[n]).json()}

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [{"0"}, {"1"}, {"2"}, {"3"}]


def test_doubled_headers_break_nothing(backend: Backend) -> None:
    host, port = urlsplit(backend.url).hostname, urlsplit(backend.url).port
    with socket.create_connection((host, port), timeout=60) as connection:
        connection.sendall(
            b"GET /practice-tasks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\nOrigin: x\r\nOrigin: y\r\n\r\n"
        )
        status_line = connection.makefile("rb").readline().decode()
    assert re.match(r"HTTP/1\.1 401 ", status_line)


def test_what_is_large_is_compressed_for_those_who_can_read_it(client: httpx.Client) -> None:
    plain = client.get("/openapi.json", headers={"Accept-Encoding": "identity"})
    packed = client.get("/openapi.json", headers={"Accept-Encoding": "br, gzip;q=0.5"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.num_bytes_downloaded < plain.num_bytes_downloaded / 3
    assert packed.json() == plain.json()
    assert "content-encoding" not in client.get("/").headers
    assert "content-encoding" not in client.get("/openapi.json", headers={"Accept-Encoding": "gzip;q=0"}).headers


def test_a_head_request_has_no_body_and_keeps_the_connection(client: httpx.Client) -> None:
    assert client.head("/").content == b""
    assert client.get("/").status_code == 200


def test_a_path_in_plain_utf_8_is_understood(client: httpx.Client, backend: Backend) -> None:
    client.headers.update(sign_up(client, "ada@example.org"))
    client.post("/practice-tasks", json={**TASK, "subject": "Alg\u00e8bre"})
    host, port = urlsplit(backend.url).hostname, urlsplit(backend.url).port
    with socket.create_connection((host, port), timeout=30) as connection:
        head = "GET /practice-tasks/subject/Alg\u00e8bre/latest HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        connection.sendall(f"{head}Authorization: {client.headers['Authorization']}\r\n\r\n".encode())
        assert re.match(r"HTTP/1\.1 200 ", connection.makefile("rb").readline().decode())
