"""Clients of the API for the benchmark of serving: lean, each on one kept-open connection, several as processes.

A process of its own for each concurrent client keeps the interpreter lock of the clients out of what is measured, and
it imports nothing but the standard library, because clients and server share the same few cores.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_ROOT = Path(__file__).resolve().parents[1]
_STEPS = ("easy", "medium", "hard", "expert")


class Client:
    """One student's connection. ``ms`` is how long the last request took, ``errors`` counts answers beyond 299."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        self._connection.connect()
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self.ms = 0.0
        self.errors = 0

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The decoded answer; coding and decoding are not part of the time."""
        payload = None if body is None else json.dumps(body).encode()
        started = time.perf_counter()
        self._connection.request(method, path, payload, self._headers)
        answer = self._connection.getresponse()
        raw = answer.read()
        self.ms = (time.perf_counter() - started) * 1_000
        if answer.status >= 300:
            self.errors += 1
            return {}
        return json.loads(raw)

    def create(self, topic: str, difficulty: str) -> str:
        """Create a task and return its id."""
        return str(self.call("POST", "/practice-tasks", task_body(topic, difficulty)).get("id", "none"))

    def complete(self, task_id: str, is_correct: bool) -> None:
        """Complete a task."""
        self.call("PATCH", f"/practice-tasks/{task_id}", result_body(is_correct))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def task_body(topic: str, difficulty: str) -> dict[str, Any]:
    """A task as a front end sends it."""
    content = f"A {difficulty} question on {topic}, with some text to read before one can answer it."
    return {"subject": "Mathematics", "topic": topic, "difficulty": difficulty, "task_content": content}


def result_body(is_correct: bool) -> dict[str, Any]:
    """A completion as a front end sends it."""
    return {"completed": True, "is_correct": is_correct, "actual_time_seconds": 30}


def rate(url: str, tokens: Sequence[Sequence[str]], n: int, *, only_completions: bool) -> tuple[float, int]:
    """(requests per second, errors) of one client process for each list of tokens, all at once.

    Each creates and completes ``n`` tasks, as its students in turn. With ``only_completions`` it has created them
    before the start.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-S", "-m", "benchmarks._clients"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in tokens
    ]
    for process, own in zip(processes, tokens, strict=True):
        _say(process, {"url": url, "tokens": list(own), "n": n, "only_completions": only_completions})
    for process in processes:
        _hear(process)
    for process in processes:
        _say(process, "go")
    reports = [_hear(process) for process in processes]
    for process in processes:
        process.wait()
    requests = sum(report["requests"] for report in reports)
    seconds = max(report["ended"] for report in reports) - min(report["started"] for report in reports)
    return requests / seconds, sum(report["errors"] for report in reports)


def _say(process: subprocess.Popen[str], what: Any) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(what) + "\n")
    process.stdin.flush()


def _hear(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def main() -> int:
    """Be one client of :func:`rate`."""
    order = json.loads(sys.stdin.readline())
    students = [Client(order["url"], token) for token in order["tokens"]]
    n = int(order["n"])
    turns = [students[i % len(students)] for i in range(n)]
    ready = [one.create("Algebra", _STEPS[i % 4]) for i, one in enumerate(turns)] if order["only_completions"] else []
    print(json.dumps("ready"), flush=True)
    sys.stdin.readline()
    started = time.monotonic()
    for i, one in enumerate(turns):
        one.complete(ready[i] if ready else one.create("Algebra", _STEPS[i % 4]), i % 3 > 0)
    report = {"started": started, "ended": time.monotonic(), "errors": sum(one.errors for one in students)}
    print(json.dumps(report | {"requests": n if ready else 2 * n}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
