"""A deployment for the state machine: the API, workers that die where they are told to, and a clock to move.

Everything is real but the network that is trained: :class:`QuickTraining` makes a version in milliseconds, whose files
registry, gate and predictor read as they read any other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NoReturn

from sqlalchemy import text

from chalicelib.config import settings_from
from chalicelib.domain.errors import ModelError
from chalicelib.domain.training import TrainingRequest
from chalicelib.prediction.predictor import Predictor
from chalicelib.storage.aws import aws_client
from chalicelib.storage.model_registry import S3ModelRegistry
from chalicelib.storage.tracker import Lease, PostgresTracker
from chalicelib.storage.training_queue import Delivery, SqsTrainingQueue
from chalicelib.wiring import Container, build
from ops.doctor.checks import Doctor
from tests.support.archives import network, version_files
from tests.support.trainings import in_process
from training_job.fit.optimise import Progress
from training_job.fit.population import Population
from training_job.fit.train import TrainedVersion, check_samples
from training_job.pipeline import Train
from training_job.process import TrainingProcess
from training_job.wiring import build as build_worker
from training_job.worker import Worker, handle

LEASE_SECONDS = 600.0
"""Longer than any run: a lease runs out only when the clock is moved."""

FILES_BEFORE_DEATH = 2


class Killed(BaseException):
    """The worker's process is gone: nothing after this happens."""


class QuickTraining:
    """Stands in for Keras. ``bias`` spoils the predictions; ``meanwhile`` happens between snapshot and version."""

    def __init__(self, bias: float = 0.0, meanwhile: Callable[[], object] = lambda: None) -> None:
        self._bias = bias
        self._meanwhile = meanwhile
        self.trouble: AssertionError | None = None

    def __call__(self, population: Population, *, version: str, on_progress: Progress, **_: Any) -> TrainedVersion:
        check_samples(population.everything)
        on_progress({"phase": "correctness"})
        try:
            self._meanwhile()
        except AssertionError as error:
            # The worker would take it for a training that failed.
            self.trouble = error
            raise
        files = version_files(version=version) | {"correctness_model.keras": network(0.1, 4, bias=self._bias)}
        validated = Predictor.from_files(files)
        metadata = json.loads(files.pop("metadata.json"))
        return TrainedVersion(files, metadata, validated)


class BrokenTraining:
    """A training that always fails."""

    def __call__(self, population: Population, *, version: str, on_progress: Progress, **_: Any) -> TrainedVersion:
        check_samples(population.everything)
        raise ModelError("the training was made to fail")


class DyingS3:
    """An S3 client whose worker dies at a point of the publish."""

    def __init__(self, client: Any, death: str) -> None:
        self._client = client
        self._death = death
        self._written = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_object(self, **how: Any) -> Any:
        pointer = how["Key"].endswith("champion.json")
        between_files = self._death == "between files" and self._written == FILES_BEFORE_DEATH
        if between_files or (pointer and self._death == "before the pointer"):
            raise Killed
        self._written += 1
        answer = self._client.put_object(**how)
        if pointer and self._death == "after the pointer":
            raise Killed
        return answer


class DyingTracker(PostgresTracker):
    """A tracker whose worker dies before it ends a training."""

    def finish(self, lease: Lease, **how: Any) -> TrainingRequest | None:
        raise Killed


class DyingQueue(SqsTrainingQueue):
    """A queue whose worker dies before it deletes the message, or before it sends the next request."""

    def __init__(self, client: Any, url: str, death: str) -> None:
        super().__init__(client, url)
        self._death = death

    def delete(self, delivery: Delivery) -> None:
        if self._death == "before delete":
            raise Killed
        super().delete(delivery)

    def send(self, request: TrainingRequest) -> None:
        if self._death == "before the next request":
            raise Killed
        super().send(request)


class Deployment:
    """One backend on resources of its own."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._settings = settings_from({**environment, "LEASE_SECONDS": str(LEASE_SECONDS)})
        self.cohort = self._settings.cohort
        self.start()

    def start(self) -> None:
        """Fresh processes: nothing is in memory, no connection is open."""
        self.api: Container = build(self._settings)
        self.worker: Worker = build_worker(self._settings, TrainingProcess(_never))
        self.doctor = Doctor(self.api, second_look_seconds=0.0)
        self._s3 = aws_client("s3", self._settings.aws_region)
        self._sqs = aws_client("sqs", self._settings.aws_region)

    def stop(self) -> None:
        self.api.engine.dispose()
        self.worker.engine.dispose()

    def work(self, delivery: Delivery, train: Train | None, death: str | None) -> bool:
        """A worker deals with a delivery, up to its ``death``; returns whether it came to that."""
        worker, train = self.worker, train or QuickTraining()
        if death == "at receive":
            return True
        if death == "at lease":
            assert delivery.request is not None
            worker.tracker.take_lease(delivery.request, LEASE_SECONDS)
            return True
        if death == "in training":
            train = QuickTraining(meanwhile=_die)
        elif death == "before finish":
            worker = replace(worker, tracker=DyingTracker(worker.engine))
        elif death is not None:
            s3: Any = DyingS3(self._s3, death)
            registry = S3ModelRegistry(s3, self._settings.registry_bucket)
            queue = DyingQueue(self._sqs, self._settings.training_queue_url, death)
            worker = replace(worker, registry=registry, queue=queue)
        try:
            handle(in_process(worker, train), delivery)
        except Killed:
            return True
        if isinstance(train, QuickTraining) and train.trouble is not None:
            raise train.trouble
        return False

    def objects(self) -> set[tuple[str, str]]:
        """(key, ETag) of everything in the registry's bucket."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._settings.registry_bucket)
        return {(entry["Key"], entry["ETag"]) for page in pages for entry in page.get("Contents", [])}

    def rows(self, query: str, **values: Any) -> list[Any]:
        with self.api.engine.connect() as connection:
            return list(connection.execute(text(query), values).all())

    def move_clock(self, column: str, seconds: float) -> None:
        """Let a time in the tracker lie ``seconds`` before now."""
        query = f"UPDATE embedding_model_tracker SET {column} = clock_timestamp() - :seconds * interval '1 second'"
        with self.api.engine.connect() as connection:
            connection.execute(text(query), {"seconds": seconds})


def _die() -> None:
    raise Killed


def _never() -> NoReturn:
    raise AssertionError("a training of this deployment needs no process of its own")
