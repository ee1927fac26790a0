"""The outbox of webhooks in PostgreSQL.

An event is written by the statement that makes it happen (:func:`event_sql`), once for each receiver. So there is an
event if and only if it happened, and without receivers nothing is written. A delivery is a row of its own and not a
place in a list that one reads on from: a transaction that commits late cannot be skipped.

One program at a time delivers to a receiver, by a lease on its row, in the order of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Engine, TextClause, text

from chalicelib.domain.errors import NotFoundError
from chalicelib.domain.webhooks import BUS, MAX_AGE, Delivery, EventType, Receiver
from chalicelib.storage.database import statement, transaction

KEPT_DAYS = 7
"""How long a delivery is kept after it was delivered, so that it can be sent again. A dead one is kept for longer."""

KEPT_DEAD_DAYS = 30

_ITS_LEARNER = "u.id = {row}.user_id AND u.issuer = 'service:' || receiver.service_id"

_COMPLETION_DATA = f"""jsonb_build_object('task_id', {{row}}.id, 'user_id', {{row}}.user_id,
        'learner_id', (SELECT u.subject FROM users u WHERE {_ITS_LEARNER}), 'subject', {{row}}.subject,
        'topic', {{row}}.topic, 'difficulty', {{row}}.difficulty, 'item_id', {{row}}.item_id,
        'is_correct', {{row}}.is_correct, 'actual_time_seconds', {{row}}.actual_time_seconds,
        'completed_at', {{row}}.completed_at)"""  # noqa: S608 - parts are constants
"""The data of a completion. ``learner_id`` is the app's id of the learner, for a receiver of that app only."""

_WAITING = "d.delivered_at IS NULL AND d.dead_at IS NULL"


def event_sql(
    event: EventType, source: str, data: str, condition: str = "true", order: str = "", user_id: str = "NULL"
) -> str:
    """Return a statement that writes an event for each row of ``source`` that meets a condition, for each receiver.

    ``data`` and ``user_id`` are SQL expressions. The statement's parameters must have the cohort.
    """
    return f"""
        INSERT INTO webhook_deliveries (receiver_id, type, user_id, data)
        SELECT receiver.id, '{event.value}', {user_id}, {data} FROM {source} CROSS JOIN webhook_receivers AS receiver
        WHERE receiver.cohort = :cohort AND receiver.disabled_at IS NULL AND '{event.value}' = ANY(receiver.events)
          AND {condition} {order}"""  # noqa: S608 - parts are constants


def completion_sql(row: str, condition: str = "true", order: str = "", source: str | None = None) -> str:
    """Return a statement that writes the events of completed tasks.

    ``row`` is the name of a row of ``practice_tasks``, and ``source`` the SQL that it comes from. A receiver of a
    service account gets the completions of that account's learners only.
    """
    theirs = f"(receiver.service_id IS NULL OR EXISTS (SELECT FROM users u WHERE {_ITS_LEARNER.format(row=row)}))"
    return event_sql(
        EventType.COMPLETION,
        source or row,
        _COMPLETION_DATA.format(row=row),
        f"{condition} AND {theirs}",
        order,
        f"{row}.user_id",
    )


_TAKE = text(
    f"""
    UPDATE webhook_receivers
    SET lease_expires_at = clock_timestamp() + make_interval(secs => CAST(:seconds AS double precision))
    WHERE id IN (
        SELECT r.id FROM webhook_receivers r
        WHERE disabled_at IS NULL AND (lease_expires_at IS NULL OR lease_expires_at < clock_timestamp())
          AND (next_attempt_at IS NULL OR next_attempt_at <= clock_timestamp())
          AND EXISTS (SELECT FROM webhook_deliveries d WHERE d.receiver_id = r.id AND {_WAITING})
        FOR UPDATE SKIP LOCKED
    )
    RETURNING id, url, secret, failures, lease_expires_at
    """  # noqa: S608 - parts are constants, values are bound
)

_HELD = "id = :id AND lease_expires_at = CAST(:leased_until AS timestamptz)"
"""The row of a receiver, if nobody has leased it since."""

_NEXT = text(
    f"""
    SELECT id, CAST(message_id AS text), type, data, created_at, refusals FROM webhook_deliveries d
    WHERE receiver_id = :id AND {_WAITING} AND EXISTS (
        SELECT FROM webhook_receivers WHERE {_HELD} AND lease_expires_at > clock_timestamp()
    )
    ORDER BY id LIMIT :limit
    """  # noqa: S608 - parts are constants, values are bound
)

_DELIVERED = text(
    f"""
    WITH receiver AS (
        UPDATE webhook_receivers SET failures = 0, last_error = NULL, next_attempt_at = NULL,
            delivered_at = clock_timestamp()
        WHERE {_HELD} RETURNING id
    )
    UPDATE webhook_deliveries SET delivered_at = clock_timestamp(), attempts = attempts + 1
    WHERE id = ANY(:deliveries) AND receiver_id IN (SELECT id FROM receiver)
    """  # noqa: S608 - parts are constants, values are bound
)

_FAILED = text(
    f"""
    WITH receiver AS (
        UPDATE webhook_receivers SET failures = failures + 1, last_error = :error,
            next_attempt_at = clock_timestamp() + make_interval(secs => CAST(:wait AS double precision)),
            disabled_at = CASE WHEN CAST(:gone AS boolean) THEN clock_timestamp() ELSE disabled_at END
        WHERE {_HELD} RETURNING id
    )
    UPDATE webhook_deliveries
    SET attempts = attempts + 1, refusals = refusals + CAST(CAST(:refused AS boolean) AS integer),
        dead_at = CASE WHEN CAST(:dead AS boolean) THEN clock_timestamp() ELSE dead_at END
    WHERE id = :delivery AND receiver_id IN (SELECT id FROM receiver)
    """  # noqa: S608 - parts are constants, values are bound
)

_RELEASE = text(f"UPDATE webhook_receivers SET lease_expires_at = NULL WHERE {_HELD}")  # noqa: S608 - constants

_GIVE_UP = text(
    f"""
    UPDATE webhook_deliveries d SET dead_at = clock_timestamp() FROM webhook_receivers r
    WHERE r.id = d.receiver_id AND (r.failures > 0 OR r.disabled_at IS NOT NULL) AND {_WAITING}
      AND d.created_at < now() - interval '{MAX_AGE.days} days'
    """  # noqa: S608 - parts are constants
)
"""Without it, one event at a time would die of its age, and none of a receiver that is disabled."""

_PRUNE = text(
    f"""
    DELETE FROM webhook_deliveries
    WHERE created_at < now() - interval '{KEPT_DAYS} days' AND delivered_at < now() - interval '{KEPT_DAYS} days'
       OR created_at < now() - interval '{KEPT_DEAD_DAYS} days' AND dead_at < now() - interval '{KEPT_DEAD_DAYS} days'
    """  # noqa: S608 - parts are constants
)

_ADD = text(
    """
    INSERT INTO webhook_receivers (cohort, service_id, url, secret, events)
    VALUES (:cohort, :service_id, :url, :secret, CAST(:events AS text[])) RETURNING id
    """
)

_COHORT_OF_SERVICE = text("SELECT cohort FROM service_accounts WHERE id = :id")

_BUS = f"cohort = :cohort AND url LIKE '{BUS}%'"

_CHANGE_BUS = text(
    f"""
    UPDATE webhook_receivers
    SET url = :url, disabled_at = NULL, next_attempt_at = NULL, failures = 0, events = CAST(:events AS text[])
    WHERE {_BUS} RETURNING id
    """  # noqa: S608 - parts are constants, values are bound
)

_LEAVE_BUS = text(
    f"UPDATE webhook_receivers SET disabled_at = now() WHERE {_BUS} AND disabled_at IS NULL"  # noqa: S608 - constants
)

_SERVICE = text("SELECT id FROM service_accounts WHERE name = :name AND revoked_at IS NULL")

_LIST = text(
    f"""
    SELECT r.id, s.name, r.url, array_to_string(r.events, ','), r.disabled_at, r.delivered_at, r.failures, r.last_error,
           count(d.id) FILTER (WHERE {_WAITING}), count(d.dead_at)
    FROM webhook_receivers r LEFT JOIN webhook_deliveries d ON d.receiver_id = r.id
    LEFT JOIN service_accounts s ON s.id = r.service_id
    WHERE r.cohort = :cohort GROUP BY r.id, s.name ORDER BY r.id
    """  # noqa: S608 - parts are constants, values are bound
)

_REMOVE = text("DELETE FROM webhook_receivers WHERE id = :id AND cohort = :cohort RETURNING id")

_ENABLE = text(
    """
    UPDATE webhook_receivers SET disabled_at = NULL, next_attempt_at = NULL, failures = 0
    WHERE id = :id AND cohort = :cohort RETURNING id
    """
)

_REPLAY = text(
    """
    UPDATE webhook_deliveries SET delivered_at = NULL, dead_at = NULL, attempts = 0, refusals = 0
    WHERE receiver_id = :id
      AND (dead_at IS NOT NULL OR created_at >= CAST(:since AS timestamptz) AND delivered_at IS NOT NULL)
    """
)

_SKIP = text(
    f"""
    UPDATE webhook_deliveries SET dead_at = clock_timestamp()
    WHERE id = (SELECT min(d.id) FROM webhook_deliveries d WHERE receiver_id = :id AND {_WAITING}) RETURNING id
    """  # noqa: S608 - parts are constants, values are bound
)


class ReceiverStatus(Struct, frozen=True):
    """A receiver as an operator sees it. ``waiting`` and ``dead`` are numbers of events.

    ``service`` is the name of the service account whose learners it hears of, None for a receiver of the operator.
    """

    id: int
    service: str | None
    url: str
    events: str
    disabled_at: datetime | None
    delivered_at: datetime | None
    failures: int
    last_error: str | None
    waiting: int
    dead: int


class PostgresWebhooks:
    """Implements :class:`chalicelib.ports.Webhooks`, and the operator's view of the receivers."""

    def __init__(self, engine: Engine, cohort: str) -> None:
        self._engine = engine
        self._cohort = cohort

    def take(self, seconds: float) -> list[Receiver]:
        """Lease the receivers that wait for an event and may be tried now, and return them."""
        rows = transaction(self._engine, lambda c: c.execute(_TAKE, {"seconds": float(seconds)}).all())
        return [Receiver(*row) for row in rows]

    def next_events(self, receiver: Receiver, limit: int = 1) -> list[Delivery]:
        """Return the oldest events that wait for a receiver, none if the lease has ended."""
        values = {**_held(receiver), "limit": limit}
        return [Delivery(*row) for row in statement(self._engine, lambda c: c.execute(_NEXT, values).all())]

    def delivered(self, receiver: Receiver, deliveries: Sequence[Delivery]) -> None:
        """Note that a receiver has these events."""
        self._run(_DELIVERED, deliveries=[one.id for one in deliveries], **_held(receiver))

    def failed(
        self, receiver: Receiver, delivery: Delivery, error: str, *, wait: float, refused: bool, dead: bool, gone: bool
    ) -> None:
        """Note that an attempt failed. The receiver is left alone for ``wait`` seconds, or if ``gone`` for good."""
        values = {"error": error[:500], "wait": float(wait), "refused": refused, "dead": dead, "gone": gone}
        self._run(_FAILED, delivery=delivery.id, **_held(receiver), **values)

    def release(self, receiver: Receiver) -> None:
        """Give back the lease of a receiver."""
        self._run(_RELEASE, **_held(receiver))

    def prune(self) -> None:
        """Give up old events of receivers that fail or are disabled, and delete those that ended long ago."""
        self._run(_GIVE_UP)
        self._run(_PRUNE)

    def add(self, url: str, secret: str, events: Sequence[EventType], service: str | None = None) -> int:
        """Add a receiver of the cohort, and return its id.

        With the name of a service account it hears of that account's learners only. Raises NotFoundError.
        """
        values = {"cohort": self._cohort, "url": url, "secret": secret, "events": [one.value for one in events]}

        def work(connection: Connection) -> int:
            service_id = connection.execute(_SERVICE, {"name": service}).scalar_one_or_none()
            if service is not None and service_id is None:
                raise NotFoundError(f"no service account {service!r} exists, or it was revoked")
            if service_id is not None:
                # Its learners are in the cohort of the service account.
                values["cohort"] = connection.execute(_COHORT_OF_SERVICE, {"id": service_id}).scalar_one()
            return int(connection.execute(_ADD, values | {"service_id": service_id}).scalar_one())

        return transaction(self._engine, work)

    def use_bus(self, name: str) -> None:
        """Let all events of the cohort go to a bus of EventBridge from now on, or to none if the name is empty."""
        values = {"cohort": self._cohort, "url": BUS + name, "events": [one.value for one in EventType]}

        def work(connection: Connection) -> None:
            if not name:
                connection.execute(_LEAVE_BUS, {"cohort": self._cohort})
            elif connection.execute(_CHANGE_BUS, values).first() is None:
                connection.execute(_ADD, values | {"secret": "", "service_id": None})

        transaction(self._engine, work)

    def receivers(self) -> list[ReceiverStatus]:
        """Return the receivers of the cohort."""
        rows = statement(self._engine, lambda c: c.execute(_LIST, {"cohort": self._cohort}).all())
        return [ReceiverStatus(*row) for row in rows]

    def remove(self, receiver_id: int) -> None:
        """Remove a receiver with its events. Raises NotFoundError."""
        self._change(_REMOVE, receiver_id)

    def replay(self, receiver_id: int, since: datetime | None) -> int:
        """Let the dead events of a receiver be sent again, and all since a time. Return their number.

        The receiver is tried at once, also if it was disabled. Raises NotFoundError.
        """
        self._change(_ENABLE, receiver_id)
        values = {"id": receiver_id, "since": since}
        return int(transaction(self._engine, lambda c: c.execute(_REPLAY, values).rowcount))

    def skip(self, receiver_id: int) -> None:
        """Give up the event that a receiver waits for. Raises NotFoundError without one."""
        if transaction(self._engine, lambda c: c.execute(_SKIP, {"id": receiver_id}).one_or_none()) is None:
            raise NotFoundError(f"no event waits for receiver {receiver_id}")
        self._change(_ENABLE, receiver_id)

    def _change(self, query: TextClause, receiver_id: int) -> None:
        values = {"id": receiver_id, "cohort": self._cohort}
        if transaction(self._engine, lambda c: c.execute(query, values).one_or_none()) is None:
            raise NotFoundError(f"there is no receiver {receiver_id}")

    def _run(self, query: TextClause, **values: Any) -> None:
        def work(connection: Connection) -> None:
            connection.execute(query, values)

        transaction(self._engine, work)


def _held(receiver: Receiver) -> dict[str, Any]:
    return {"id": receiver.id, "leased_until": receiver.leased_until}
