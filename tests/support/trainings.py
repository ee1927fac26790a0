"""Trainings for workers of tests: in this process instead of one of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from chalicelib.domain.training import TrainingRequest
from training_job import pipeline
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
