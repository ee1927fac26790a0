"""One delivery of the training queue, from lease to deletion (DESIGN section 4).

receive -> take the lease -> heartbeat -> pipeline -> tracker's transaction -> delete. A process may die between any
two of these: the message comes again, and finds either the live request or that it is over.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Engine

from chalicelib import metrics
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

_log = logging.getLogger("studysmart.worker")

MAX_RECEIVES = 3
"""After this many failed deliveries the queue's redrive policy moves the message to the dead-letter queue."""

RETRY_SECONDS = 5
"""How long a failed message stays hidden before it is tried again."""


class WorkerStopped(BaseException):
    """The process was asked to end: what it holds is given back at once."""


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
        """Raises TrainingSkipped when there is too little to learn from, and whatever else goes wrong."""
        ...


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker works with."""

    engine: Engine
    tracker: PostgresTracker
    queue: SqsTrainingQueue
    registry: S3ModelRegistry
    policy: TrainingPolicy
    lease_seconds: float
    train: Train


in_hand: TrainingRequest | None = None
"""The request that this process trains for now, for its log lines: a worker trains for one at a time."""


def log_fields() -> dict[str, str | None]:
    """What each log line says while a training is in hand, on every thread: request, cohort and version."""
    if in_hand is None:
        return {}
    return {"training_request_id": in_hand.request_id, "cohort": in_hand.cohort, "version": in_hand.version}


def handle(worker: Worker, delivery: Delivery, seconds: float = math.inf) -> bool:
    """Deal with one delivery: train, skip, leave to another worker, or let it come again.

    A training that does not end within ``seconds`` has failed. Returns whether the message is done with and deleted;
    False: it comes again, or becomes a dead letter.
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
    assert isinstance(lease, Lease)
    global in_hand
    in_hand = request
    try:
        return _train(worker, delivery, request, lease, seconds)
    finally:
        in_hand = None


def _train(worker: Worker, delivery: Delivery, request: TrainingRequest, lease: Lease, limit: float) -> bool:
    started = time.monotonic()
    _log.info("Background training started")

    def keep_hidden(seconds: float) -> None:
        worker.queue.extend(delivery, int(seconds) + 1)

    heartbeat = Heartbeat(worker.tracker, lease, worker.lease_seconds, keep_hidden)
    try:
        keep_hidden(worker.lease_seconds)
        with heartbeat:
            trained = worker.train(request, still_ours=heartbeat.renew, report=heartbeat.report, seconds=limit)
            lease = heartbeat.stop()
        following = worker.tracker.finish(
            lease,
            counted=trained.counted,
            n_samples=trained.n_samples,
            version=trained.champion,
            policy=worker.policy,
        )
    except TrainingSkipped as reason:
        _log.info("Background training skipped: %s", reason, extra={"outcome": "skipped"})
        return _skip(worker, delivery, heartbeat, str(reason))
    except LeaseLostError as error:
        # Not counted as a failure: another worker goes on with it.
        _log.error("Background training failed: %s", error, extra={"outcome": "lost"})
    except WorkerStopped:
        _log.info("the worker was asked to stop, its training is given back")
        _give_back(worker, delivery, heartbeat, "the worker was stopped")
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it is recorded and the message comes again
        failed = {"outcome": "failed", **metrics.fields({TRAINING_FAILURES: 1})}
        _log.error("Background training failed: %s", error, exc_info=error, extra=failed)
        _fail(worker, delivery, heartbeat, f"{type(error).__name__}: {error}")
    else:
        worker.queue.delete(delivery)
        seconds = round(time.monotonic() - started, 3)
        complete = {"outcome": "complete", "champion": trained.champion, "n_samples": trained.n_samples}
        complete |= metrics.fields({TRAINING_DURATION: seconds})
        _log.info("Background training complete (%s, %.1f s)", trained.champion, seconds, extra=complete)
        _send_next(worker, following)
        # An operator may have moved the pointer since the publish.
        versions.announce(worker.registry, worker.tracker, request.cohort)
        return True
    return False


def _send_next(worker: Worker, following: TrainingRequest | None) -> None:
    if following is None:
        return
    # Its own id is another than that of the request in hand, which every line here carries.
    triggered = {"next_request_id": following.request_id, "reason": following.reason}
    triggered |= metrics.fields({TRAINING_TRIGGERS: 1})
    _log.info("EMBEDDING MODEL AUTO-TRAINING TRIGGERED", extra=triggered)
    try:
        training.send_request(worker.tracker, worker.queue, following)
    except UnavailableError as error:
        _log.error("training request was not sent and stamped, the sweeper will see to it: %s", error)


def _skip(worker: Worker, delivery: Delivery, heartbeat: Heartbeat, reason: str) -> bool:
    try:
        worker.tracker.skip_request(heartbeat.stop(), reason)
    except LeaseLostError as error:
        _log.warning("nothing to skip: %s", error)
        return False
    worker.queue.delete(delivery)
    return True


def _fail(worker: Worker, delivery: Delivery, heartbeat: Heartbeat, reason: str) -> None:
    """Give the training back, or after the last delivery give it up: its message then is a dead letter."""
    if delivery.receive_count < MAX_RECEIVES:
        _give_back(worker, delivery, heartbeat, reason, RETRY_SECONDS)
        return
    try:
        worker.tracker.fail_request(heartbeat.stop(), reason)
    except LeaseLostError as error:
        _log.warning("nothing to give up: %s", error)
        return
    worker.queue.extend(delivery, 0)


def _give_back(worker: Worker, delivery: Delivery, heartbeat: Heartbeat, reason: str, hidden_seconds: int = 0) -> None:
    """Release the lease and let the message come again."""
    try:
        worker.tracker.release_lease(heartbeat.stop(), reason)
    except LeaseLostError as error:
        _log.warning("nothing to give back: %s", error)
        return
    worker.queue.extend(delivery, hidden_seconds)
