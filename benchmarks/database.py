"""The API while its connection to the database has faults: a silent network, a lock, refused TLS, and a pooler.

``python -m benchmarks.database --json`` starts PostgreSQL, and the API in the process of the benchmark, and measures

- ``silent_seconds_until_503``: the answer to a creation while the network between API and PostgreSQL forwards nothing,
  and ``silent_seconds_until_201``, from when it forwards again until a task is created;
- ``locked_seconds_until_503``: the answer to a completion whose row another transaction has locked;
- ``tls_refused``: how many of three servers were refused (without TLS, with another name, of an unknown authority),
  with the messages in ``tls_messages``;
- ``pooler_requests`` and ``pooler_errors``: creations and completions by two processes in ``--seconds`` through
  PgBouncer in transaction mode with two sessions; null where PgBouncer is not installed.

``--rows 1000000`` compares two databases instead: one with 10,000 tasks of other students, and one with 1,000,000.
Requests go to them in turn. ``rows`` has the two numbers, ``p50_ms`` the medians of both for each kind of request,
``ratios`` the large one divided by the small one, and ``worst_ratio`` the largest of these. The student has 200 tasks
at the beginning and 500 at the end. ``whole_tables_read`` is how often a request went through all students or tasks of
the large database, and ``bytes_per_task`` the size of its tasks with their indexes, divided by their number.

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import TextClause, make_url, text

from benchmarks._filled import fill
from benchmarks._percentiles import percentile
from benchmarks._postgres import migrated_server
from chalicelib import wiring
from chalicelib.config import settings_from
from chalicelib.domain.errors import DatabaseUnavailableError, StudySmartError
from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, Result
from chalicelib.domain.training import TrainingPolicy
from chalicelib.storage.database import connect, statement
from chalicelib.storage.task_store import PostgresTaskStore
from chalicelib.storage.timeouts import timeouts_of
from infra.local import postgres
from migrations import upgrade
from tests.support.api import Api, World, sign_up
from tests.support.fronts import Front, certificate, pgbouncer, pooled

SECONDS = 60.0
FEW_ROWS, WARM_UP, ROUNDS = 10_000, 200, 300
_TASK = {"subject": "Maths", "topic": "Fractions", "difficulty": "easy", "task_content": "?"}
_RESULT = {"is_correct": True, "actual_time_seconds": 20}
_READS = {
    "list": "/practice-tasks?limit=50",
    "latest": "/practice-tasks/subject/Maths/latest",
    "summary": "/analytics/summary",
    "topics": "/analytics/topics",
    "recommendations": "/recommendations",
}
_SCANS = text("SELECT coalesce(sum(seq_scan), 0) FROM pg_stat_user_tables WHERE relname IN ('users', 'practice_tasks')")
_BYTES = text("SELECT pg_total_relation_size('practice_tasks')")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure what happens when the database connection is in trouble.")
    parser.add_argument("--json", action="store_true", help="print only the JSON object")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of the load through PgBouncer")
    parser.add_argument("--rows", type=int, help="number of tasks: compare with a database of 10,000 tasks instead")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name, migrated_server(Path(name)) as server:
        folder = Path(name)
        figures = (
            by_size(server, options.rows)
            if options.rows
            else {
                **in_trouble(server, folder),
                **refusals(server, folder),
                **through_a_pooler(server, folder, options.seconds),
            }
        )
    if not options.json:
        for key, value in figures.items():
            print(f"{key}: {value}")
    print(json.dumps(figures))
    return 0


def by_size(server: postgres.Postgres, rows: int) -> dict[str, Any]:
    """Return the durations of requests in a small and in a large database, which take turns."""
    sides = []
    for name, size in (("small", FEW_ROWS), ("large", rows)):
        postgres.create_database(server, name)
        upgrade(server.url(name))
        fill(server.url(name), size)
        world = World()
        container = container_of(server.url(name), world)
        wiring.install(container)
        sides.append((container, sign_up(world)))
    container, _ = sides[1]
    scans = _number(container, _SCANS)
    taken: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for n in range(-WARM_UP, ROUNDS):
        for side, (container, student) in enumerate(sides):
            wiring.install(container)
            for what, seconds in requests_of(student, n):
                if n >= 0:
                    taken[what][side].append(seconds * 1_000)
    wiring.install(None)
    n_bytes = _number(container, _BYTES)
    for each, _ in sides:
        each.engine.dispose()  # its sessions report what they read when they end
    scans = _number(container, _SCANS) - scans
    container.engine.dispose()
    medians = {what: [round(percentile(side, 0.5), 3) for side in both] for what, both in taken.items()}
    ratios = {what: round(large / small, 3) for what, (small, large) in medians.items()}
    sizes = {"whole_tables_read": scans, "bytes_per_task": round(n_bytes / rows)}
    return {"rows": [FEW_ROWS, rows], "p50_ms": medians, "ratios": ratios, "worst_ratio": max(ratios.values()), **sizes}


def _number(container: wiring.Container, query: TextClause) -> int:
    return int(statement(container.engine, lambda c: c.execute(query).scalar_one()))


def requests_of(student: Api, n: int) -> Iterator[tuple[str, float]]:
    """Send the requests of one task, and yield what each was and its seconds."""
    created: dict[str, Any] = {}

    def create() -> int:
        answer = student.post("/practice-tasks", {**_TASK, "topic": f"topic {n % 12}", "task_content": f"{n}?"})
        created.update(answer.json)
        return answer.status

    yield "create", _timed_well(create)
    yield "complete", _timed_well(lambda: student.call("PATCH", f"/practice-tasks/{created['id']}", _RESULT).status)
    for what, path in _READS.items():
        yield what, _timed_well(partial(_status, student, path))


def _status(student: Api, path: str) -> int:
    return student.get(path).status


def _timed_well(action: Callable[[], int]) -> float:
    seconds, status = _timed(action)
    assert status in (200, 201), status
    return seconds


def container_of(url: str, world: World) -> wiring.Container:
    """Return a container with a real database and fakes for everything else."""
    needed = ("REGISTRY_BUCKET", "TRAINING_QUEUE_URL", "USER_POOL_ID", "USER_POOL_CLIENT_ID", "AWS_REGION")
    settings = settings_from({**dict.fromkeys(needed, "none"), "DATABASE_URL": url, "LOG_LEVEL": "ERROR"})
    return wiring.Container(
        settings,
        identity=world.identity,
        queue=world.queue,
        registry=world.registry,
        timeouts=timeouts_of(settings),
    )


def in_trouble(server: postgres.Postgres, folder: Path) -> dict[str, float]:
    front = Front(server.socket_path, certificate(folder))
    world = World()
    container = container_of(front.url("sslmode=disable").replace("/postgres?", f"/{postgres.DATABASE}?"), world)
    wiring.install(container)
    student = sign_up(world)
    task = student.post("/practice-tasks", _TASK).json["id"]

    front.speaks.clear()
    silent, status = _timed(lambda: student.post("/practice-tasks", _TASK).status)
    assert status == 503, status
    front.speaks.set()
    again, status = _timed(lambda: student.post("/practice-tasks", _TASK).status)
    assert status == 201, status

    with connect(server.url(), 1).connect() as other:
        other.exec_driver_sql("BEGIN")
        other.exec_driver_sql("SELECT 1 FROM practice_tasks FOR UPDATE")
        locked, status = _timed(lambda: student.call("PATCH", f"/practice-tasks/{task}", _RESULT).status)
        assert status == 503, status
        other.exec_driver_sql("ROLLBACK")
    wiring.install(None)
    container.engine.dispose()
    front.close()
    return {
        "silent_seconds_until_503": round(silent, 2),
        "silent_seconds_until_201": round(again, 3),
        "locked_seconds_until_503": round(locked, 2),
    }


def _timed(action: Any) -> tuple[float, int]:
    started = time.perf_counter()
    status: int = action()
    return time.perf_counter() - started, status


def refusals(server: postgres.Postgres, folder: Path) -> dict[str, Any]:
    front = Front(server.socket_path, certificate(folder))
    plain = socket.create_server(("127.0.0.1", 0))

    def refuse_tls() -> None:
        for _ in range(2):  # the first attempt and its repetition
            client, _ = plain.accept()
            client.recv(8)
            client.sendall(b"N")

    threading.Thread(target=refuse_tls, daemon=True).start()
    urls = {
        "without TLS": f"postgresql://postgres@127.0.0.1:{plain.getsockname()[1]}/d?sslmode=verify-full",
        "another name": front.url(f"sslmode=verify-full&sslrootcert={front.root}", "localhost"),
        "unknown authority": front.url("sslmode=verify-full"),
    }
    messages = {}
    for case, url in urls.items():
        try:
            statement(connect(url, 1), lambda c: c.exec_driver_sql("SELECT 1").scalar_one())
        except DatabaseUnavailableError as error:
            messages[case] = str(error)
    front.close()
    plain.close()
    return {"tls_refused": len(messages), "tls_messages": messages}


def through_a_pooler(server: postgres.Postgres, folder: Path, seconds: float) -> dict[str, int | None]:
    program = pgbouncer()
    if program is None:
        return {"pooler_requests": None, "pooler_errors": None}
    with pooled(program, server.sockets, str(make_url(server.url()).database), folder) as url:
        context = multiprocessing.get_context("spawn")
        with context.Pool(2) as processes:
            found = processes.starmap(practise, [(url, seconds)] * 2)
    return {"pooler_requests": sum(n for n, _ in found), "pooler_errors": sum(errors for _, errors in found)}


def practise(url: str, seconds: float) -> tuple[int, int]:
    """Create and complete tasks by four threads; return the numbers of calls and of those that failed or were wrong."""
    store = PostgresTaskStore(connect(url), "default")
    policy = TrainingPolicy(threshold=5, minimum_samples=10)
    calls, errors = [], []

    def student() -> None:
        user, n, end = f"student-{uuid4()}", 0, time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                task = store.insert(user, NewTask("Maths", f"t{n % 12}", Difficulty.EASY, "?"), DEFAULT_PREDICTION)
                store.complete(user, task.id, Result(True, 5.0), None, policy)
                n += 1
                if store.prediction_context(user).state.n_answers != n:
                    errors.append("another student's answers")
            except StudySmartError as error:
                errors.append(str(error))
            calls.append(user)

    threads = [threading.Thread(target=student) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(calls) * 3, len(errors)


if __name__ == "__main__":
    sys.exit(main())
