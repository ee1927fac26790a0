"""The reverse proxy in front of a busy API, and clients that hold what they should not."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from chalicelib import wiring
from tests.support.api import DONE, ORIGINS, TASK, Api, World, create, serving, sign_up
from tests.support.fakes.database import MemoryTaskStore
from tests.support.proxies import proxied
from tests.support.waiting import wait_for

BODY = json.dumps(TASK).encode()


class HeldTasks(MemoryTaskStore):
    """A store in which creations and lists take as long as a test wants."""

    def __init__(self, world: World) -> None:
        super().__init__(world.database)
        self.go_on = threading.Event()
        self.held: list[str] = []

    def insert(self, user_id: str, *rest: Any, **more: Any) -> Any:
        self.held.append(user_id)
        assert self.go_on.wait(120)
        return super().insert(user_id, *rest, **more)

    def page(self, user_id: str, *rest: Any, **more: Any) -> Any:
        self.held.append(user_id)
        assert self.go_on.wait(120)
        return super().page(user_id, *rest, **more)


@pytest.fixture
def store(world: World) -> Iterator[HeldTasks]:
    store = HeldTasks(world)
    container = world.container()
    container.tasks = store
    wiring.install(container)
    yield store
    store.go_on.set()


@pytest.fixture
def server(world: World) -> Iterator[str]:
    with serving() as address:
        yield address


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as pool:
        yield pool


def send(url: str, api: Api, method: str, path: str, body: Any = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {api.token}", "Origin": ORIGINS[0]}
    return httpx.request(method, url + path, json=body, headers=headers, timeout=30, trust_env=False)


def connected(url: str) -> socket.socket:
    return socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=60)


def everything(connection: socket.socket) -> bytes:
    """All bytes until the server closes the connection."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def test_a_full_queue_is_answered_at_once_with_503(
    server: str, store: HeldTasks, student: Api, other: Api, pool: ThreadPoolExecutor
) -> None:
    done = create_with(store, other)
    with proxied(server, requests=5, waiting=2, wait_seconds=20) as url:
        sent = [pool.submit(send, url, student, "POST", "/practice-tasks", TASK) for _ in range(6)]
        wait_for(lambda: len(store.held) == 1, what="the request in progress")
        # One is in progress, two wait, and three are refused at once.
        wait_for(lambda: sum(answer.done() for answer in sent) == 3, what="the full queue")
        waiting = [answer for answer in sent if not answer.done()]
        refused = next(answer for answer in sent if answer.done()).result()
        assert refused.status_code == 503
        assert refused.json() == {"detail": "The server is busy, please try again"}
        assert refused.headers["Retry-After"] == "1"
        assert refused.headers["Access-Control-Allow-Origin"] == ORIGINS[0]
        assert "Retry-After" in refused.headers["Access-Control-Expose-Headers"]
        assert send(url, student, "HEAD", "/").status_code == 503
        # Health and completions have places of their own.
        assert send(url, student, "GET", "/health").json()["status"] == "healthy"
        assert send(url, other, "PATCH", f"/practice-tasks/{done['id']}", DONE).status_code == 200
        store.go_on.set()
        assert statuses(waiting) == [201, 201, 201]
        assert send(url, student, "POST", "/practice-tasks", TASK).status_code == 201


def create_with(store: HeldTasks, api: Api) -> dict[str, Any]:
    """Create a task before anything is held."""
    store.go_on.set()
    task = create(api)
    store.go_on.clear()
    store.held.clear()
    return task


def statuses(answers: list[Future[httpx.Response]]) -> list[int]:
    return sorted(answer.result(30).status_code for answer in answers)


def test_a_request_that_waits_too_long_is_refused(
    server: str, store: HeldTasks, student: Api, pool: ThreadPoolExecutor
) -> None:
    with proxied(server, requests=5, wait_seconds=0.1) as url:
        first = pool.submit(send, url, student, "POST", "/practice-tasks", TASK)
        wait_for(lambda: len(store.held) == 1, what="the request in progress")
        assert send(url, student, "POST", "/practice-tasks", TASK).status_code == 503
        store.go_on.set()
        assert first.result(30).status_code == 201


def test_lists_of_one_student_leave_places_for_others(
    server: str, store: HeldTasks, world: World, pool: ThreadPoolExecutor
) -> None:
    ada, grace = sign_up(world), sign_up(world, "grace@example.org")
    with proxied(server, lists=4, lists_per_student=2, wait_seconds=20) as url:
        mine = [pool.submit(send, url, ada, "GET", "/practice-tasks?q=x") for _ in range(6)]
        wait_for(lambda: len(store.held) == 2, what="two lists")
        theirs = pool.submit(send, url, grace, "GET", "/practice-tasks")
        wait_for(lambda: len(store.held) == 3, what="the list of the other student")
        store.go_on.set()
        assert statuses([*mine, theirs]) == [200] * 7


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"POST /auth/login HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    ],
)
def test_a_client_that_does_not_go_on_is_closed(server: str, part: bytes) -> None:
    idle_seconds = 60 if part else 0.1
    with proxied(server, idle_seconds=idle_seconds, head_seconds=0.1, body_seconds=0.1) as url, connected(url) as slow:
        slow.sendall(part)
        answer = everything(slow)
    assert answer.startswith(b"HTTP/1.1 408 " if part else b"")
    assert (b'{"detail": "The request did not arrive in time"}' in answer) == bool(part)


def test_bytes_that_trickle_in_do_not_keep_a_connection(server: str) -> None:
    with proxied(server, head_seconds=1) as url, connected(url) as slow, contextlib.suppress(ConnectionError):
        slow.sendall(b"GET / HTTP/1.1\r\n")
        slow.settimeout(0.05)
        for _ in range(600):
            slow.sendall(b"X-A: b\r\n")
            with contextlib.suppress(TimeoutError):
                assert slow.recv(20).startswith(b"HTTP/1.1 408 ")
                return
    pytest.fail("the connection was kept")


def test_a_body_without_a_token_is_small(server: str) -> None:
    with proxied(server, small_body=1_000) as url:
        refused = httpx.post(f"{url}/auth/login", content=b"x" * 1_001, trust_env=False)
    assert (refused.status_code, refused.json()) == (
        413,
        {"detail": "The body must not be larger than 1000 bytes"},
    )


def test_large_bodies_are_bounded_together(server: str, student: Api) -> None:
    head = (
        f"POST /practice-tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {student.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    with proxied(server, small_body=1_000, large_bodies=50_000) as url, contextlib.ExitStack() as open_ones:
        held = [open_ones.enter_context(connected(url)) for _ in range(3)]
        for connection in held:
            connection.sendall((head % 20_000).encode() + b" " * 10_000)
        assert everything(held[2]).startswith(b"HTTP/1.1 503 ")
        assert send(url, student, "POST", "/practice-tasks", TASK).status_code == 201, "small ones are not affected"
        held[0].close()
        large = {**TASK, "task_content": "x" * 20_000}
        wait_for(lambda: send(url, student, "POST", "/practice-tasks", large).status_code == 201, what="the free bytes")


def test_the_longest_idle_connection_makes_room(server: str) -> None:
    with proxied(server, connections=3) as url, contextlib.ExitStack() as open_ones:
        idle = [open_ones.enter_context(connected(url)) for _ in range(3)]
        idle[0].sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle[0].recv(9_999).startswith(b"HTTP/1.1 200 ")
        assert httpx.get(url, trust_env=False).status_code == 200
        assert everything(idle[1]) == b""
        idle[0].sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle[0].recv(9_999).startswith(b"HTTP/1.1 200 ")


def test_answers_that_nobody_reads_are_bounded(server: str, student: Api) -> None:
    for _ in range(40):
        create(student, task_content="x" * 100_000)
    request = f"GET /practice-tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {student.token}\r\n\r\n".encode()
    with proxied(server, unsent=1) as url, connected(url) as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        lazy.sendall(request)
        wait_for(lambda: lazy.recv(1, socket.MSG_PEEK), what="the answer")

        def closed() -> bool:
            try:
                lazy.sendall(b"\r\n")
            except ConnectionError:
                return True
            return False

        wait_for(closed, what="the end of the connection")


def test_requests_sent_at_once_are_answered_in_order(server: str) -> None:
    with proxied(server) as url, connected(url) as connection:
        connection.sendall(
            b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nHEAD / HTTP/1.1\r\nHost: x\r\n\r\n"
            b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        answer = everything(connection)
    assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [b"200", b"200", b"404"]
    assert answer.count(b"Connection: close") == 1


def test_a_client_of_http_1_0_and_one_that_asks_first_are_served(server: str) -> None:
    with proxied(server) as url:
        with connected(url) as old:
            old.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            assert everything(old).startswith(b"HTTP/1.1 200 ")
        with connected(url) as asking:
            head = "POST /auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n"
            asking.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n".encode())
            assert asking.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            asking.sendall(b"{}")
            assert everything(asking).startswith(b"HTTP/1.1 422 ")


def test_a_request_during_which_the_api_dies_is_503() -> None:
    with socket.create_server(("127.0.0.1", 0)) as api:

        def die() -> None:
            connection, _ = api.accept()
            connection.recv(9_999)
            connection.close()

        dying = threading.Thread(target=die)
        dying.start()
        with proxied(f"http://127.0.0.1:{api.getsockname()[1]}") as url:
            answer = httpx.get(f"{url}/health", trust_env=False)
        dying.join()
    assert answer.status_code == 503
    assert "may have been carried out" in answer.json()["detail"]
    with proxied(f"http://127.0.0.1:{api.getsockname()[1] if api.fileno() >= 0 else 1}") as url:
        assert httpx.get(f"{url}/health", trust_env=False).status_code == 503
