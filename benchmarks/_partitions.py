"""Statistics and features of many answers in partitions in S3, computed by one and two processes and by Dask."""

from __future__ import annotations

import os
import resource
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from chalicelib.config import settings_from
from chalicelib.domain.lnirt import N_LEVELS, FloatArray, LnirtParameters
from chalicelib.prediction.vocabulary import Vocabulary
from chalicelib.storage.aws import aws_client
from chalicelib.storage.dataset_store import Partition, S3DatasetStore
from training_job.datasets import ANSWERS_OF_PARTITION, Known, encoded, read_partition
from training_job.execution import execution_of
from training_job.fit.lnirt import fit_lnirt
from training_job.fit.samples import build_vocabulary, fit_constants
from training_job.fit.sums import sums_of
from training_job.fit.trust import trusted_answers
from training_job.history.answers import AnswerTable
from training_job.history.reading import Part, table_of
from training_job.history.replay import read_history

COHORT = "scale"
OF_STUDENT, TOPICS, ITEMS = 100, 40, 5000


class Result(NamedTuple):
    """What comes back of a partition.

    ``sums`` are attempts and correct answers by topic and difficulty, and the sums and sums of squares of the features.
    ``peaks`` is the peak memory in MB of the process, by its id.
    """

    answers: int
    sums: tuple[FloatArray, ...]
    peaks: dict[int, int]

    def plus(self, other: Result) -> Result:
        peaks = {pid: max(self.peaks.get(pid, 0), other.peaks.get(pid, 0)) for pid in self.peaks | other.peaks}
        sums = (one + two for one, two in zip(self.sums, other.sums, strict=True))
        return Result(self.answers + other.answers, tuple(sums), peaks)


def simulated(number: int, students: int) -> Part:
    """Return the answers of one partition's students. Topics and items are those of every partition."""
    of_all, rng = np.random.default_rng(0), np.random.default_rng(number + 1)
    easiness, of_item = of_all.normal(0.5, 0.8, TOPICS), of_all.normal(0.0, 0.5, ITEMS)
    n = students * OF_STUDENT
    user, index = np.repeat(np.arange(students), OF_STUDENT), np.tile(np.arange(OF_STUDENT), students)
    topic, item = rng.integers(TOPICS, size=n), rng.integers(ITEMS, size=n)
    ability = rng.normal(size=students)[user]
    chance = 1 / (1 + np.exp(-ability - easiness[topic] - of_item[item]))
    columns: dict[str, Any] = {
        "user": user.astype(np.int32),
        "topic": topic.astype(np.int32),
        "index": index.astype(np.int64),
        "difficulty": np.full(n, 2, dtype=np.int8),
        "is_correct": (rng.random(n) < chance).astype(np.int8),
        "seconds": np.exp(3.5 - ability / 4 + rng.normal(0.0, 0.5, n)),
        "at": 1.7e9 + 3600.0 * index + user,
        "item": item.astype(np.int64) + 1,
    }
    names = tuple(sorted(str(uuid.UUID(int=int(rng.integers(2**63)))) for _ in range(students)))
    return Part(names, tuple(sorted(f"maths\x1ftopic {topic}" for topic in range(TOPICS))), columns)


def store_of(aws: Mapping[str, str]) -> S3DatasetStore:
    settings = settings_from({**aws, "DATABASE_URL": "postgresql://none"})
    return S3DatasetStore(aws_client("s3", settings.aws_region), settings.registry_bucket)


def compute(aws: Mapping[str, str], partition: Partition, lnirt: LnirtParameters, vocabulary: Vocabulary) -> Result:
    """Read a partition from S3, leave out hostile accounts, and compute sums of answers and of features."""
    os.environ.update(aws)
    table = trusted_answers(table_of([read_partition(store_of(aws), COHORT, partition).part]))
    sums = sums_of(table)
    n_cells = len(table.topics) * N_LEVELS
    dense = read_history(table, lnirt, vocabulary).dense.astype(np.float64)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform != "darwin" else 1024 * 1024)
    return Result(
        len(table),
        (
            np.bincount(sums.cell, weights=sums.attempts, minlength=n_cells),
            np.bincount(sums.cell, weights=sums.correct, minlength=n_cells),
            dense.sum(axis=0),
            np.square(dense).sum(axis=0),
        ),
        {os.getpid(): peak},
    )


def figures(aws: Mapping[str, str], answers: int) -> dict[str, Any]:
    """Write the partitions, and return the figures of each executor."""
    os.environ.update(aws)
    store, students = store_of(aws), ANSWERS_OF_PARTITION // OF_STUDENT
    partitions = []
    for number in range(max(answers // ANSWERS_OF_PARTITION, 2)):
        part = simulated(number, students)
        body = encoded(Known(part, dict.fromkeys(part.user_ids, 0)))
        partitions.append(store.write(COHORT, body, rows=len(part), students=students, fingerprint=str(number)))
    table = trusted_answers(table_of([simulated(0, students)]))
    lnirt, vocabulary = model_of(table)
    n = len(partitions)
    found: dict[str, Any] = {"partitions": n, "answers": sum(partition.rows for partition in partitions)}
    whole: list[Result] = []
    with dask_cluster() as address:
        for name, setting in (("processes_1", "processes:1"), ("processes_2", "processes:2"), ("dask_2", address)):
            with execution_of(setting) as execution:
                # The processes are started and have imported everything.
                execution.map(compute, [aws] * 2, partitions[:2], [lnirt] * 2, [vocabulary] * 2)
                begun = time.monotonic()
                results = execution.map(compute, [aws] * n, partitions, [lnirt] * n, [vocabulary] * n)
                seconds = time.monotonic() - begun
            whole.append(reduce(Result.plus, results))
            found[name] = {
                "seconds": round(seconds, 2),
                "answers_per_second": round(found["answers"] / seconds),
                "learnt": whole[-1].answers,
                "worker_rss_mb": max(whole[-1].peaks.values()),
                "workers": len(whole[-1].peaks),
            }
    found["same_results"] = all(
        np.array_equal(one, two) for other in whole[1:] for one, two in zip(whole[0].sums, other.sums, strict=True)
    )
    found["speedup_2"] = round(found["processes_1"]["seconds"] / found["processes_2"]["seconds"], 2)
    found["speedup_dask_2"] = round(found["processes_1"]["seconds"] / found["dask_2"]["seconds"], 2)
    return found


def model_of(table: AnswerTable) -> tuple[LnirtParameters, Vocabulary]:
    """Return the LNIRT parameters and the vocabulary that the features are computed with."""
    lnirt = fit_lnirt(table)
    return lnirt, build_vocabulary(table, np.ones(len(table), dtype=np.bool_), fit_constants(table, lnirt))


@contextmanager
def dask_cluster() -> Iterator[str]:
    """Start a Dask cluster of two workers with one thread each, and give its address as a ``TRAINING_EXECUTOR``."""
    import distributed

    cluster_of: Any = distributed.LocalCluster
    with cluster_of(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        yield cluster.scheduler_address.replace("tcp://", "dask://")
