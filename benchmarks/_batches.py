"""Batches against single requests, on a stack of one machine: predictions, and answers of another app."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import text

from benchmarks._clients import Client
from benchmarks._percentiles import rounded
from benchmarks.local_stack import temporary_stack
from chalicelib.storage.database import statement
from evaluation import simulator
from ops.stack import connect

LEARNERS, TOPICS, BATCH = 30, 20, 1_000
BATCHES = 10
ROUNDS = 5
_TRAINING_SECONDS = 600.0

_ADD_LEARNERS = text("INSERT INTO users (id) SELECT unnest(CAST(:ids AS text[]))")


def measure() -> dict[str, Any]:
    """Return the speed of batches: answers a second, and how much faster predictions are than by single requests.

    ``batch_counted`` is what the counter grew by for one batch that was sent twice and in two halves, all at once. It
    must be the number of its answers.
    """
    with temporary_stack({"TRAINING_THRESHOLD": "1000000"}) as stack:
        client = Client(stack.url)
        account = {"email": "root@example.com", "password": uuid.uuid4().hex}
        client.call("POST", "/auth/register", account)
        connect(str(stack.state_dir)).identity.add_to_admins(account["email"])
        token = client.call("POST", "/auth/login", account)["access_token"]
        admin = Client(stack.url, token)
        answers = _answers(BATCHES + 1)
        learners = {"ids": [f"learner-{n}" for n in range(LEARNERS)]}
        statement(connect(str(stack.state_dir)).engine, lambda c: c.execute(_ADD_LEARNERS, learners))
        batches = [{"answers": answers[n * BATCH : (n + 1) * BATCH]} for n in range(BATCHES + 1)]
        stored = [(admin.call("POST", "/answers", batch)["stored"], admin.ms) for batch in batches[:BATCHES]]
        counted = _counted_at_once(stack.url, token, admin, batches[BATCHES]["answers"])
        _train(admin)
        found = _predictions(admin, answers)
        assert admin.errors == 0, f"{admin.errors} requests failed"
    seconds = sum(ms for _, ms in stored) / 1_000
    answers_per_s = rounded(sum(n for n, _ in stored) / seconds)
    return {**found, "answers_per_s": answers_per_s, "batch_answers": BATCH, "batch_counted": counted}


def _answers(n_batches: int) -> list[dict[str, Any]]:
    """Return the answers of all learners in the order of their times, as an app would send them."""
    topics = tuple(f"Topic {n}" for n in range(TOPICS))
    begin = datetime.now(UTC) - timedelta(days=30)
    return [
        {
            "id": f"answer-{n}",
            "learner_id": f"learner-{n % LEARNERS}",
            "subject": "Mathematics",
            "topic": one.topic,
            "difficulty": one.difficulty,
            "is_correct": bool(one.is_correct),
            "actual_time_seconds": round(float(one.actual_time_seconds), 1),
            "completed_at": (begin + timedelta(minutes=n)).isoformat(),
        }
        for n, one in enumerate(simulator.history(n_batches * BATCH, LEARNERS, topics, 7))
    ]


def _counted_at_once(url: str, token: str, admin: Client, answers: list[dict[str, Any]]) -> int:
    half = len(answers) // 2
    parts = [answers, answers, answers[:half], answers[half:]]
    before = admin.call("GET", "/model/status")["counter"]
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(lambda part: _send(url, token, part), parts))
    return int(admin.call("GET", "/model/status")["counter"] - before)


def _send(url: str, token: str, answers: list[dict[str, Any]]) -> None:
    """Send a batch until it is answered: one that waits too long for another one is refused, and is sent again."""
    client = Client(url, token)
    while not client.call("POST", "/answers", {"answers": answers}):
        assert client.errors < 20, "a batch was refused again and again"
        time.sleep(0.5)
    client.close()


def _train(admin: Client) -> None:
    admin.call("POST", "/model/train", {})
    deadline = time.monotonic() + _TRAINING_SECONDS
    while (status := admin.call("GET", "/model/status"))["model_version"] is None:
        assert status["last_error"] is None, status["last_error"]
        assert time.monotonic() < deadline, "the training takes too long"
        time.sleep(0.5)


def _predictions(admin: Client, answers: list[dict[str, Any]]) -> dict[str, float]:
    names = ("learner_id", "subject", "topic", "difficulty")
    asked = [{name: one[name] for name in names} for one in answers[:BATCH]]
    paths = ["/predictions?" + urlencode({**one, "user_id": one["learner_id"]}) for one in asked]
    batch_ms, single_ms = [], 0.0
    for n in range(ROUNDS):  # in turns, because the machine has other users
        admin.call("POST", "/predictions:batch", {"predictions": asked})
        batch_ms.append(admin.ms)
        for path in paths[n::ROUNDS]:
            admin.call("GET", path)
            single_ms += admin.ms
    ms = median(batch_ms)
    return {"batch_ms": rounded(ms), "single_ms": rounded(single_ms), "batch_speedup": rounded(single_ms / ms)}
