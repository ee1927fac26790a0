"""The outbox of events in a database, with the programs that write and deliver them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, text

from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, Result
from chalicelib.domain.training import TrainingPolicy
from chalicelib.domain.webhooks import EventType, new_secret
from chalicelib.ports import EventBus
from chalicelib.services.webhooks import deliver
from chalicelib.storage.database import connect
from chalicelib.storage.task_store import PostgresTaskStore
from chalicelib.storage.tracker import Lease, PostgresTracker
from chalicelib.storage.webhook_sender import WebhookSender
from chalicelib.storage.webhook_store import PostgresWebhooks
from migrations.roles import API, TRAINER
from tests.support.receivers import NoBus
from tests.support.servers import login_as

POLICY = TrainingPolicy(threshold=1_000, minimum_samples=10)
NEW = NewTask("Math", "Algebra", Difficulty.HARD, "?")


@dataclass
class Outbox:
    """The operator's view of a database, and the programs that write and deliver events."""

    operator: PostgresWebhooks
    engine: Engine
    api: Engine
    trainer: Engine
    bus: EventBus = field(default_factory=NoBus)

    def add(self, url: str, *events: EventType, cohort: str = "default") -> str:
        secret = new_secret()
        PostgresWebhooks(self.engine, cohort).add(url, secret, events or list(EventType))
        return secret

    def complete(self, n: int, user: str = "ada") -> list[str]:
        tasks = PostgresTaskStore(self.api, "default")
        ids = [tasks.insert(user, NEW, DEFAULT_PREDICTION).id for _ in range(n)]
        for task_id in ids:
            tasks.complete(user, task_id, Result(True, 30.0), None, POLICY)
        return ids

    def deliver(self, **more: Any) -> int:
        sender = WebhookSender(private=True, seconds=2.0)
        return deliver(PostgresWebhooks(self.api, "default"), sender, self.bus, **more)

    def pause_is_over(self) -> None:
        with self.engine.connect() as connection:
            connection.execute(text("UPDATE webhook_receivers SET next_attempt_at = now() - interval '1 second'"))

    def lease(self) -> Lease:
        tracker = PostgresTracker(self.trainer)
        request = tracker.request_training("default", "forced")
        assert request is not None
        lease = tracker.take_lease(request, 60)
        assert isinstance(lease, Lease)
        return lease


@contextmanager
def outbox_of(database_url: str) -> Iterator[Outbox]:
    """The outbox of a database, each program with its own login."""
    own, api, trainer = map(connect, (database_url, login_as(API, database_url), login_as(TRAINER, database_url)))
    yield Outbox(PostgresWebhooks(own, "default"), own, api, trainer)
    for engine in (own, api, trainer):
        engine.dispose()
