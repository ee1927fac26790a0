"""One training from snapshot to champion: read the answers, train, check, publish. It knows no queue and no lease.

The version is named after the request. So a delivery that comes again finds what an earlier one published, and does
not train again for a version that serves already.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy import Engine

from chalicelib.domain.errors import ModelError, NotFoundError
from chalicelib.domain.training import TrainingRequest
from chalicelib.services.versions import read_pointer, roles
from chalicelib.storage.dataset_store import S3DatasetStore
from chalicelib.storage.model_registry import S3ModelRegistry
from training_job import gate
from training_job.execution import INLINE, Execution, execution_of
from training_job.fit.optimise import Progress
from training_job.fit.population import Population
from training_job.fit.train import TrainedVersion, train_version
from training_job.fit.trust import trusted_answers
from training_job.history.snapshot import Snapshot, read_snapshot
from training_job.parity import parity
from training_job.publish import publish

_log = logging.getLogger("studysmart.worker")

PARITY_TOLERANCE = 1e-4
"""Largest difference between the probabilities and log seconds of numpy and Keras on the probe answers."""

MIN_DIVIDED = 50_000
"""Number of answers from which a training uses its executor. Without one, a smaller training takes some seconds."""


@dataclass(frozen=True, slots=True)
class Trained:
    """The version that serves after a training, and the number of answers that the training learnt from.

    ``counted`` is the counter when the answers were read; the tracker subtracts it when the training ends. ``seconds``
    is how long an earlier delivery trained, if it published the version.
    """

    champion: str
    counted: int
    n_samples: int
    seconds: float = 0.0


class Train(Protocol):
    """Makes a version that numpy serves as it was trained."""

    def __call__(
        self, population: Population, *, version: str, on_progress: Progress, execution: Execution
    ) -> TrainedVersion:
        """Raise TrainingSkipped when there is too little to learn from, ModelError when the version is not usable."""
        ...


def train_and_compare(
    population: Population, *, version: str, on_progress: Progress, execution: Execution = INLINE
) -> TrainedVersion:
    """Train with Keras, and raise ModelError unless numpy predicts the same.

    The metadata keep the largest difference as ``parity``.
    """
    trained = train_version(population, version=version, on_progress=on_progress, execution=execution)
    difference = parity(trained.files, population.sample)
    if not difference <= PARITY_TOLERANCE:
        raise ModelError(f"numpy and Keras differ by {difference:.2g} on the probe batch")
    return replace(trained, metadata={**trained.metadata, "parity": difference})


def run(
    request: TrainingRequest,
    engine: Engine,
    registry: S3ModelRegistry,
    *,
    received_at: datetime,
    still_ours: Callable[[], object],
    report: Callable[[Mapping[str, Any]], object],
    train: Train = train_and_compare,
    datasets: S3DatasetStore | None = None,
    max_answers: float = math.inf,
    max_network_answers: float = math.inf,
    executor: str = "inline",
) -> Trained:
    """Train and publish for a request. Raises TrainingSkipped when there is too little to learn from.

    ``received_at`` is when its message was received. ``still_ours`` raises LeaseLostError when another worker took
    over, ``report`` stores progress. With ``datasets``, the answers of a large cohort are kept there,
    and at most ``max_answers`` are learnt from, by the networks at most ``max_network_answers``.
    ``executor`` is where a large training is computed (:mod:`training_job.execution`).
    """
    done = _published_before(request, registry)
    if done is not None:
        return done
    report({"phase": "dataset"})
    snapshot = read_snapshot(engine, request.cohort, datasets, max_answers=max_answers)
    _announce(snapshot)
    table = trusted_answers(snapshot.table)
    population = Population.of(table, max_network_answers)
    with execution_of(executor if len(snapshot.table) >= MIN_DIVIDED else "inline") as execution:
        trained = train(population, version=request.version, on_progress=_progress_to(report), execution=execution)
    report({"phase": "publish"})
    metadata = {
        **trained.metadata,
        "request_id": request.request_id,
        "reason": request.reason,
        "received_at": received_at.isoformat(),
        "trained_at": datetime.now(UTC).isoformat(),
        "counted": snapshot.counter,
        "n_samples": len(snapshot.table),
        "n_samples_read": snapshot.rows_read,
        "n_untrusted_samples": len(snapshot.table) - len(table),
        gate.NEWEST_ANSWER: gate.reach(snapshot.table),
    }
    judge = gate.judge_on(population.sample, trained.validated)
    champion = publish(
        registry, request.cohort, request.version, trained.files, metadata, judge, request.requested_at, still_ours
    )
    return Trained(champion, snapshot.counter, len(snapshot.table))


def _published_before(request: TrainingRequest, registry: S3ModelRegistry) -> Trained | None:
    """Return the outcome of an earlier delivery of this request, or None if no delivery published its version.

    The pointer still names a published version if another version has become the champion since. The pointer stays as
    it is, because a repeated delivery must not undo a later training or a rollback.
    """
    champion, _ = read_pointer(registry, request.cohort)
    if champion is None or request.version not in roles(champion):
        return None
    try:
        metadata = registry.read_metadata(request.cohort, request.version)
    except (ModelError, NotFoundError) as error:
        _log.error("version %s was published and is damaged, training again: %s", request.version, error)
        return None
    _log.info("version %s was published already, finishing what an earlier delivery began", request.version)
    seconds = float(metadata.get("trained_seconds", 0.0))
    return Trained(champion.version, int(metadata["counted"]), int(metadata["n_samples"]), seconds)


def _announce(snapshot: Snapshot) -> None:
    users, topics = len(snapshot.table.user_ids), len(snapshot.table.topics)
    _log.info("New samples since last training: %d", snapshot.counter)
    _log.info("Total samples: %d", len(snapshot.table))
    _log.info("Users: %d (embedding: 32)", users)
    _log.info("Topics: %d (embedding: 20)", topics)
    _log.info("Training sequences: %d", users)


def _progress_to(report: Callable[[Mapping[str, Any]], object]) -> Progress:
    """Return a function that logs each epoch and passes all progress on to ``report``."""

    def on_progress(progress: Mapping[str, Any]) -> None:
        if "epoch" in progress:
            figures = ", ".join(f"{k} {v:.4f}" for k, v in progress.items() if isinstance(v, float))
            _log.info("Epoch %d/%d: %s %s", progress["epoch"], progress["epochs"], progress["phase"], figures)
        report(progress)

    return on_progress
