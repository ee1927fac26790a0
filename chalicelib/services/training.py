"""Use cases of trainings: request one, send its message, and send again what was lost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec

from chalicelib import logs, metrics
from chalicelib.domain.errors import QueueUnavailableError, UnavailableError
from chalicelib.domain.fields import ServedVersion, about
from chalicelib.domain.training import (
    Counted,
    Counter,
    Threshold,
    TrackerRow,
    TrainingPolicy,
    TrainingRequest,
    TrainingState,
    WaitReason,
)
from chalicelib.metrics import TRAINING_TRIGGERS
from chalicelib.ports import Tracker, TrainingQueue

_log = logging.getLogger("studysmart.training")
_counter_log = logging.getLogger("studysmart.tasks")

SEND_GRACE_SECONDS = 10.0
"""Age of a request after which the sweeper sends it. Before, its own process is still sending it."""

RESEND_SECONDS = 600.0
"""Time without a worker after which the message is sent again. SQS would drop a duplicate within 300 s."""

ABANDON_SECONDS = 3_600.0
"""Age after which a request is abandoned if sending it again did not help. The next completion can make a new one.

After an outage, an old request is sent again before it is abandoned.
"""


Later = Callable[[Callable[[], None]], None]
"""Runs work that the answer does not need: at once, or after the answer if the process stays alive."""


def at_once(work: Callable[[], None]) -> None:
    """Do the work now. A Lambda must, because it is frozen between its answer and the next request."""
    work()


class ModelStatus(msgspec.Struct, frozen=True):
    """The answer of ``GET /model/status``, field for field. The first training needs ``minimum_samples`` answers."""

    counter: Counter
    threshold: Threshold
    n_samples_total: Annotated[int, about("Number of completed answers", 1_203)]
    n_samples_last_training: Annotated[int, about("Number of answers that the last training learnt from", 1_200)]
    last_trained_at: Annotated[datetime, about("End of the last training", "2026-03-01T10:20:30Z", "date-time")] | None
    model_version: ServedVersion | None
    training: Annotated[TrainingState, about("State of the training")]
    progress: Annotated[Mapping[str, Any], about("Progress of a training that is running", None)] | None
    last_error: Annotated[str, about("Reason why the last training failed", None)] | None
    minimum_samples: Annotated[int, about("Number of answers that the first training needs", 10)]
    last_training_seconds: Annotated[float, about("Duration of the last training in seconds", 18.4)] | None
    training_failures: Annotated[int, about("Number of trainings that failed since the last success", 0)]
    next_training_at: (
        Annotated[datetime, about("Earliest start of the next automatic training", "2026-03-01T10:25:00Z", "date-time")]
        | None
    )
    wait_reason: Annotated[WaitReason, about("Why the next automatic training has to wait", None)] | None


def status(tracker: Tracker, policy: TrainingPolicy, cohort: str) -> ModelStatus:
    """Return the counter and the state of the training."""
    return status_of(tracker.read(cohort), policy)


def status_of(row: TrackerRow, policy: TrainingPolicy) -> ModelStatus:
    """Return a tracker's row as the API shows it."""
    return ModelStatus(
        counter=row.n_samples_since_training,
        threshold=policy.threshold,
        n_samples_total=row.n_samples_total,
        n_samples_last_training=row.n_samples_last_training,
        last_trained_at=row.last_trained_at,
        model_version=row.model_version,
        training=row.state,
        progress=row.progress,
        last_error=row.last_error,
        minimum_samples=policy.minimum_samples,
        last_training_seconds=row.training_seconds,
        training_failures=row.training_failures,
        next_training_at=row.next_training_at,
        wait_reason=row.wait_reason,
    )


class CohortStatus(msgspec.Struct, frozen=True):
    """A cohort in a list, with the state of its training."""

    cohort: Annotated[str, about("Name of the cohort", "physics-2026")]
    counter: Counter
    threshold: Threshold
    n_samples_total: Annotated[int, about("Number of completed answers", 1_203)]
    model_version: ServedVersion | None
    training: Annotated[TrainingState, about("State of the training")]


def cohort_statuses(tracker: Tracker, cohorts: Sequence[str], policy: TrainingPolicy) -> list[CohortStatus]:
    """Return the states of cohorts, in the order of their names. One without a tracker has no answers."""
    rows = {row.cohort: row for row in tracker.rows()}
    found = []
    for cohort in sorted(cohorts):
        row = rows.get(cohort)
        n_new, n_total = (row.n_samples_since_training, row.n_samples_total) if row else (0, 0)
        version, state = (row.model_version, row.state) if row else (None, TrainingState.IDLE)
        found.append(CohortStatus(cohort, n_new, policy.threshold, n_total, version, state))
    return found


def set_counter(tracker: Tracker, policy: TrainingPolicy, cohort: str, value: int) -> ModelStatus:
    """Set the counter towards the next training, and return the status."""
    return status_of(tracker.set_counter(cohort, value), policy)


def force_training(tracker: Tracker, queue: TrainingQueue, cohort: str) -> TrainingRequest | None:
    """Request a training now. Return None if one is queued or running already.

    Raises QueueUnavailableError if the message could not be sent. The sweeper then sends it later.
    """
    request = tracker.request_training(cohort, "forced")
    if request is not None:
        logs.note(training_request_id=request.request_id, reason=request.reason)
        _log.info("training %s was requested by an operator", request.request_id)
        send_request(tracker, queue, request)
    return request


def send_request(tracker: Tracker, queue: TrainingQueue, request: TrainingRequest) -> None:
    """Send a request's message and store the time. Raises QueueUnavailableError."""
    queue.send(request)
    tracker.mark_enqueued(request)
    _log.info("training request %s sent for cohort %s", request.request_id, request.cohort)


def try_to_send(tracker: Tracker, queue: TrainingQueue, request: TrainingRequest) -> None:
    """Send a request's message, or log that the sweeper has to."""
    try:
        send_request(tracker, queue, request)
    except UnavailableError as error:
        _log.error("The training request was not sent; the sweeper will send it: %s", error)


def announce(counted: Counted) -> None:
    """Log the counter after completions, and the training that they triggered."""
    logs.note(counter=counted.counter, threshold=counted.threshold)
    _counter_log.info("counter: %d/%d", counted.counter, counted.threshold)
    if counted.request is not None:
        logs.note(training_request_id=counted.request.request_id, reason=counted.request.reason)
        _counter_log.info("EMBEDDING MODEL AUTO-TRAINING TRIGGERED")
        _counter_log.info("New samples since last training: %d", counted.counter)
        _counter_log.info("Total samples: %d", counted.n_samples_total)


def sweep(tracker: Tracker, queue: TrainingQueue, policy: TrainingPolicy) -> list[str]:
    """Send requests that were not sent or not taken, clear abandoned ones, and return the ids of those sent.

    Trainings that became due while they had to wait are requested, too.
    """
    for cohort in tracker.free_abandoned(ABANDON_SECONDS, RESEND_SECONDS):
        _log.error("the training of cohort %s was abandoned: no worker finished it", cohort)
    sent = []
    unsent = tracker.unsent_requests(SEND_GRACE_SECONDS, RESEND_SECONDS)
    for request in (*_requested_after_wait(tracker, policy), *unsent):
        try:
            send_request(tracker, queue, request)
        except QueueUnavailableError as error:
            _log.error("training request %s could not be sent, trying again later: %s", request.request_id, error)
            continue
        sent.append(request.request_id)
    return sent


def _requested_after_wait(tracker: Tracker, policy: TrainingPolicy) -> list[TrainingRequest]:
    requests = tracker.end_waits(policy)
    for request in requests:
        triggered = {"training_request_id": request.request_id, "reason": request.reason, "cohort": request.cohort}
        triggered |= metrics.fields({TRAINING_TRIGGERS: 1})
        logs.info(_log, "EMBEDDING MODEL AUTO-TRAINING TRIGGERED", extra=triggered)
    return requests
