"""The tracker in PostgreSQL: counters, the live training request, its lease and its progress.

There is one row per cohort. A cohort has at most one live request. Times are compared with the database's clock only,
because the clocks of workers differ.

A lease has no owner column. Its holder knows the exact ``lease_expires_at`` that it wrote last, and every statement of
the holder requires that value. A worker that was overtaken finds another value there, and stops.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Engine, TextClause, text

from chalicelib.domain.errors import LeaseLostError
from chalicelib.domain.training import (
    FIRST_WAIT_SECONDS,
    LONGEST_WAIT_SECONDS,
    TrackerRow,
    TrainingPolicy,
    TrainingRequest,
)
from chalicelib.domain.webhooks import EventType
from chalicelib.storage.database import statement, transaction
from chalicelib.storage.shards import ENSURE, SUM_OF_ROW_SQL, SUM_SQL, due_sql, policy_values, settle, uncounted_sql
from chalicelib.storage.webhook_store import event_sql


def failed_sql(wait: str) -> str:
    """Return the changes of a row whose training has failed. ``wait`` is SQL: the seconds that a success would wait.

    The wait is doubled by each failure, up to :data:`LONGEST_WAIT_SECONDS`, and never shorter than after a success.
    """
    first = f"greatest({FIRST_WAIT_SECONDS}, {wait})"
    doubled = f"least({LONGEST_WAIT_SECONDS}, {first} * power(2, least(training_failures, 30)))"
    return f"""training_failures = training_failures + 1,
        next_training_at = clock_timestamp() + greatest({wait}, {doubled}) * interval '1 second'"""


_NO_LEASE = "(lease_expires_at IS NULL OR lease_expires_at < clock_timestamp())"

_LIVE_REQUEST = "cohort = :cohort AND training_request_id = CAST(:id AS uuid)"

_HELD = f"{_LIVE_REQUEST} AND lease_expires_at = :expires_at"

_CLEAR_REQUEST = """training_request_id = NULL, training_requested_at = NULL, training_enqueued_at = NULL,
        training_reason = NULL, lease_expires_at = NULL"""

_ROWS = f"""
    SELECT cohort, n_samples_since_training + {uncounted_sql("k", SUM_OF_ROW_SQL)}, n_samples_last_training,
           n_samples_total + {uncounted_sql("k", SUM_OF_ROW_SQL)}, last_trained_at,
           model_version, CAST(training_request_id AS text), training_requested_at, training_enqueued_at,
           lease_expires_at, coalesce(training_request_id IS NOT NULL AND lease_expires_at > clock_timestamp(), false),
           progress, last_error, training_seconds, training_failures,
           CASE WHEN next_training_at > clock_timestamp() THEN next_training_at END
    FROM embedding_model_tracker k"""  # noqa: S608 - parts are constants, values are bound

_READ_ALL, _READ = text(f"{_ROWS} ORDER BY cohort"), text(f"{_ROWS} WHERE cohort = :cohort")

_SET_COUNTER = text(
    f"""
    UPDATE embedding_model_tracker k
    SET n_samples_since_training = :value, n_samples_total = n_samples_total + {uncounted_sql("k")},
        n_shards_counted = greatest(n_shards_counted, {SUM_SQL})
    WHERE cohort = :cohort
    """  # noqa: S608 - parts are constants, values are bound
)

_PROMOTED_DATA = "jsonb_build_object('model_version', changed.model_version, 'previous_version', changed.previous)"

_PROMOTED = event_sql(
    EventType.VERSION_PROMOTED,
    "changed",
    _PROMOTED_DATA,
    "changed.model_version IS NOT NULL AND changed.model_version IS DISTINCT FROM changed.previous",
)
"""Writes an event if a row of ``changed`` names another version than before."""

_SET_VERSION = text(
    f"""
    WITH changed AS (
        UPDATE embedding_model_tracker k SET model_version = :version
        FROM (SELECT model_version AS previous FROM embedding_model_tracker WHERE cohort = :cohort FOR UPDATE) AS before
        WHERE k.cohort = :cohort RETURNING k.model_version, before.previous
    ) {_PROMOTED}
    """  # noqa: S608 - parts are constants, values are bound
)

_FORCE_REQUEST = text(
    """
    UPDATE embedding_model_tracker
    SET training_request_id = CAST(:id AS uuid), training_requested_at = clock_timestamp(), training_reason = :reason,
        training_enqueued_at = NULL, lease_expires_at = NULL, progress = NULL
    WHERE cohort = :cohort AND training_request_id IS NULL
    RETURNING training_requested_at
    """
)

_UNSETTLED = text(
    """
    SELECT h.cohort FROM tracker_shards h LEFT JOIN embedding_model_tracker k ON k.cohort = h.cohort
    GROUP BY h.cohort, k.n_shards_counted HAVING sum(h.n) > coalesce(k.n_shards_counted, 0)
    """
)

_DUE = due_sql("n_samples_since_training", "n_samples_total")

_END_WAITS = text(
    f"""
    UPDATE embedding_model_tracker
    SET next_training_at = NULL,
        training_request_id = CASE WHEN {_DUE} THEN gen_random_uuid() END,
        training_requested_at = CASE WHEN {_DUE} THEN clock_timestamp() END,
        training_reason = CASE WHEN {_DUE} THEN 'threshold' END,
        training_enqueued_at = NULL, lease_expires_at = NULL, progress = CASE WHEN {_DUE} THEN NULL ELSE progress END
    WHERE next_training_at <= clock_timestamp() AND training_request_id IS NULL
    RETURNING CAST(training_request_id AS text), cohort, training_requested_at, training_reason
    """  # noqa: S608 - parts are constants, values are bound
)

_MARK_ENQUEUED = text(
    f"UPDATE embedding_model_tracker SET training_enqueued_at = clock_timestamp() WHERE {_LIVE_REQUEST}"  # noqa: S608 - parts are constants, values are bound
)

_UNSENT = text(
    f"""
    SELECT CAST(training_request_id AS text), cohort, training_requested_at, coalesce(training_reason, 'threshold')
    FROM embedding_model_tracker
    WHERE training_request_id IS NOT NULL AND {_NO_LEASE}
      AND (training_enqueued_at IS NULL AND training_requested_at < clock_timestamp() - :grace * interval '1 second'
           OR training_enqueued_at < clock_timestamp() - :resend * interval '1 second')
    """  # noqa: S608 - parts are constants, values are bound
)

_FREE_ABANDONED = text(
    f"""
    UPDATE embedding_model_tracker
    SET {_CLEAR_REQUEST}, progress = NULL, last_error = 'training was abandoned: no worker finished it',
        {failed_sql("0")}
    WHERE training_request_id IS NOT NULL AND {_NO_LEASE}
      AND training_enqueued_at >= training_requested_at + :after * interval '1 second'
      AND training_enqueued_at < clock_timestamp() - :resend * interval '1 second'
    RETURNING cohort
    """  # noqa: S608 - parts are constants, values are bound
)
"""The age of a request is not enough: after an outage a request is old although no worker has had a chance."""

_TAKE_LEASE = text(
    f"""
    UPDATE embedding_model_tracker
    SET lease_expires_at = clock_timestamp() + :seconds * interval '1 second',
        training_enqueued_at = coalesce(training_enqueued_at, clock_timestamp()), progress = NULL
    WHERE {_LIVE_REQUEST} AND {_NO_LEASE}
    RETURNING lease_expires_at
    """  # noqa: S608 - parts are constants, values are bound
)

_RENEW_LEASE = text(
    f"""
    UPDATE embedding_model_tracker SET lease_expires_at = clock_timestamp() + :seconds * interval '1 second'
    WHERE {_HELD} RETURNING lease_expires_at
    """  # noqa: S608 - parts are constants, values are bound
)

_PROGRESS = text(f"UPDATE embedding_model_tracker SET progress = CAST(:progress AS jsonb) WHERE {_HELD}")  # noqa: S608 - parts are constants, values are bound

_COUNTER_LEFT = f"greatest(n_samples_since_training + {uncounted_sql('t')} - :counted, 0)"

_TOTAL = f"n_samples_total + {uncounted_sql('t')}"

_WAIT = "CAST(:wait AS double precision)"

_COMPLETE_DATA = """jsonb_build_object('request_id', CAST(:id AS text), 'model_version', changed.model_version,
        'n_samples', changed.n_samples_last_training, 'n_samples_total', changed.n_samples_total,
        'seconds', changed.training_seconds)"""

_FINISH = text(
    f"""
    WITH changed AS (
    UPDATE embedding_model_tracker k
    SET n_samples_since_training = after.counter, n_samples_total = after.total,
        n_shards_counted = greatest(n_shards_counted, {SUM_SQL}), n_samples_last_training = :n_samples,
        last_trained_at = clock_timestamp(), model_version = :version, last_error = NULL,
        training_seconds = :seconds, training_failures = 0,
        next_training_at = CASE WHEN {_WAIT} > 0 THEN clock_timestamp() + {_WAIT} * interval '1 second' END,
        training_request_id = CASE WHEN after.due THEN CAST(:next_id AS uuid) END,
        training_requested_at = CASE WHEN after.due THEN clock_timestamp() END,
        training_reason = CASE WHEN after.due THEN 'threshold' END,
        training_enqueued_at = NULL, lease_expires_at = NULL, progress = NULL
    FROM (SELECT {_COUNTER_LEFT} AS counter, {_TOTAL} AS total, model_version AS previous,
                 {due_sql(_COUNTER_LEFT, _TOTAL)} AND {_WAIT} <= 0 AS due
          FROM embedding_model_tracker t WHERE cohort = :cohort FOR UPDATE) AS after
    WHERE {_HELD}
    RETURNING CAST(training_request_id AS text) AS next_id, training_requested_at, model_version, after.previous,
              n_samples_last_training, n_samples_total, training_seconds
    ), completed AS ({event_sql(EventType.TRAINING_COMPLETE, "changed", _COMPLETE_DATA)}
    ), promoted AS ({_PROMOTED}
    )
    SELECT next_id, training_requested_at FROM changed
    """  # noqa: S608 - parts are constants, values are bound
)

_FAILED_DATA = """jsonb_build_object('request_id', CAST(:id AS text), 'error', changed.last_error,
        'failures', changed.training_failures, 'next_training_at', changed.next_training_at)"""

_FAIL_REQUEST = text(
    f"""
    WITH changed AS (
        UPDATE embedding_model_tracker
        SET {_CLEAR_REQUEST}, progress = NULL, last_error = :error, {failed_sql(_WAIT)}
        WHERE {_HELD}
        RETURNING training_failures, next_training_at, last_error
    ), event AS ({event_sql(EventType.TRAINING_FAILED, "changed", _FAILED_DATA)}
    )
    SELECT training_failures, next_training_at FROM changed
    """  # noqa: S608 - parts are constants, values are bound
)

_SKIP_REQUEST = text(
    f"""
    UPDATE embedding_model_tracker
    SET {_CLEAR_REQUEST}, progress = CAST(:progress AS jsonb), last_error = NULL WHERE {_HELD}
    """  # noqa: S608 - parts are constants, values are bound
)

_RELEASE = text(
    f"""
    UPDATE embedding_model_tracker SET lease_expires_at = NULL, progress = NULL, last_error = :error WHERE {_HELD}
    """  # noqa: S608 - parts are constants, values are bound
)


class LeaseAnswer(StrEnum):
    """The reason why a lease was refused."""

    STALE = "stale"
    BUSY = "busy"


class Lease(msgspec.Struct, frozen=True):
    """The right to train for a request until ``expires_at`` of the database's clock."""

    request: TrainingRequest
    expires_at: datetime


class PostgresTracker:
    """Implements :class:`chalicelib.ports.Tracker`, and the worker's operations on requests and leases."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, cohort: str) -> TrackerRow:
        """Return the cohort's row, an empty one if nothing was counted yet.

        The row is not created: the cohort may have been removed a moment ago.
        """
        rows = self._run(_READ, cohort=cohort)
        return TrackerRow(*rows[0]) if rows else TrackerRow(cohort)

    def rows(self) -> list[TrackerRow]:
        """Return the rows of all cohorts that have one."""
        return [TrackerRow(*row) for row in self._run(_READ_ALL)]

    def set_counter(self, cohort: str, value: int) -> TrackerRow:
        """Set ``n_samples_since_training``. The next completion continues from there."""
        self._run(ENSURE, cohort=cohort)
        self._run(_SET_COUNTER, cohort=cohort, value=value)
        return self.read(cohort)

    def set_model_version(self, cohort: str, version: str | None) -> None:
        """Store the version that serves. Warm processes read it with every creation."""
        self._run(_SET_VERSION, cohort=cohort, version=version)

    def request_training(self, cohort: str, reason: str) -> TrainingRequest | None:
        """Request a training, whatever the counter is. Return None if a request is live already."""
        self._run(ENSURE, cohort=cohort)
        request_id = str(uuid.uuid4())
        row = self._transact(_FORCE_REQUEST, cohort=cohort, id=request_id, reason=reason)
        return None if row is None else TrainingRequest(request_id, cohort, row[0], reason)

    def end_waits(self, policy: TrainingPolicy) -> list[TrainingRequest]:
        """End the waits that are over. Request the trainings that became due meanwhile, and return the requests.

        Completions that are only in the shards, because their program died, are counted first.
        """
        left = [settle(self._engine, cohort, policy).request for (cohort,) in self._run(_UNSETTLED)]
        rows = transaction(self._engine, lambda connection: connection.execute(_END_WAITS, policy_values(policy)).all())
        after_wait = [TrainingRequest(*row) for row in rows if row[0] is not None]
        return [*filter(None, left), *after_wait]

    def mark_enqueued(self, request: TrainingRequest) -> None:
        """Store the time at which the request's message was sent."""
        self._run(_MARK_ENQUEUED, cohort=request.cohort, id=request.request_id)

    def unsent_requests(self, grace_seconds: float, resend_seconds: float) -> list[TrainingRequest]:
        """Return the requests whose message must be sent (again).

        These were not sent for ``grace_seconds``, or they were sent and no worker took them for ``resend_seconds``.
        """
        rows = self._run(_UNSENT, grace=float(grace_seconds), resend=float(resend_seconds))
        return [TrainingRequest(*row) for row in rows]

    def free_abandoned(self, after_seconds: float, resend_seconds: float) -> list[str]:
        """Clear requests that no worker will finish, and return their cohorts.

        No worker holds them, and their message was sent again ``after_seconds`` after the request, without success for
        ``resend_seconds``.
        """
        rows = self._run(_FREE_ABANDONED, after=float(after_seconds), resend=float(resend_seconds))
        return [cohort for (cohort,) in rows]

    def take_lease(self, request: TrainingRequest, seconds: float) -> Lease | LeaseAnswer:
        """Return the lease of a live request. It is refused as BUSY if a worker holds it, as STALE if it is over."""
        values = {"cohort": request.cohort, "id": request.request_id}
        row = self._transact(_TAKE_LEASE, **values, seconds=float(seconds))
        if row is not None:
            return Lease(request, row[0])
        # Without a row the cohort was removed, and must not come back.
        rows = [TrackerRow(*found) for found in self._run(_READ, cohort=request.cohort)]
        live = any(found.training_request_id == request.request_id for found in rows)
        return LeaseAnswer.BUSY if live else LeaseAnswer.STALE

    def renew_lease(self, lease: Lease, seconds: float) -> Lease:
        """Return the lease with a new end. Raises LeaseLostError if another worker has it or the request is over."""
        row = self._transact(_RENEW_LEASE, **_values(lease), seconds=float(seconds))
        if row is None:
            raise _lost(lease)
        return Lease(lease.request, row[0])

    def record_progress(self, lease: Lease, progress: Mapping[str, Any]) -> None:
        """Store the progress of a training. A worker that lost the lease changes nothing."""
        self._run(_PROGRESS, **_values(lease), progress=_json(progress))

    def finish(
        self,
        lease: Lease,
        *,
        counted: int,
        n_samples: int,
        version: str | None,
        policy: TrainingPolicy,
        seconds: float = 0.0,
    ) -> TrainingRequest | None:
        """End a training that took ``seconds``, and request the next one if it is due and need not wait.

        ``counted`` is the counter at the time of the snapshot. It is subtracted, so completions during the training
        count for the next one. ``version`` is the version that serves now. Returns the next request, whose message the
        caller sends. Raises LeaseLostError.
        """
        following = {"next_id": str(uuid.uuid4()), **policy_values(policy)}
        values: dict[str, Any] = {"counted": counted, "n_samples": n_samples, "version": version, "seconds": seconds}
        values["wait"] = policy.wait_after(seconds)
        row = self._transact(_FINISH, **_values(lease), **values, **following)
        if row is None:
            raise _lost(lease)
        return None if row[0] is None else TrainingRequest(row[0], lease.request.cohort, row[1], "threshold")

    def fail_request(
        self, lease: Lease, error: str, policy: TrainingPolicy, seconds: float = 0.0
    ) -> tuple[int, datetime] | None:
        """End a request that failed for the last time after ``seconds``. The next automatic training has to wait.

        Returns the number of failures in a row, and the end of the wait. A worker that lost the lease changes nothing,
        and gets None.
        """
        row = self._transact(_FAIL_REQUEST, **_values(lease), error=error, wait=policy.wait_after(seconds))
        return None if row is None else (row[0], row[1])

    def skip_request(self, lease: Lease, reason: str) -> None:
        """End a request without a training. The counter stays, and no error is stored."""
        progress = _json({"phase": "skipped", "reason": reason})
        self._run(_SKIP_REQUEST, **_values(lease), progress=progress)

    def release_lease(self, lease: Lease, error: str) -> None:
        """Release the lease of a training that failed, so that a worker can repeat it. Store the error."""
        self._run(_RELEASE, **_values(lease), error=error)

    def ping(self) -> None:
        """Raise DatabaseUnavailableError if the database does not answer."""
        statement(self._engine, lambda connection: connection.exec_driver_sql("SELECT 1"))

    def _run(self, query: TextClause, **values: Any) -> list[Any]:
        def work(connection: Any) -> list[Any]:
            result = connection.execute(query, values)
            return list(result) if result.returns_rows else []

        return statement(self._engine, work)

    def _transact(self, query: TextClause, **values: Any) -> Any:
        """Run a statement that must not run twice, in a transaction."""
        return transaction(self._engine, lambda connection: connection.execute(query, values).one_or_none())


def _values(lease: Lease) -> dict[str, Any]:
    return {"cohort": lease.request.cohort, "id": lease.request.request_id, "expires_at": lease.expires_at}


def _lost(lease: Lease) -> LeaseLostError:
    return LeaseLostError(f"training {lease.request.request_id} is no longer held by this worker")


def _json(progress: Mapping[str, Any]) -> str:
    return msgspec.json.encode(progress, enc_hook=float).decode()  # the hook is for NumPy numbers
