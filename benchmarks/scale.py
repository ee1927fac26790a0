"""Trainings by the number of answers: seconds, peak memory, what is read, and the accuracy.

``python -m benchmarks.scale --answers 10000,100000,1000000 --json`` starts PostgreSQL and moto (a local copy of S3),
fills the tables with simulated answers, and trains as the worker does, without the check against Keras, the gate and
the publication. 5 % of the students are held out to be predicted. Each training is a process of its own. ``sizes`` has
for each size

- ``full``: everything comes from the tables, and the partitions in S3 are made;
- ``next``: a training after five students have answered once more.

Each has ``seconds``, ``read_seconds`` (the part for reading the answers), ``rows`` (answers that came from the tables),
``learnt`` (answers that the training learnt from) and ``learnt_by_networks`` (those of the students whom the networks
learnt from), ``rss_mb`` (peak memory of the process), ``artifact_kb`` (size of the version's files) and ``test_auc``.
Under ``largest`` are the figures of the largest size. ``time_exponent`` is the slope of the logarithm of the full
training's seconds over that of the answers, fitted to all sizes.

``--answers 10000000 --partitions-only`` leaves out the database and the training. It fills ``partitions`` in S3 with
``answers`` of the first size, at least 100,000, and measures how fast they are computed by one process, two processes
and a Dask cluster of two workers. They read a partition, leave out hostile accounts, and compute attempts and correct
answers by topic and difficulty, and the features of each answer. Nothing is fitted. ``processes_1``, ``processes_2``
and ``dask_2`` have ``seconds``, ``answers_per_second``, ``learnt`` (answers that count), ``workers`` (their number)
and ``worker_rss_mb`` (peak memory of one). ``speedup_2`` and ``speedup_dask_2`` compare with one process, and
``same_results`` says whether all results are equal to the last bit.

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import _partitions
from benchmarks._filled import OF_STUDENT, PATIENT, execute, fill
from benchmarks._postgres import migrated_server
from chalicelib.config import settings_from
from chalicelib.prediction.predictor import Predictor
from chalicelib.storage.aws import aws_client
from chalicelib.storage.database import connect
from chalicelib.storage.dataset_store import S3DatasetStore
from infra.local.aws import resources
from training_job.child import datasets_of
from training_job.execution import execution_of
from training_job.fit.population import Population
from training_job.fit.train import train_version
from training_job.fit.trust import trusted_answers
from training_job.history.replay import predict_history
from training_job.history.snapshot import read_snapshot
from training_job.scores import auc

CHANGED = 5
"""Number of students who answer once more."""

TESTED = 20
"""One student in so many is not learnt from."""

START_SECONDS = 120.0

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
    parser = argparse.ArgumentParser(description="Measure trainings by the number of answers.")
    parser.add_argument("--json", action="store_true", help="print only the JSON object")
    parser.add_argument("--answers", default="10000,100000,1000000", help="numbers of answers, separated by commas")
    parser.add_argument("--partitions-only", action="store_true", help="measure executors on partitions in S3")
    options = parser.parse_args(arguments)
    sizes = [int(size) for size in options.answers.split(",")]
    figures: dict[str, Any] = {}
    if options.partitions_only:
        with tempfile.TemporaryDirectory() as name, buckets(Path(name)) as aws:
            print(json.dumps(_partitions.figures(aws, sizes[0])))
        return 0
    with tempfile.TemporaryDirectory() as name, migrated_server(Path(name)) as server, buckets(Path(name)) as aws:
        for size in sizes:
            figures[str(size)] = figures_of(server.url(), aws, size)
            if not options.json:
                print(f"{size:,} answers: {figures[str(size)]}", flush=True)
    exponent = slope(
        [math.log(size) for size in sizes], [math.log(each["full"]["seconds"]) for each in figures.values()]
    )
    print(json.dumps({"sizes": figures, "largest": figures[str(max(sizes))], "time_exponent": exponent}))
    return 0


def slope(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Return the slope of the line through the points, None for one point."""
    return round(statistics.linear_regression(x, y).slope, 3) if len(x) > 1 else None


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
    os.environ.update(aws)
    S3DatasetStore(aws_client("s3", aws["AWS_REGION"]), aws["REGISTRY_BUCKET"]).delete("default")
    fill(url, size)
    full = in_a_process(url, aws)
    execute(url, _ANSWER_AGAIN, {"changed": CHANGED, "of_student": OF_STUDENT})
    return {"full": full, "next": in_a_process(url, aws)}


def in_a_process(url: str, aws: Mapping[str, str]) -> dict[str, Any]:
    """Train in a process of its own, and return the figures."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        figures: dict[str, Any] = pool.apply(train, (url, dict(aws)))
    return figures


def train(url: str, aws: Mapping[str, str]) -> dict[str, Any]:
    """Read the answers and train, and predict the students who were left out."""
    os.environ.update(aws)
    settings = settings_from({**aws, "DATABASE_URL": url})
    engine = connect(url, 1, PATIENT)
    begun = time.monotonic()
    found = read_snapshot(engine, "default", datasets_of(settings), max_answers=settings.training_max_answers)
    read_seconds = time.monotonic() - begun
    tested = found.table.user % TESTED == 0
    learnt = Population.of(trusted_answers(found.table.select(~tested)), settings.training_network_answers)
    with execution_of(settings.training_executor) as execution:
        version = train_version(learnt, version="scale", execution=execution)
    seconds = time.monotonic() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    predictor = Predictor.from_files({**version.files, "metadata.json": json.dumps(version.metadata).encode()})
    chances = predict_history(predictor, found.table, tested).correct
    return {
        "seconds": round(seconds, 2),
        "read_seconds": round(read_seconds, 2),
        "rows": found.rows_read,
        "learnt": len(learnt.everything),
        "learnt_by_networks": len(learnt.sample),
        "rss_mb": round(peak / (1024 if sys.platform != "darwin" else 1024 * 1024)),
        "artifact_kb": round(sum(map(len, version.files.values())) / 1000),
        "test_auc": round(auc(found.table.is_correct[tested], chances) or 0.5, 4),
    }


if __name__ == "__main__":
    sys.exit(main())
