"""The tracker: counters, the live training request, its lease and progress. Judged by the database's clock only.

A lease has no owner column: whoever holds it knows the exact ``lease_expires_at`` that it wrote last, and renews
or finishes only while the row still has that value. A worker that was overtaken finds another value and stops.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, text

from chalicelib.domain.errors import LeaseLostError
from chalicelib.domain.training import TrackerRow, TrainingPolicy, TrainingRequest
from chalicelib.storage.database import statement, transaction

_READ = text(
    """
    SELECT cohort, n_samples_since_training, n_samples_last_training, n_samples_total, last_trained_at,
           model_version, training_request_id, training_requested_at, training_enqueued_at, lease_expires_at,
           coalesce(training_request_id IS NOT NULL AND lease_expires_at > clock_timestamp(), false),
           progress, last_error
    FROM embedding_model_tracker WHERE cohort = :cohort
    """
)

_ENSURE = text("INSERT INTO embedding_model_tracker (cohort) VALUES (:cohort) ON CONFLICT (cohort) DO NOTHING")

_REQUEST_BY_FORCE = text(
    """
    UPDATE embedding_model_tracker
    SET training_request_id = CAST(:id AS uuid), training_requested_at = clock_timestamp(), training_reason = :reason,
        training_enqueued_at = NULL, lease_expires_at = NULL, progress = NULL
    WHERE cohort = :cohort AND training_request_id IS NULL
    RETURNING training_requested_at
    """
)

_UNSENT = text(
    """
    SELECT training_request_id, cohort, training_requested_at, training_reason FROM embedding_model_tracker
    WHERE training_request_id IS NOT NULL AND (lease_expires_at IS NULL OR lease_expires_at < clock_timestamp())
      AND (training_enqueued_at IS NULL AND training_requested_at < clock_timestamp() - :grace * interval '1 second'
           OR training_enqueued_at < clock_timestamp() - :resend * interval '1 second')
    """
)

_FREE_ABANDONED = text(
    """
    UPDATE embedding_model_tracker
    SET training_request_id = NULL, training_requested_at = NULL, training_enqueued_at = NULL,
        training_reason = NULL, lease_expires_at = NULL, progress = NULL,
        last_error = 'training was abandoned: no worker finished it'
    WHERE training_request_id IS NOT NULL AND (lease_expires_at IS NULL OR lease_expires_at < clock_timestamp())
      AND training_enqueued_at >= training_requested_at + :after * interval '1 second'
      AND training_enqueued_at < clock_timestamp() - :resend * interval '1 second'
    RETURNING cohort
    """
)
"""Age alone abandons nothing: after an outage of everything a request is old, and nobody was there to take it up."""

_TAKE_LEASE = text(
    """
    UPDATE embedding_model_tracker
    SET lease_expires_at = clock_timestamp() + :seconds * interval '1 second',
        training_enqueued_at = coalesce(training_enqueued_at, clock_timestamp()), progress = NULL
    WHERE cohort = :cohort AND training_request_id = CAST(:id AS uuid)
      AND (lease_expires_at IS NULL OR lease_expires_at < clock_timestamp())
    RETURNING lease_expires_at
    """
)

_RENEW_LEASE = text(
    """
    UPDATE embedding_model_tracker SET lease_expires_at = clock_timestamp() + :seconds * interval '1 second'
    WHERE cohort = :cohort AND training_request_id = CAST(:id AS uuid) AND lease_expires_at = :expires_at
    RETURNING lease_expires_at
    """
)

_PROGRESS = text(
    """
    UPDATE embedding_model_tracker SET progress = CAST(:progress AS jsonb)
    WHERE cohort = :cohort AND training_request_id = CAST(:id AS uuid) AND lease_expires_at = :expires_at
    """
)

_FINISH = text(
    """
    UPDATE embedding_model_tracker k
    SET n_samples_since_training = after.counter, n_samples_last_training = :n_samples,
        last_trained_at = clock_timestamp(), model_version = :version, last_error = NULL,
        training_request_id = CASE WHEN after.due THEN CAST(:next_id AS uuid) END,
        training_requested_at = CASE WHEN after.due THEN clock_timestamp() END,
        training_reason = CASE WHEN after.due THEN 'threshold' END,
        training_enqueued_at = NULL, lease_expires_at = NULL, progress = NULL
    FROM (SELECT greatest(n_samples_since_training - :counted, 0) AS counter,
                 greatest(n_samples_since_training - :counted, 0) >= :threshold
                 AND n_samples_total >= :minimum AS due
          FROM embedding_model_tracker WHERE cohort = :cohort FOR UPDATE) AS after
    WHERE cohort = :cohort AND training_request_id = CAST(:id AS uuid) AND lease_expires_at = :expires_at
    RETURNING training_request_id, training_requested_at
    """
)

_CLEAR = text(
    """
    UPDATE embedding_model_tracker
    SET training_request_id = NULL, training_requested_at = NULL, training_enqueued_at = NULL,
        training_reason = NULL, lease_expires_at = NULL, progress = CAST(:progress AS jsonb), last_error = :error
    WHERE cohort = :cohort AND training_request_id = CAST(:id AS uuid) AND lease_expires_at = :expires_at
    """
)

_RELEASE = text(
    """
    UPDATE embedding_model_tracker SET lease_expires_at = NULL, progress = NULL, last_error = :error
    WHERE cohort = :cohort AND training_request_id = CAST(:id AS uuid) AND lease_expires_at = :expires_at
    """
)


class LeaseAnswer(StrEnum):
    """Why a lease was not given."""

    STALE = "stale"
    BUSY = "busy"


class Lease(msgspec.Struct, frozen=True):
    """The right to train for one request until ``expires_at`` (the database's clock)."""

    request: TrainingRequest
    expires_at: datetime


class PostgresTracker:
    """Implements :class:`chalicelib.ports.Tracker`, and the worker's side of the protocol."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, cohort: str) -> TrackerRow:
        """The cohort's row, made if it is not there."""
        values = {"cohort": cohort}
        row = statement(self._engine, lambda c: c.execute(_READ, values).one_or_none())
        if row is None:
            statement(self._engine, lambda c: c.execute(_ENSURE, values))
            row = statement(self._engine, lambda c: c.execute(_READ, values).one())
        fields = list(row)
        fields[6] = None if fields[6] is None else str(fields[6])
        return TrackerRow(*fields)

    def set_counter(self, cohort: str, value: int) -> TrackerRow:
        """Set ``n_samples_since_training``; the next completion counts on from there."""
        query = text("UPDATE embedding_model_tracker SET n_samples_since_training = :value WHERE cohort = :cohort")
        self.read(cohort)
        statement(self._engine, lambda c: c.execute(query, {"value": value, "cohort": cohort}))
        return self.read(cohort)

    def set_model_version(self, cohort: str, version: str | None) -> None:
        """Say which version serves, so that the next creation notices."""
        query = text("UPDATE embedding_model_tracker SET model_version = :version WHERE cohort = :cohort")
        statement(self._engine, lambda c: c.execute(query, {"version": version, "cohort": cohort}))

    def request_training(self, cohort: str, reason: str) -> TrainingRequest | None:
        """Make a request by force; None when one is live already."""
        self.read(cohort)
        values = {"id": str(uuid.uuid4()), "cohort": cohort, "reason": reason}
        row = transaction(self._engine, lambda c: c.execute(_REQUEST_BY_FORCE, values).one_or_none())
        return None if row is None else TrainingRequest(values["id"], cohort, row[0], reason)

    def mark_enqueued(self, request: TrainingRequest) -> None:
        """Stamp that the request's message was sent."""
        query = text(
            "UPDATE embedding_model_tracker SET training_enqueued_at = clock_timestamp() "
            "WHERE cohort = :cohort AND training_request_id = CAST(:id AS uuid)"
        )
        statement(self._engine, lambda c: c.execute(query, {"cohort": request.cohort, "id": request.request_id}))

    def unsent_requests(self, grace_seconds: float, resend_seconds: float) -> list[TrainingRequest]:
        """Requests never stamped as sent for ``grace_seconds``, or sent and not taken up for ``resend_seconds``."""
        values = {"grace": float(grace_seconds), "resend": float(resend_seconds)}
        rows = statement(self._engine, lambda c: c.execute(_UNSENT, values).all())
        return [TrainingRequest(str(i), cohort, at, reason or "threshold") for i, cohort, at, reason in rows]

    def free_abandoned(self, after_seconds: float, resend_seconds: float) -> list[str]:
        """Clear requests that no worker holds, sent again after ``after_seconds`` and in vain for ``resend_seconds``.

        Returns their cohorts.
        """
        values = {"after": float(after_seconds), "resend": float(resend_seconds)}
        return [cohort for (cohort,) in statement(self._engine, lambda c: c.execute(_FREE_ABANDONED, values).all())]

    def take_lease(self, request: TrainingRequest, seconds: float) -> Lease | LeaseAnswer:
        """The lease of a live request that nobody holds; STALE when it is over, BUSY when another holds it."""
        values = {"cohort": request.cohort, "id": request.request_id, "seconds": float(seconds)}
        row = transaction(self._engine, lambda c: c.execute(_TAKE_LEASE, values).one_or_none())
        if row is not None:
            return Lease(request, row[0])
        live = self.read(request.cohort).training_request_id == request.request_id
        return LeaseAnswer.BUSY if live else LeaseAnswer.STALE

    def renew_lease(self, lease: Lease, seconds: float) -> Lease:
        """The lease, prolonged; LeaseLostError when another worker has it or the request is over."""
        values = {**_lease_values(lease), "seconds": float(seconds)}
        row = transaction(self._engine, lambda c: c.execute(_RENEW_LEASE, values).one_or_none())
        if row is None:
            raise LeaseLostError(f"training {lease.request.request_id} is no longer held by this worker")
        return Lease(lease.request, row[0])

    def record_progress(self, lease: Lease, progress: Mapping[str, Any]) -> None:
        """Say how far the training is; nothing happens when the lease is lost."""
        values = {**_lease_values(lease), "progress": json.dumps(dict(progress))}
        statement(self._engine, lambda c: c.execute(_PROGRESS, values))

    def finish(
        self, lease: Lease, *, counted: int, n_samples: int, version: str | None, policy: TrainingPolicy
    ) -> TrainingRequest | None:
        """End a training: subtract what it covered, and request the next one when enough came meanwhile.

        ``counted`` is the counter as it was when the snapshot was read; ``version`` the champion that serves now.
        Returns the next request, which the caller sends. Raises LeaseLostError when another worker has the lease.
        """
        values = {
            **_lease_values(lease),
            "counted": counted,
            "n_samples": n_samples,
            "version": version,
            "next_id": str(uuid.uuid4()),
            "threshold": policy.threshold,
            "minimum": policy.minimum_samples,
        }
        row = transaction(self._engine, lambda c: c.execute(_FINISH, values).one_or_none())
        if row is None:
            raise LeaseLostError(f"training {lease.request.request_id} is no longer held by this worker")
        if row[0] is None:
            return None
        return TrainingRequest(str(row[0]), lease.request.cohort, row[1], "threshold")

    def fail_request(self, lease: Lease, error: str) -> None:
        """Give a request up that failed for the last time, so that the next completion can trigger again.

        Nothing happens when the lease is lost: the request is another worker's then.
        """
        self._clear(lease, error=error, progress=None)

    def skip_request(self, lease: Lease, reason: str) -> None:
        """End a request that there was nothing to train for: no error, and the counter stays as it is."""
        self._clear(lease, error=None, progress={"phase": "skipped", "reason": reason})

    def _clear(self, lease: Lease, error: str | None, progress: Mapping[str, Any] | None) -> None:
        stored = None if progress is None else json.dumps(dict(progress))
        values = {**_lease_values(lease), "error": error, "progress": stored}
        statement(self._engine, lambda c: c.execute(_CLEAR, values))

    def release_lease(self, lease: Lease, error: str) -> None:
        """Let go of a training that failed, so that its redelivery can take it up; says why it failed."""
        statement(self._engine, lambda c: c.execute(_RELEASE, {**_lease_values(lease), "error": error}))

    def ping(self) -> None:
        """Raise DatabaseUnavailableError when the database does not answer."""

        def work(connection: Connection) -> None:
            connection.exec_driver_sql("SELECT 1")

        statement(self._engine, work)


def _lease_values(lease: Lease) -> dict[str, Any]:
    return {"cohort": lease.request.cohort, "id": lease.request.request_id, "expires_at": lease.expires_at}
