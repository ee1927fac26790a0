"""Webhooks to a receiver in trouble: away, slow, failing, asked to take everything again. Nothing may be lost."""

from __future__ import annotations

import tempfile
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from benchmarks._postgres import migrated_server
from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, Result
from chalicelib.domain.training import TrainingPolicy
from chalicelib.domain.webhooks import EventType, new_secret
from chalicelib.services.webhooks import deliver
from chalicelib.storage.database import connect
from chalicelib.storage.task_store import PostgresTaskStore
from chalicelib.storage.webhook_sender import WebhookSender
from chalicelib.storage.webhook_store import PostgresWebhooks
from tests.support.receivers import NoBus, Receiver, is_genuine, listening

_POLICY = TrainingPolicy(threshold=1_000_000)
_TASK = NewTask("Mathematics", "Fractions", Difficulty.MEDIUM, "1/2 + 1/3 = ?")
_TROUBLES = ("none", "away", "slow", "failing", "none")


def measure(n_events: int = 20) -> dict[str, int]:
    """Return the events of completions that a receiver got, lost, got late or got without a good signature.

    There are ``n_events`` in each kind of trouble. ``webhooks_repeated`` counts those that arrived more than once,
    among them all that an operator sent again at the end.
    """
    receiver, sent, begun = Receiver(), [], datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="studysmart-") as folder, migrated_server(Path(folder)) as server:
        engine = connect(server.url())
        webhooks = PostgresWebhooks(engine, "default")
        secret = new_secret()
        with listening(receiver) as url:
            webhooks.add(url, secret, list(EventType))
            port = int(url.rpartition(":")[2].partition("/")[0])
        for trouble in _TROUBLES:
            sent += _complete(engine, n_events)
            _try_during(trouble, engine, webhooks, receiver, port)
        with listening(receiver, port):
            _deliver_all(engine, webhooks)
            (one,) = webhooks.receivers()
            first = [event["data"]["task_id"] for event in receiver.accepted]
            webhooks.replay(one.id, begun)
            _deliver_all(engine, webhooks)
        engine.dispose()
    order = list(dict.fromkeys(first))
    forged = sum(not is_genuine(secret, headers, body) for headers, body in receiver.seen)
    return {
        "webhooks_sent": len(sent),
        "webhooks_lost": len(set(sent) - set(order)),
        "webhooks_out_of_order": sum(a != b for a, b in zip(order, sent, strict=False)),
        "webhooks_repeated": sum(n > 1 for n in Counter(receiver.ids).values()),
        "webhooks_forged": forged,
    }


def _complete(engine: Engine, n: int) -> list[str]:
    tasks = PostgresTaskStore(engine, "default")
    ids = [tasks.insert("ada", _TASK, DEFAULT_PREDICTION).id for _ in range(n)]
    for task_id in ids:
        tasks.complete("ada", task_id, Result(True, 30.0), None, _POLICY)
    return ids


def _try_during(trouble: str, engine: Engine, webhooks: Any, receiver: Receiver, port: int) -> None:
    """Deliver a few times while the receiver is in trouble."""
    if trouble == "away":
        for _ in range(3):
            _deliver(engine, webhooks)
        return
    with listening(receiver, port):
        if trouble == "failing":
            receiver.statuses = [500, 503, 302, 204, 500, 204]
        if trouble == "slow":
            receiver.held = threading.Event()
            _deliver(engine, webhooks, seconds=0.2)
            receiver.held.set()
            receiver.held = None
        for _ in range(4):
            _deliver(engine, webhooks)


def _deliver(engine: Engine, webhooks: Any, seconds: float = 5.0) -> int:
    """Deliver as if the pause after a failure were over."""
    with engine.connect() as connection:
        connection.execute(text("UPDATE webhook_receivers SET next_attempt_at = NULL"))
    return deliver(webhooks, WebhookSender(private=True, seconds=seconds), NoBus())


def _deliver_all(engine: Engine, webhooks: Any) -> None:
    while webhooks.receivers()[0].waiting:
        _deliver(engine, webhooks)
