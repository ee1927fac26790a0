"""The acceptance check of a deployed address: ``python -m infra.deploy.acceptance URL``.

It does what a student does (register, sign in, create, complete, read) with an account of its own, which it deletes at
the end, and it asks for two pages. Each answer is looked at, not only its status.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlsplit

from infra.deploy import DeployError

HEALTH_SECONDS: Final = 120.0
"""How long a new address may take until it is healthy: a name has to spread, and a first Lambda to start."""

_TIMEOUT = 30.0
_TASK = {"subject": "Acceptance", "topic": "Deployment", "difficulty": "medium", "task_content": "1/2 + 1/3 = ?"}


def check(url: str, say: Callable[[str], None] = print, health_seconds: float = HEALTH_SECONDS) -> None:
    """Do once what a student does. Raises DeployError with the request that went wrong."""
    address = url.rstrip("/")
    _wait_until_healthy(address, say, health_seconds)
    student = _Student(address, say)
    student.run()


def _wait_until_healthy(address: str, say: Callable[[str], None], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            status, answer, milliseconds = _request(address, "GET", "/health", None, {})
        except (OSError, HTTPException) as error:
            status, answer, milliseconds = 0, f"{type(error).__name__}: {error}", 0.0
        if status == 200:
            say(f"    GET    /health                        {milliseconds:6.0f} ms")
            return
        if time.monotonic() > deadline:
            raise DeployError(f"GET {address}/health answered {status or 'nothing'} for {seconds:.0f} s: {answer}")
        time.sleep(min(2.0, seconds / 10))


def _request(
    address: str, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
) -> tuple[int, Any, float]:
    """Return status, decoded answer and milliseconds of a request."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise DeployError(f"{address!r} is not the address of an API")
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.netloc, timeout=_TIMEOUT)
    payload = None if body is None else json.dumps(body)
    given = {**headers, **({} if payload is None else {"Content-Type": "application/json"})}
    started = time.perf_counter()
    try:
        connection.request(method, parts.path.rstrip("/") + path, payload, given)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
    finally:
        connection.close()
    milliseconds = (time.perf_counter() - started) * 1_000
    try:
        return answer.status, json.loads(text) if text else None, milliseconds
    except ValueError:
        return answer.status, text, milliseconds


class _Student:
    """The account of one check."""

    def __init__(self, address: str, say: Callable[[str], None]) -> None:
        self._address, self._say = address, say
        self._headers: dict[str, str] = {}
        self._password = secrets.token_urlsafe(16)
        # SES's simulator takes the mail with the code. A mail that bounces would harm the sender's reputation.
        self._email = f"success+{secrets.token_hex(8)}@simulator.amazonses.com"

    def run(self) -> None:
        account = {"email": self._email, "password": self._password}
        self._call("POST", "/auth/register", {**account, "full_name": "Acceptance check"})
        self._headers["Authorization"] = f"Bearer {self._call('POST', '/auth/login', account)['access_token']}"
        try:
            self._practise()
        finally:
            self._call("POST", "/auth/delete-account", {"password": self._password})
        self._call("GET", "/auth/me", expected=401)
        for path in ("/login", "/dashboard"):
            page = self._call("GET", path)
            self._require(isinstance(page, str) and "<html" in page.lower(), f"GET {path}", "is a page", page)

    def _practise(self) -> None:
        task = self._call("POST", "/practice-tasks", _TASK)
        probable = task.get("predicted_correct")
        self._require(isinstance(probable, float) and 0 <= probable <= 1, "the new task", "has a prediction", task)
        done = self._call(
            "PATCH",
            f"/practice-tasks/{task['id']}",
            {"completed": True, "is_correct": True, "actual_time_seconds": 30},
        )
        self._require(done.get("completed") is True and "training" in done, "the task", "is completed", done)
        listed = self._call("GET", "/practice-tasks")
        self._require([one["id"] for one in listed] == [task["id"]], "the list", "has the task alone", listed)
        status = self._call("GET", "/model/status")
        self._require("counter" in status and "threshold" in status, "the status", "has the counter", status)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None, expected: int | None = None) -> Any:
        try:
            status, answer, milliseconds = _request(self._address, method, path, body, self._headers)
        except (OSError, HTTPException) as error:
            raise DeployError(f"{method} {path} failed: {type(error).__name__}: {error}") from error
        if status != expected if expected is not None else not 200 <= status < 300:
            raise DeployError(f"{method} {path} answered {status}: {json.dumps(answer)[:300]}")
        shown = path if len(path) <= 30 else path[:29] + "…"
        self._say(f"    {method:<6} {shown:<30} {milliseconds:6.0f} ms")
        return answer

    @staticmethod
    def _require(holds: bool, what: str, expectation: str, answer: Any) -> None:
        if not holds:
            raise DeployError(f"{what} should show that it {expectation}, but is {json.dumps(answer)[:300]}")


def main() -> int:
    """Check the address that the command line names; return the exit status."""
    if len(sys.argv) != 2:
        print("usage: python -m infra.deploy.acceptance URL", file=sys.stderr)
        return 2
    try:
        check(sys.argv[1])
    except DeployError as error:
        print(f"acceptance: {error}", file=sys.stderr)
        return 1
    print("Every request was answered as expected.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
