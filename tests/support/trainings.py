"""Trainings of tests: of a worker in this process, or each in a process of its own."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from chalicelib.domain.training import TrainingRequest
from chalicelib.prediction.predictor import Predictor
from training_job import pipeline
from training_job.fit.population import Population
from training_job.fit.train import train_version
from training_job.history.answers import AnswerTable
from training_job.history.replay import HistoryPredictions, predict_history
from training_job.parity import parity
from training_job.worker import Worker


def in_process(worker: Worker, train: pipeline.Train = pipeline.train_and_compare) -> Worker:
    """Return a worker that trains in this process, on the engine and the registry that it has now."""

    def run(
        request: TrainingRequest,
        *,
        still_ours: Callable[[], object],
        report: Callable[[Mapping[str, Any]], object],
        seconds: float,
    ) -> pipeline.Trained:
        return pipeline.run(
            request,
            worker.engine,
            worker.registry,
            received_at=datetime.now(UTC),
            still_ours=still_ours,
            report=report,
            train=train,
        )

    return replace(worker, train=run)


@dataclass(frozen=True)
class Published:
    """What a training in a process of its own left: the version's files, and how they agree with Keras."""

    files: dict[str, bytes]
    max_difference: float
    validated: HistoryPredictions
    """What the networks that were validated predict of the history."""
    progress: list[Mapping[str, Any]]

    @property
    def metadata(self) -> dict[str, Any]:
        return dict(json.loads(self.files["metadata.json"]))

    def predictor(self) -> Predictor:
        return Predictor.from_files(self.files)


def published(table: AnswerTable) -> Published:
    """Train a version, and compare it with Keras."""
    progress: list[Mapping[str, Any]] = []
    trained = train_version(Population.of(table), version="v1", on_progress=progress.append)
    raw = json.dumps(trained.metadata, allow_nan=False).encode()
    validated = predict_history(trained.validated, table, np.ones(len(table), dtype=np.bool_))
    return Published({**trained.files, "metadata.json": raw}, parity(trained.files, table), validated, progress)


@contextmanager
def separate_processes() -> Iterator[Executor]:
    """Run each call in a fresh process that has imported Keras, because every training leaves memory behind."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keras", __name__])
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
        yield pool
