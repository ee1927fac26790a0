"""Completions per second of one cohort, which all count in one row of the tracker.

``python -m benchmarks.completions --json`` starts a PostgreSQL that writes to the disk, and lets ``--clients`` students
complete tasks at the same time, each by a connection of its own. It measures

- ``fast``: commits that take as long as this machine's disk needs;
- ``slow``: commits that take ``--commit-ms`` more (PostgreSQL's ``commit_delay``), as on a database that copies each
  commit to other zones before it answers.

For each of the two, ``row`` is the rate when every completion waits for the tracker's row, ``shards`` that of the
product, and ``ratio`` the one divided by the other. ``exact`` is true if the tracker has counted each completion once.
``waits`` are the events that the sessions waited for (``pg_stat_activity``), as parts of the samples.

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, text

from benchmarks._postgres import migrated_server
from chalicelib.domain.tasks import Result
from chalicelib.domain.training import TrainingPolicy
from chalicelib.storage import completion
from chalicelib.storage.database import connect
from chalicelib.storage.shards import TRY_LOCK_SQL
from chalicelib.storage.task_store import PostgresTaskStore
from chalicelib.storage.tracker import PostgresTracker
from infra.local import postgres

CLIENTS, PROCESSES, SECONDS, COMMIT_MS, ROUNDS = 32, 4, 3.0, 5.0, 3
POLICY = TrainingPolicy(threshold=5, minimum_samples=10)
RESERVE = 600
"""Open tasks of each client. A client that has completed them all ends its round earlier."""

_STUDENTS = text("INSERT INTO users (id) SELECT 'student-' || i FROM generate_series(0, :clients - 1) AS i")
_TASKS = text(
    """
    INSERT INTO practice_tasks (id, user_id, subject, subject_key, topic, topic_key, difficulty, task_content,
                                predicted_correct, predicted_time_seconds, prediction_source)
    SELECT gen_random_uuid(), 'student-' || i, 'Maths', 'maths', 't' || mod(n, 12), 't' || mod(n, 12), 'easy', '?',
           0.5, 60, 'default'
    FROM generate_series(0, :clients - 1) AS i, generate_series(1, :n) AS n
    """
)
_OPEN = text("SELECT CAST(id AS text) FROM practice_tasks WHERE user_id = :user AND NOT completed LIMIT :n")
_WAITS = text(
    "SELECT coalesce(wait_event_type || ':' || wait_event, 'running') FROM pg_stat_activity"
    " WHERE state = 'active' AND pid <> pg_backend_pid() AND datname = current_database()"
)
_COMPLETED = text("SELECT count(*) FROM practice_tasks WHERE completed")

SERVER_SETTINGS = ("max_connections=200", "commit_siblings=0")
"""PostgreSQL's settings: a connection for each student, and commits that are delayed also when they come alone."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure the completions per second of one cohort.")
    parser.add_argument("--json", action="store_true", help="print only the JSON object")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="students who complete tasks at the same time")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of each of the rounds")
    parser.add_argument("--commit-ms", type=float, default=COMMIT_MS, help="delay of each commit in `slow`")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds, of which the median counts")
    options = parser.parse_args(arguments)
    figures: dict[str, Any] = {"clients": options.clients, "commit_ms": options.commit_ms}
    with (
        tempfile.TemporaryDirectory() as name,
        migrated_server(Path(name), SERVER_SETTINGS) as server,
    ):
        for speed, delay in (("fast", 0.0), ("slow", options.commit_ms)):
            figures[speed] = compare(server, delay, options)
    if not options.json:
        for speed in ("fast", "slow"):
            print(f"{speed}: {figures[speed]}")
    print(json.dumps(figures))
    return 0


def compare(server: postgres.Postgres, commit_ms: float, options: argparse.Namespace) -> Mapping[str, Any]:
    """Return the rates of both ways of counting, measured in turns."""
    engine = connect(server.url(), 2)
    rates: dict[str, list[float]] = {"row": [], "shards": []}
    waits = {way: Counter[str]() for way in rates}
    exact = True
    for _ in range(options.rounds):
        for way in rates:
            _prepare(engine, options.clients, commit_ms)
            rates[way].append(_run(server.url(), options, way, engine, waits[way]))
            exact &= _is_exact(engine)
    engine.dispose()
    found = {way: round(statistics.median(of)) for way, of in rates.items()}
    ratio = round(statistics.median(b / a for a, b in zip(rates["row"], rates["shards"], strict=True)), 2)
    return {**found, "ratio": ratio, "exact": exact, "waits": {way: _shares(of) for way, of in waits.items()}}


def _prepare(engine: Engine, clients: int, commit_ms: float) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "TRUNCATE users, practice_tasks, practice_state, embedding_model_tracker, tracker_shards CASCADE"
        )
        connection.execute(_STUDENTS, {"clients": clients})
        connection.execute(_TASKS, {"clients": clients, "n": RESERVE})
        name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
        connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET commit_delay = {int(commit_ms * 1000)}')
        connection.exec_driver_sql("VACUUM ANALYZE")


def _run(url: str, options: argparse.Namespace, way: str, engine: Engine, waits: Counter[str]) -> float:
    """Return the completions per second of all clients together, and count what the sessions waited for."""
    context = multiprocessing.get_context("spawn")
    shares = [range(i, options.clients, PROCESSES) for i in range(PROCESSES)]
    ready, done = context.Barrier(len(shares) + 1), threading.Event()
    with context.Pool(len(shares), initializer=_know, initargs=(ready,)) as pool:
        results = pool.starmap_async(_practise, [(url, list(share), options.seconds, way) for share in shares])
        ready.wait(120)
        sampler = threading.Thread(target=_sample, args=(engine, waits, done))
        sampler.start()
        found = results.get(120)
        done.set()
        sampler.join()
    return sum(n for n, _ in found) / max(seconds for _, seconds in found)


_ready: Any = None


def _know(ready: Any) -> None:
    global _ready
    _ready = ready


def _practise(url: str, students: Sequence[int], seconds: float, way: str) -> tuple[int, float]:
    """Complete tasks of some students by a thread each. Return the number of completions, and the seconds."""
    if way == "row":
        alone = str(completion._COMPLETE).replace(TRY_LOCK_SQL, "true")
        completion._COMPLETE = text(alone)
    engine = connect(url, len(students))
    store = PostgresTaskStore(engine, "default")
    tasks = {student: _open_tasks(engine, f"student-{student}") for student in students}
    counts: list[int] = []
    begun = 0.0

    def practise(student: int) -> None:
        n = 0
        for n, task in enumerate(tasks[student], 1):
            store.complete(f"student-{student}", task, Result(n % 3 > 0, 5.0 + n % 7), None, POLICY)
            if time.monotonic() > begun + seconds:
                break
        counts.append(n)

    threads = [threading.Thread(target=practise, args=(student,)) for student in students]
    _ready.wait(120)
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.dispose()
    return sum(counts), time.monotonic() - begun


def _open_tasks(engine: Engine, user: str) -> list[str]:
    with engine.connect() as connection:
        return [task for (task,) in connection.execute(_OPEN, {"user": user, "n": RESERVE})]


def _sample(engine: Engine, waits: Counter[str], done: threading.Event) -> None:
    with engine.connect() as connection:
        while not done.wait(0.02):
            waits.update(_names(connection))


def _names(connection: Connection) -> list[str]:
    return [name for (name,) in connection.execute(_WAITS)]


def _shares(waits: Counter[str]) -> dict[str, float]:
    return {name: round(n / waits.total(), 2) for name, n in waits.most_common(5)}


def _is_exact(engine: Engine) -> bool:
    """Return whether the tracker has counted what was completed, also for somebody who reads its table."""
    with engine.connect() as connection:
        completed = connection.execute(_COMPLETED).scalar_one()
        row = connection.exec_driver_sql("SELECT n_samples_total FROM embedding_model_tracker").scalar_one()
    return bool(PostgresTracker(engine).read("default").n_samples_total == completed == row)


if __name__ == "__main__":
    sys.exit(main())
