"""The API on in-memory adapters, called through Chalice's test client or over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from chalice.test import Client
from msgspec.structs import replace

from app import app
from chalicelib import wiring
from chalicelib.api import unmatched
from chalicelib.config import settings_from
from chalicelib.wiring import Container
from infra.local.http import chalice_server
from infra.local.processes import bound_socket
from tests.support.fakes.analytics import MemoryAnalyticsStore
from tests.support.fakes.database import (
    MemoryCohorts,
    MemoryDatabase,
    MemoryLimitCounts,
    MemoryServiceStore,
    MemoryTaskStore,
    MemoryTracker,
    MemoryUserStore,
)
from tests.support.fakes.recommendations import MemoryRecommendationStore
from tests.support.fakes.services import MemoryIdentity, MemoryQueue, MemoryRegistry, MemoryWebhooks

PASSWORD = "correct horse"
ORIGINS = ("http://localhost:3000", "http://localhost:4000")

TASK = {"subject": "Mathematics", "topic": "Fractions", "difficulty": "medium", "task_content": "1/2 + 1/3 = ?"}
DONE = {"is_correct": True, "actual_time_seconds": 42}

TASK_FIELDS = [
    "id",
    "user_id",
    "subject",
    "topic",
    "difficulty",
    "difficulty_numeric",
    "task_content",
    "solution_content",
    "answer_content",
    "estimated_time_minutes",
    "actual_time_seconds",
    "completed",
    "completed_at",
    "is_correct",
    "study_session_id",
    "predicted_correct",
    "predicted_time_seconds",
    "predicted_time_low",
    "predicted_time_high",
    "prediction_source",
    "model_version",
    "lnirt_model_version",
    "created_at",
    "updated_at",
    "solution_viewed_at",
    "item_id",
]


@dataclass
class World:
    """The fakes behind one test's API."""

    database: MemoryDatabase = field(default_factory=MemoryDatabase)
    identity: MemoryIdentity = field(default_factory=MemoryIdentity)
    queue: MemoryQueue = field(default_factory=MemoryQueue)
    registry: MemoryRegistry = field(default_factory=MemoryRegistry)
    settings: dict[str, str] = field(default_factory=dict)

    def container(self, *others: str) -> Container:
        """A container of these fakes, with the cohorts ``others`` besides its own."""
        settings = settings_from(
            {
                "DATABASE_URL": "postgresql+pg8000://nobody@localhost/none",
                "REGISTRY_BUCKET": "none",
                "TRAINING_QUEUE_URL": "none",
                "USER_POOL_ID": "none",
                "USER_POOL_CLIENT_ID": "none",
                "AWS_REGION": "eu-central-1",
                "MINIMUM_SAMPLES": "5",
                "CORS_ORIGINS": ",".join(ORIGINS),
                "LOG_FORMAT": "text",
                **self.settings,
            }
        )
        container = Container(
            settings,
            **self._of_cohort("default"),
            tracker=MemoryTracker(self.database),
            cohorts=MemoryCohorts(*others),
            counts=MemoryLimitCounts(self.database),
            service_store=MemoryServiceStore(self.database),
            queue=self.queue,
            registry=self.registry,
            identity=self.identity,
            webhooks=MemoryWebhooks(),
        )
        for cohort in others:
            fakes = self._of_cohort(cohort)
            container._others[cohort] = Container(replace(settings, cohort=cohort), container, **fakes)
        return container

    def _of_cohort(self, cohort: str) -> dict[str, Any]:
        return {
            "tasks": MemoryTaskStore(self.database, cohort),
            "users": MemoryUserStore(self.database, cohort),
            "analytics": MemoryAnalyticsStore(self.database),
            "recommendations": MemoryRecommendationStore(self.database),
        }


@dataclass(frozen=True)
class Answer:
    """A response, with header names in lower case."""

    status: int
    body: str
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Api:
    """Calls the application as API Gateway would."""

    def __init__(self, token: str | None = None) -> None:
        self._client = Client(app)
        self.token = token

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        sent = dict(headers or {})
        if body is not None:
            raw = json.dumps(body).encode()
        if raw is not None:
            sent.setdefault("Content-Type", "application/json")
        if token or self.token:
            sent.setdefault("Authorization", f"Bearer {token or self.token}")
        response = self._client.http.request(method, path, headers=sent, body=raw or b"")
        headers_in_lower_case = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, response.body.decode(), headers_in_lower_case)

    def get(self, path: str, **more: Any) -> Answer:
        return self.call("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> Answer:
        return self.call("POST", path, body, **more)

    def put(self, path: str, body: Any = None, **more: Any) -> Answer:
        return self.call("PUT", path, body, **more)

    def patch(self, path: str, body: Any = None, **more: Any) -> Answer:
        return self.call("PATCH", path, body, **more)

    def delete(self, path: str, **more: Any) -> Answer:
        return self.call("DELETE", path, **more)


def sign_up(world: World, email: str = "ada@example.org") -> Api:
    api = Api()
    registered = api.post("/auth/register", {"email": email, "password": PASSWORD, "full_name": "Ada"})
    assert registered.status == 201, registered.body
    api.token = api.post("/auth/login", {"email": email, "password": PASSWORD}).json["access_token"]
    return api


@contextmanager
def installed_world() -> Iterator[World]:
    """Let the application use new fakes."""
    unmatched.add_local_depths(app)
    world = World()
    wiring.install(world.container())
    try:
        yield world
    finally:
        wiring.install(None)


@contextmanager
def serving(after_answer: Callable[[], None] = lambda: None) -> Iterator[str]:
    """The one-machine stack's server for the container that is installed."""
    server = chalice_server(app, bound_socket(0), after_answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.finish(5)
        thread.join()
        server.server_close()


def create(api: Api, **fields: Any) -> dict[str, Any]:
    answer = api.post("/practice-tasks", {**TASK, **fields})
    assert answer.status == 201, answer.body
    return answer.json  # type: ignore[no-any-return]
