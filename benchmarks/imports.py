"""Times ``studysmart import`` on a large file: rows per second and peak memory of the command.

    python -m benchmarks.imports [--rows 1000000] [--json]

A PostgreSQL of its own gets a file of made-up answers: first from CSV, then the same answers again, then the import is
taken back, then from CSV in gzip. The reference is PostgreSQL alone: the time in which it copies the same number of
rows, already formatted, into the empty tables over one connection.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from chalicelib.storage.database import connect
from infra.local import postgres
from migrations import upgrade

ANSWERS_EACH = 50
"""Answers of each student, spread over the whole file."""

N_TOPICS = 200
ANSWERS_A_TOPIC = 8
"""Answers of a student on a topic before the next one, on average."""


def answers(n: int) -> Iterator[list[str]]:
    """Give the header and ``n`` made-up answers, in the order of time over all students.

    A student stays with a topic for some answers, and each topic has one difficulty.
    """
    yield ["user_id", "subject", "topic", "difficulty", "is_correct", "actual_time_seconds", "completed_at"]
    draw = random.Random(1)
    at = datetime(2020, 1, 1, tzinfo=UTC)
    n_users = max(n // ANSWERS_EACH, 1)
    practised = [draw.randrange(N_TOPICS) for _ in range(n_users)]
    for _ in range(n):
        at += timedelta(seconds=draw.randrange(20))
        user = draw.randrange(n_users)
        if draw.random() < 1 / ANSWERS_A_TOPIC:
            practised[user] = draw.randrange(N_TOPICS)
        topic = practised[user]
        yield [
            f"student-{user}",
            f"Subject {topic % 10}",
            f"Topic {topic}",
            ("easy", "medium", "hard")[topic % 3],
            str(int(draw.random() < 0.7)),
            f"{draw.lognormvariate(3.5, 0.8):.1f}",
            at.isoformat(),
        ]


def measured(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    """Run the operator's command, and return its output, its seconds and its peak memory in MB."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.cli", *arguments], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"studysmart {' '.join(arguments)} failed: {output}")
    return {"output": output, "seconds": time.monotonic() - started, "rss_mb": usage.ru_maxrss / 1024}


def copied_alone(url: str, n: int) -> float:
    """Return the seconds in which PostgreSQL alone copies ``n`` tasks; they are rolled back."""
    line = "\t{user}\tMaths\tmaths\tAlgebra\talgebra\teasy\t?\ttrue\t2026-01-02\ttrue\t9\t{n}\t0.5\t60\tdefault\n"
    draw = random.Random(2)
    lines = [
        f"{draw.getrandbits(128):032x}" + line.format(user=f"student-{i // ANSWERS_EACH}", n=i % ANSWERS_EACH)
        for i in range(n)
    ]
    chunks = ["".join(lines[start : start + 200]) for start in range(0, n, 200)]
    with connect(url).connect() as connection:
        cursor: Any = connection.connection.cursor()
        cursor.execute("BEGIN")
        cursor.execute(f"INSERT INTO users (id) SELECT 'student-' || n FROM generate_series(0, {n // ANSWERS_EACH}) n")  # noqa: S608 - parts are constants, values are bound
        started = time.monotonic()
        cursor.execute(
            "COPY practice_tasks (id, user_id, subject, subject_key, topic, topic_key, difficulty, task_content, "
            "completed, completed_at, is_correct, actual_time_seconds, answer_index, predicted_correct, "
            "predicted_time_seconds, prediction_source) FROM STDIN",
            stream=iter(chunks),
        )
        seconds = time.monotonic() - started
        cursor.execute("ROLLBACK")
        connection.detach()
    return seconds


def run(n: int, directory: Path) -> dict[str, Any]:
    """Measure everything in a directory that is removed afterwards."""
    plain, packed = directory / "answers.csv", directory / "answers.csv.gz"
    with plain.open("w", newline="") as file:
        csv.writer(file).writerows(answers(n))
    with plain.open("rb") as file, gzip.open(packed, "wb", 1) as archive:
        archive.writelines(file)
    server = postgres.prepare(directory / "postgres")
    postgres.start(server)
    postgres.wait_until_ready(server)
    try:
        postgres.create_database(server)
        upgrade(server.url())
        environment = {
            **os.environ,
            "DATABASE_URL": server.url(),
            "STATE_DIR": str(directory / "none"),
            "REGISTRY_BUCKET": "none",
            "TRAINING_QUEUE_URL": "http://127.0.0.1:9/none",
            "USER_POOL_ID": "local_none",
            "USER_POOL_CLIENT_ID": "none",
            "AWS_REGION": "eu-central-1",
            "AWS_DEFAULT_REGION": "eu-central-1",
        }
        reference = copied_alone(server.url(), min(n, 100_000)) * n / min(n, 100_000)
        first = measured(environment, "import", str(plain))
        again = measured(environment, "import", str(plain))
        import_id = re.search(r"Import (\d+)", first["output"])
        assert import_id is not None
        undone = measured(environment, "import", "undo", import_id[1])
        zipped = measured(environment, "import", str(packed))
    finally:
        postgres.stop(server)
    return {
        "rows": n,
        "rows_per_s": round(n / first["seconds"]),
        "gz_rows_per_s": round(n / zipped["seconds"]),
        "again_rows_per_s": round(n / again["seconds"]),
        "undo_rows_per_s": round(n / undone["seconds"]),
        "rss_mb": round(max(part["rss_mb"] for part in (first, again, undone, zipped)), 1),
        "seconds": round(first["seconds"], 2),
        "reference_copy_seconds": round(reference, 2),
        "ratio_to_copy": round(first["seconds"] / reference, 2),
        "report": first["output"].splitlines()[-1],
    }


def main() -> None:
    """Print the figures; with ``--json`` as one JSON object."""
    parser = argparse.ArgumentParser(description="Time studysmart import on a large file")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        figures = run(options.rows, Path(directory))
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:24} {value}")


if __name__ == "__main__":
    main()
