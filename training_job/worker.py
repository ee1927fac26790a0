"""Handles one delivery of the training queue, from the lease to the deletion of the message.

receive -> take the lease -> heartbeat -> train and publish -> finish in the tracker -> delete. The process may die
between any two of these. Then the message comes again, and the next worker finds the request either live or over.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Engine

from chalicelib import logs, metrics
from chalicelib.domain.errors import LeaseLostError, UnavailableError
from chalicelib.domain.training import TrainingPolicy, TrainingRequest
from chalicelib.metrics import TRAINING_DURATION, TRAINING_FAILURES, TRAINING_TRIGGERS
from chalicelib.services import training, versions
from chalicelib.storage.model_registry import S3ModelRegistry
from chalicelib.storage.tracker import Lease, LeaseAnswer, PostgresTracker
from chalicelib.storage.training_queue import Delivery, SqsTrainingQueue
from training_job.fit.train import TrainingSkipped
from training_job.heartbeat import Heartbeat
from training_job.pipeline import Trained
from training_job.protection import TaskProtection

_log = logging.getLogger("studysmart.worker")

MAX_RECEIVES = 3
"""Number of failed deliveries after which the queue's redrive policy moves the message to the dead-letter queue."""

RETRY_SECONDS = 5
"""How long a failed message stays hidden before it comes again."""


class WorkerStopped(BaseException):
    """The process was asked to end. It gives back at once what it holds."""


class Train(Protocol):
    """Trains and publishes for a request, as :meth:`training_job.process.TrainingProcess.train` does."""

    def __call__(
        self,
        request: TrainingRequest,
        *,
        still_ours: Callable[[], object],
        report: Callable[[Mapping[str, Any]], object],
        seconds: float,
    ) -> Trained:
        """Raise TrainingSkipped when there is too little to learn from, any other error when the training failed."""
        ...


@dataclass(frozen=True, slots=True)
class Worker:
    """The services of a worker, and its way to train."""

    engine: Engine
    tracker: PostgresTracker
    queue: SqsTrainingQueue
    registry: S3ModelRegistry
    policy: TrainingPolicy
    lease_seconds: float
    train: Train
    protection: TaskProtection


def handle(worker: Worker, delivery: Delivery, seconds: float = math.inf) -> bool:
    """Handle one delivery and return whether its message is deleted.

    A message that is not deleted comes again or becomes a dead letter. A training that takes longer than ``seconds``
    has failed.
    """
    request = delivery.request
    if request is None:
        _log.error("Background training failed: the message is no training request: %.200r", delivery.body)
        worker.queue.extend(delivery, 0)
        return False
    lease = worker.tracker.take_lease(request, worker.lease_seconds)
    if lease is LeaseAnswer.STALE:
        _log.info("training request %s is over, its message is dropped", request.request_id)
        worker.queue.delete(delivery)
        return True
    if lease is LeaseAnswer.BUSY:
        _log.info("training request %s is being worked on, looking again later", request.request_id)
        worker.queue.extend(delivery, int(worker.lease_seconds) + 1)
        return False
    assert isinstance(lease, Lease)  # noqa: S101 - narrows a type
    with logs.fields(training_request_id=request.request_id, cohort=request.cohort, version=request.version):
        return _train(worker, delivery, request, lease, seconds)


def _train(worker: Worker, delivery: Delivery, request: TrainingRequest, lease: Lease, limit: float) -> bool:
    started = time.monotonic()
    _log.info("Background training started")

    def keep_hidden(seconds: float) -> None:
        worker.protection.protect()
        worker.queue.extend(delivery, int(seconds) + 1)

    heartbeat = Heartbeat(worker.tracker, lease, worker.lease_seconds, keep_hidden)
    try:
        keep_hidden(worker.lease_seconds)
        with heartbeat:
            trained = worker.train(request, still_ours=heartbeat.renew, report=heartbeat.report, seconds=limit)
            lease = heartbeat.stop()
        seconds = round(max(time.monotonic() - started, trained.seconds), 3)
        following = worker.tracker.finish(
            lease,
            counted=trained.counted,
            n_samples=trained.n_samples,
            version=trained.champion,
            policy=worker.policy,
            seconds=seconds,
        )
    except TrainingSkipped as reason:
        _log.info("Background training skipped: %s", reason, extra={"outcome": "skipped"})
        skipped = str(reason)
        if _ended(heartbeat, lambda lease: worker.tracker.skip_request(lease, skipped)):
            worker.queue.delete(delivery)
            return True
    except LeaseLostError as error:
        # This is not counted as a failure: another worker continues the training.
        _log.error("Background training failed: %s", error, extra={"outcome": "lost"})
    except WorkerStopped:
        _log.info("the worker was asked to stop, its training is given back")
        _give_back(worker, delivery, heartbeat, "the worker was stopped")
        raise
    except Exception as error:  # noqa: BLE001 - every error is recorded, and the message comes again
        failed = {"outcome": "failed", **metrics.fields({TRAINING_FAILURES: 1})}
        _log.error("Background training failed: %s", error, exc_info=error, extra=failed)
        _fail(worker, delivery, heartbeat, f"{type(error).__name__}: {error}", time.monotonic() - started)
    else:
        worker.queue.delete(delivery)
        complete = {"outcome": "complete", "champion": trained.champion, "n_samples": trained.n_samples}
        complete |= metrics.fields({TRAINING_DURATION: seconds})
        logs.info(_log, "Background training complete (%s, %.1f s)", trained.champion, seconds, extra=complete)
        if (wait := worker.policy.wait_after(seconds)) > 0:
            duty = worker.policy.duty
            _log.info("the next automatic training waits for at least %.0f s: TRAINING_DUTY is %g", wait, duty)
        _send_next(worker, following)
        # An operator may have moved the pointer since the publish.
        versions.announce(worker.registry, worker.tracker, request.cohort)
        return True
    finally:
        worker.protection.release()
    return False


def _send_next(worker: Worker, following: TrainingRequest | None) -> None:
    """Send the request that became due while the training ran."""
    if following is None:
        return
    # The field training_request_id of each line here is that of the request before.
    triggered = {"next_request_id": following.request_id, "reason": following.reason}
    triggered |= metrics.fields({TRAINING_TRIGGERS: 1})
    logs.info(_log, "EMBEDDING MODEL AUTO-TRAINING TRIGGERED", extra=triggered)
    try:
        training.send_request(worker.tracker, worker.queue, following)
    except UnavailableError as error:
        _log.error("the training request was not sent and stamped, the sweeper will send it: %s", error)


def _fail(worker: Worker, delivery: Delivery, heartbeat: Heartbeat, reason: str, seconds: float) -> None:
    """Give the training back, or give it up after the last delivery, when its message becomes a dead letter."""
    if delivery.receive_count < MAX_RECEIVES:
        _give_back(worker, delivery, heartbeat, reason, RETRY_SECONDS)
    elif _ended(heartbeat, lambda lease: _give_up(worker, lease, reason, seconds)):
        worker.queue.extend(delivery, 0)


def _give_up(worker: Worker, lease: Lease, reason: str, seconds: float) -> None:
    failed = worker.tracker.fail_request(lease, reason, worker.policy, seconds)
    if failed is not None:
        n, until = failed
        _log.error("the next automatic training starts no earlier than %s, after failure %d in a row", until, n)


def _give_back(worker: Worker, delivery: Delivery, heartbeat: Heartbeat, reason: str, hidden_seconds: int = 0) -> None:
    """Release the lease and let the message come again."""
    if _ended(heartbeat, lambda lease: worker.tracker.release_lease(lease, reason)):
        worker.queue.extend(delivery, hidden_seconds)


def _ended(heartbeat: Heartbeat, end: Callable[[Lease], object]) -> bool:
    """End the training by its lease, and return whether the lease was still ours."""
    try:
        end(heartbeat.stop())
    except LeaseLostError as error:
        _log.warning("the training belongs to another worker now: %s", error)
        return False
    return True
