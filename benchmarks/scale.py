"""Reading of the answers for a training, from the tables and from partitions in S3, by the number of answers.

``python -m benchmarks.scale --answers 10000,100000,1000000 --json`` starts a PostgreSQL and a moto server, fills the
tables, and reads the answers as a training does. Each reading is a process of its own. For each size it prints

- ``direct``: everything from the tables;
- ``full``: everything from the tables, and the partitions are written;
- ``next``: after five students have answered once more, from the partitions and the tables;
- ``same``: true if the answers of ``next`` are those that the tables give.

Each has ``seconds``, ``rows`` (answers that came from the tables) and ``rss_mb``, the peak memory of the process.
Under ``largest``, ``next_of_direct`` is the time of ``next`` divided by that of ``direct``. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from benchmarks._postgres import migrated_server
from chalicelib.storage.aws import aws_client
from chalicelib.storage.database import connect, transaction
from chalicelib.storage.dataset_store import S3DatasetStore
from chalicelib.storage.timeouts import DEFAULT
from infra.local.aws import resources
from training_job.history.answers import COLUMN_TYPES
from training_job.history.snapshot import read_snapshot

OF_STUDENT, TOPICS, CHANGED = 100, 40, 5
"""Answers of each student, topics, and students who answer once more."""

START_SECONDS = 120.0

PATIENT = DEFAULT._replace(answer=600.0, statement=0)
"""Time-outs of statements that fill and read whole tables."""

_FILL = (
    "TRUNCATE users CASCADE",
    "INSERT INTO users (id, n_answers) SELECT md5(i::text), :of_student FROM generate_series(1, :students) AS i",
    """
    INSERT INTO practice_tasks (id, user_id, subject, subject_key, topic, topic_key, difficulty, task_content,
        completed, completed_at, is_correct, actual_time_seconds, answer_index, predicted_correct,
        predicted_time_seconds, prediction_source, item_key)
    SELECT gen_random_uuid(), md5(i::text), 'Maths', 'maths', t, t,
        (ARRAY['easy', 'medium', 'hard', 'expert'])[1 + mod(i, 4)], '?', true,
        timestamptz '2026-01-01' + make_interval(secs => n * 3600 + i), random() < 0.7, exp(3 + random()), n,
        0.5, 60, 'default', mod(i * 31 + n, 5000)
    FROM generate_series(0, :of_student - 1) AS n, generate_series(1, :students) AS i,
        LATERAL (SELECT 'topic ' || mod(i + n, :topics)) AS named (t)
    """,
)
_ANSWER_AGAIN = (
    """
    INSERT INTO practice_tasks (id, user_id, subject, subject_key, topic, topic_key, difficulty, task_content,
        completed, completed_at, is_correct, actual_time_seconds, answer_index, predicted_correct,
        predicted_time_seconds, prediction_source)
    SELECT gen_random_uuid(), md5(i::text), 'Maths', 'maths', 'topic 1', 'topic 1', 'easy', '?', true,
        timestamptz '2026-06-01', true, 20, :of_student, 0.5, 60, 'default'
    FROM generate_series(1, :changed) AS i
    """,
    "UPDATE users SET n_answers = n_answers + 1 FROM generate_series(1, :changed) AS i WHERE id = md5(i::text)",
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure the reading of answers by the number of answers.")
    parser.add_argument("--json", action="store_true", help="print only the JSON object")
    parser.add_argument("--answers", default="10000,100000,1000000", help="numbers of answers, separated by commas")
    options = parser.parse_args(arguments)
    sizes = [int(size) for size in options.answers.split(",")]
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name, migrated_server(Path(name)) as server, buckets(Path(name)) as aws:
        for size in sizes:
            figures[str(size)] = figures_of(server.url(), aws, size)
            if not options.json:
                print(f"{size:,} answers: {figures[str(size)]}", flush=True)
    largest = figures[str(max(sizes))]
    ratio = round(largest["next"]["seconds"] / largest["direct"]["seconds"], 3)
    print(json.dumps({"sizes": figures, "largest": {"answers": max(sizes), "next_of_direct": ratio}}))
    return 0 if all(each["same"] for each in figures.values()) else 1


@contextmanager
def buckets(folder: Path) -> Iterator[Mapping[str, str]]:
    """Start a moto server, and give the environment of a program that uses its resources."""
    ready = folder / "ready.json"
    command = [sys.executable, "-m", "infra.local.aws", "--ready-file", str(ready), "--outbox", str(folder / "outbox")]
    with (folder / "aws.log").open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            deadline = time.monotonic() + START_SECONDS
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"moto did not start: {(folder / 'aws.log').read_text()}")
                time.sleep(0.1)
            endpoint = json.loads(ready.read_text())["AWS_ENDPOINT_URL"]
            outputs = resources.create_stack(endpoint, "scale", {})
            yield {**resources.client_environment(endpoint), **resources.program_environment(endpoint, outputs)}
        finally:
            process.terminate()


def figures_of(url: str, aws: Mapping[str, str], size: int) -> dict[str, Any]:
    """Return the figures of one size."""
    values = {"students": max(size // OF_STUDENT, CHANGED), "of_student": OF_STUDENT, "topics": TOPICS}
    os.environ.update(aws)
    S3DatasetStore(aws_client("s3", aws["AWS_REGION"]), aws["REGISTRY_BUCKET"]).delete("default")
    _run(url, _FILL, values)
    direct = _in_a_process(url, aws, datasets=False)
    full = _in_a_process(url, aws, datasets=True)
    _run(url, _ANSWER_AGAIN, {"changed": CHANGED, "of_student": OF_STUDENT})
    later = _in_a_process(url, aws, datasets=True)
    same = later.pop("digest") == _in_a_process(url, aws, datasets=False)["digest"]
    same &= direct.pop("digest") == full.pop("digest")
    return {"direct": direct, "full": full, "next": later, "same": same}


def _run(url: str, statements: Sequence[str], values: Mapping[str, int]) -> None:
    engine = connect(url, 1, PATIENT)
    for statement in statements:
        given = {name: value for name, value in values.items() if f":{name}" in statement}
        transaction(engine, partial(Connection.execute, statement=text(statement), parameters=given))
    with engine.connect() as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()


def _in_a_process(url: str, aws: Mapping[str, str], *, datasets: bool) -> dict[str, Any]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        figures: dict[str, Any] = pool.apply(read, (url, dict(aws), datasets))
    return figures


def read(url: str, aws: Mapping[str, str], datasets: bool) -> dict[str, Any]:
    """Read all answers, and return the figures with a digest of the answers."""
    os.environ.update(aws)
    store = S3DatasetStore(aws_client("s3", aws["AWS_REGION"], read_timeout=60.0), aws["REGISTRY_BUCKET"])
    engine = connect(url, 1, PATIENT)
    begun = time.monotonic()
    found = read_snapshot(engine, "default", store if datasets else None, min_answers=1)
    seconds = time.monotonic() - begun
    digest = hashlib.sha256(repr((found.table.user_ids, found.table.topics)).encode())
    for name in COLUMN_TYPES:
        digest.update(getattr(found.table, name).tobytes())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform != "darwin" else 1024)
    return {
        "seconds": round(seconds, 2),
        "rows": found.rows_read,
        "rss_mb": round(peak / 1024),
        "digest": digest.hexdigest(),
    }


if __name__ == "__main__":
    sys.exit(main())
