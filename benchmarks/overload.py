"""Overload: what the one-machine server does when it gets more than it can serve, and clients that hold what they can.

``python -m benchmarks.overload --json`` starts a stack of its own and measures

- ``capacity_per_s``: creations a second by 32 connections without pause, before and after each load;
- open-loop creations at 1, 3 and 10 times that rate (``_1x``, ``_3x``, ``_10x``): ``goodput_ratio`` is the created
  tasks over the capacity around it, ``accepted_p99_ms`` counts from when a request was due, ``refused_share`` are 503
  and 429. ``other_errors`` are all other answers and lost connections. Meanwhile another student completes tasks,
  and somebody asks for the health (``completion_p99_ms``, ``health_p99_ms``; those that were refused are counted).
  ``recovery_s`` is the time from the end of a load until a creation takes less than five times its time before;
- a student's creations (``_p99_ms``) while others hold 500 idle connections, 200 half heads and 200 unfinished bodies
  (``held``), half of which send a byte a second, and while one student with 140 MB of text sends 20 searches a second
  (``searches``), compared with ``quiet``;
- ``peak_threads`` and ``peak_rss_mb`` of API and reverse proxy together, from start to end.

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import psutil
from sqlalchemy import text

from benchmarks import _open_loop
from benchmarks._clients import Client, result_body, task_body
from benchmarks._load import command_line
from benchmarks._percentiles import percentile, rounded
from benchmarks.api import worker_stopped
from benchmarks.local_stack import temporary_stack
from ops.stack import Stack, connect

SECONDS = 8.0
_SERVER = ("infra.local.api", "infra.local.proxy")
_FILL = text(
    """
    INSERT INTO practice_tasks (id, user_id, subject, subject_key, topic, topic_key, difficulty, task_content,
        predicted_correct, predicted_time_seconds, prediction_source)
    SELECT gen_random_uuid(), :user_id, 'Maths', 'maths', 'Algebra', 'algebra', 'easy',
        (SELECT string_agg(md5(n || ' ' || i), ' ') FROM generate_series(1, 3000) i), 0.5, 60, 'default'
    FROM generate_series(1, 1400) n
    """
)
"""1,400 tasks of 99 KB that cannot be compressed much."""


class Peaks(threading.Thread):
    """Looks at the processes of the server ten times a second."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        supervisor = psutil.Process(json.loads((stack.state_dir / "stack.json").read_text())["pid"])
        self._processes = [child for child in supervisor.children() if set(_SERVER) & set(command_line(child))]
        self._ended = threading.Event()
        self.threads = 0
        self.rss = 0

    def run(self) -> None:
        """Look until :meth:`finish`."""
        while not self._ended.wait(0.1):
            self.threads = max(self.threads, sum(process.num_threads() for process in self._processes))
            self.rss = max(self.rss, sum(process.memory_info().rss for process in self._processes))

    def finish(self) -> None:
        """Stop looking."""
        self._ended.set()
        self.join()


def account(url: str) -> tuple[str, str]:
    """Return (user id, token) of a new account."""
    client = Client(url)
    body = {"email": f"student-{uuid.uuid4().hex}@example.com", "password": uuid.uuid4().hex}
    user_id = client.call("POST", "/auth/register", body)["id"]
    token = client.call("POST", "/auth/login", body)["access_token"]
    client.close()
    return user_id, token


def creation(token: str) -> bytes:
    """The bytes of a request that creates a task."""
    body = json.dumps(task_body("Algebra", "easy")).encode()
    head = (
        f"POST /practice-tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def creations(url: str, token: str, seconds: float) -> tuple[list[float], int]:
    """Milliseconds of one student's creations, 20 a second, and the number of those that failed."""
    client, times = Client(url, token), []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        client.create("Algebra", "easy")
        times.append(client.ms)
        time.sleep(0.05)
    client.close()
    return times, client.errors


def urgent(url: str, token: str, tasks: Sequence[str], seconds: float) -> dict[str, Any]:
    """How completions and health are answered meanwhile."""
    figures: dict[str, Any] = {}
    end = time.monotonic() + seconds
    completions, health, left = Client(url, token), Client(url), list(tasks)
    times: dict[str, list[float]] = {"completion": [], "health": []}
    while left and time.monotonic() < end:
        completions.call("PATCH", f"/practice-tasks/{left.pop()}", result_body(is_correct=True))
        times["completion"].append(completions.ms)
        health.call("GET", "/health")
        times["health"].append(health.ms)
        time.sleep(0.1)
    for name, client in (("completion", completions), ("health", health)):
        figures[f"{name}_p99_ms"] = percentile(times[name], 0.99)
        figures[f"{name}_refused"] = client.errors
        client.close()
    return figures


def recovery(url: str, token: str, usual_ms: float) -> float:
    """Seconds until a creation is answered in a usual time."""
    began = time.monotonic()
    while True:
        client = Client(url, token)
        client.create("Algebra", "easy")
        client.close()
        if client.errors == 0 and client.ms < 5 * usual_ms:
            return time.monotonic() - began - client.ms / 1_000
        time.sleep(0.02)


@contextlib.contextmanager
def held_connections(url: str) -> Iterator[None]:
    """Hold 500 idle connections, 200 half heads and 200 unfinished bodies; half of the latter trickle on."""
    parts = urlsplit(url)
    large = b"POST /practice-tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nContent-Length: 900000\r\n\r\n"
    small = b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"
    beginnings = [b""] * 500 + [b"GET / HTTP/1.1\r\nX-Slow: "] * 200
    beginnings += [small + b"x" * 50_000] * 100 + [large + b"x" * 800_000] * 100
    with contextlib.ExitStack() as opened:
        held = []
        for beginning in beginnings:
            connection = opened.enter_context(socket.create_connection((parts.hostname, parts.port), timeout=10))
            with contextlib.suppress(OSError):  # refused: that is what it is for
                connection.sendall(beginning)
            held.append(connection)
        ended = threading.Event()

        def trickle() -> None:
            while not ended.wait(1):
                for connection in held[500::2]:
                    with contextlib.suppress(OSError):
                        connection.send(b"x")

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        yield
        ended.set()
        thread.join()


class Overload:
    """One stack, and what was found on it."""

    def __init__(self, stack: Stack, seconds: float, say: Callable[[str], None]) -> None:
        self.url, self.stack, self.seconds, self.say = stack.url, stack, seconds, say
        self.tokens = [account(self.url)[1] for _ in range(16)]
        self.requests = [creation(token) for token in self.tokens]
        self.other = account(self.url)[1]
        self.errors: dict[str, int] = {}
        self.figures: dict[str, Any] = {}

    def capacity(self) -> float:
        """Creations a second without pause."""
        report = _open_loop.start(self.url, self.requests, 0, self.seconds, 32).report()
        self.note(report)
        return float(report["goodput"])

    def note(self, report: dict[str, Any]) -> None:
        """Remember errors."""
        for name, n in report["errors"].items():
            self.errors[name] = self.errors.get(name, 0) + n

    def loads(self) -> None:
        """Capacity and loads in turn."""
        self.say("capacity")
        _open_loop.start(self.url, self.requests, 0, 2, 32).report()
        usual = percentile(creations(self.url, self.other, 3)[0], 0.5)
        before = self.capacity()
        capacities, recoveries = [before], []
        rate = before
        for factor in (1, 3, 10):
            self.say(f"{factor} times the capacity")
            client = Client(self.url, self.other)
            tasks = [client.create("Algebra", "easy") for _ in range(100)]
            client.close()
            load = _open_loop.start(self.url, self.requests, factor * rate, self.seconds)
            figures = urgent(self.url, self.other, tasks, self.seconds)
            load.ended_sending(self.seconds)
            recoveries.append(recovery(self.url, self.other, usual))
            report = load.report()
            self.note(report)
            after = self.capacity()
            figures |= {
                "goodput_ratio": report["goodput"] / ((before + after) / 2),
                "refused_share": report["refused"] / report["sent"],
                **{name: report[name] for name in ("accepted_p50_ms", "accepted_p99_ms", "refused_p99_ms")},
            }
            self.figures |= {f"{name}_{factor}x": rounded(value) for name, value in figures.items()}
            before = after
            capacities.append(after)
        self.figures["capacity_per_s"] = rounded(sum(capacities) / len(capacities))
        self.figures["capacities_per_s"] = [rounded(value) for value in capacities]
        self.figures["accepted_p99_ms"] = max(self.figures[f"accepted_p99_ms_{factor}x"] for factor in (1, 3, 10))
        self.figures["recovery_s"] = rounded(max(recoveries))

    def abuse(self) -> None:
        """One student's creations while others hold connections, or search through much text."""
        self.say("quiet")
        self.others("quiet", creations(self.url, self.other, self.seconds))
        self.say("held connections")
        with held_connections(self.url):
            self.others("held", creations(self.url, self.other, self.seconds))
        self.say("searches")
        user_id, token = account(self.url)
        Client(self.url, token).create("Algebra", "easy")
        container = connect(str(self.stack.state_dir))
        with container.engine.connect() as connection:
            connection.execute(_FILL, {"user_id": user_id})
        search = f"GET /practice-tasks?q=nowhere HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        load = _open_loop.start(self.url, [search.encode()], 20, self.seconds)
        self.others("searches", creations(self.url, self.other, self.seconds))
        report = load.report()
        self.note(report)
        self.figures["searches_refused_share"] = rounded(report["refused"] / report["sent"])

    def others(self, name: str, found: tuple[list[float], int]) -> None:
        """Note how the creations of another student went."""
        times, errors = found
        self.figures[f"{name}_p50_ms"] = rounded(percentile(times, 0.5))
        self.figures[f"{name}_p99_ms"] = rounded(percentile(times, 0.99))
        self.figures[f"{name}_failed"] = errors


def measure(stack: Stack, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """All figures of a stack that was just started."""
    peaks = Peaks(stack)
    peaks.start()
    with worker_stopped(stack):
        overload = Overload(stack, seconds, say)
        overload.loads()
        overload.abuse()
    peaks.finish()
    return {
        **overload.figures,
        "other_errors": sum(overload.errors.values()),
        "errors": overload.errors,
        "peak_threads": peaks.threads,
        "peak_rss_mb": round(peaks.rss / 1e6),
        "cpus": os.cpu_count(),
        "load_1min": rounded(os.getloadavg()[0]),
    }


def main() -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the JSON line, no progress")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of each load")
    options = parser.parse_args()
    began = time.monotonic()

    def say(what: str) -> None:
        if not options.json:
            print(f"{time.monotonic() - began:6.1f} s  {what}", file=sys.stderr, flush=True)

    say("starting")
    with temporary_stack() as stack:
        figures = measure(stack, options.seconds, say)
    print(json.dumps({**figures, "seconds": rounded(time.monotonic() - began)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
