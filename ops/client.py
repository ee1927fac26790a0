"""A small HTTP client of the API for the demonstration and the benchmarks: one connection, kept open."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit


class ApiError(Exception):
    """The API answered with a status that was not expected."""

    def __init__(self, method: str, path: str, status: int, body: str) -> None:
        super().__init__(f"{method} {path} answered {status}: {body[:300]}")
        self.status = status


class ApiClient:
    """One student's connection. ``last_ms`` is how long the last request took, in milliseconds."""

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        parts = urlsplit(url)
        self._prefix = parts.path.rstrip("/")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.netloc, timeout=timeout)
        self._headers: dict[str, str] = {}
        self.last_ms = 0.0

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The decoded JSON answer of a request; ApiError when the status is not 2xx."""
        payload = None if body is None else json.dumps(body).encode()
        headers = self._headers | ({"Content-Type": "application/json"} if payload is not None else {})
        if self._connection.sock is None:
            # http.client switches Nagle's algorithm off, which would hold a small body back for 40 ms.
            self._connection.connect()
        started = time.perf_counter()
        self._connection.request(method, f"{self._prefix}{path}", payload, headers)
        answer = self._connection.getresponse()
        raw = answer.read()
        self.last_ms = (time.perf_counter() - started) * 1_000
        if not 200 <= answer.status < 300:
            raise ApiError(method, path, answer.status, raw.decode("utf-8", "replace"))
        return json.loads(raw) if raw else None

    def register_and_login(self, full_name: str) -> str:
        """Make an account with an e-mail address and password of its own, log in, and return the address."""
        email = f"student-{uuid.uuid4().hex[:12]}@example.com"
        password = uuid.uuid4().hex
        self.request("POST", "/auth/register", {"email": email, "password": password, "full_name": full_name})
        self.sign_in(email, password)
        return email

    def sign_in(self, email: str, password: str) -> str:
        """Log in to an account that exists, and return the token."""
        answer = self.request("POST", "/auth/login", {"email": email, "password": password})
        token = str(answer["access_token"])
        self._headers["Authorization"] = f"Bearer {token}"
        return token

    def create(self, subject: str, topic: str, difficulty: str) -> dict[str, Any]:
        """Create a task and return it."""
        content = f"{difficulty.capitalize()} question on {topic}"
        body = {"subject": subject, "topic": topic, "difficulty": difficulty, "task_content": content}
        return dict(self.request("POST", "/practice-tasks", body))

    def complete(self, task_id: str, is_correct: bool, seconds: int) -> dict[str, Any]:
        """Complete a task and return it with its ``training``."""
        body = {"completed": True, "is_correct": is_correct, "actual_time_seconds": seconds}
        return dict(self.request("PATCH", f"/practice-tasks/{quote(task_id)}", body))

    def prediction(self, subject: str, topic: str, difficulty: str) -> dict[str, Any]:
        """The prediction without a task."""
        query = urlencode({"subject": subject, "topic": topic, "difficulty": difficulty}, quote_via=quote)
        return dict(self.request("GET", f"/predictions?{query}"))

    def status(self) -> dict[str, Any]:
        """``GET /model/status``."""
        return dict(self.request("GET", "/model/status"))
