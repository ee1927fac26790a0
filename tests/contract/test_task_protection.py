"""A worker in ECS protects its task while it trains, and goes on training if that fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from chalicelib.config import settings_from
from chalicelib.services import training
from training_job import protection
from training_job.__main__ import poll
from training_job.process import TrainingProcess, start_child
from training_job.protection import EXPIRES_MINUTES, TaskProtection
from training_job.wiring import build
from training_job.worker import Worker, WorkerStopped

pytestmark = pytest.mark.slow

PATH = "/api/task-protection/v1/state"
PROTECTED, RELEASED = {"ProtectionEnabled": True, "ExpiresInMinutes": EXPIRES_MINUTES}, {"ProtectionEnabled": False}


class Agent:
    """The part of ECS's agent that protects tasks. It answers with ``status`` and ``answer``."""

    def __init__(self) -> None:
        self.received: list[tuple[str, Any]] = []
        self.status, self.answer = 200, b'{"protection": {}}'
        agent = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                agent.received.append((self.path, body))
                self.send_response(agent.status)
                self.send_header("Content-Length", str(len(agent.answer)))
                self.end_headers()
                self.wfile.write(agent.answer)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/api"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def states(self) -> list[Any]:
        assert {path for path, _ in self.received} <= {PATH}
        return [state for _, state in self.received]


@pytest.fixture
def agent() -> Iterator[Agent]:
    agent = Agent()
    yield agent
    agent.close()


@pytest.fixture
def worker(environment: Mapping[str, str], agent: Agent) -> Iterator[Worker]:
    """A worker in ECS with a requested training."""
    settings = settings_from({**environment, "ECS_AGENT_URI": agent.url})
    process = TrainingProcess(lambda: start_child(environment))
    worker = build(settings, process)
    request = worker.tracker.request_training(settings.cohort, "forced")
    assert request is not None
    training.send_request(worker.tracker, worker.queue, request)
    yield worker
    worker.engine.dispose()


def test_a_task_is_protected_from_the_start_of_a_training_to_its_end(worker: Worker, agent: Agent) -> None:
    during: list[Any] = []

    def train(*_: Any, **__: Any) -> Any:
        during.extend(agent.states)
        raise ValueError("no data")

    assert poll(replace(worker, train=train), 20)
    assert during == [PROTECTED]
    assert agent.states == [PROTECTED, RELEASED]


def test_a_stopped_worker_releases_its_task(worker: Worker, agent: Agent) -> None:
    def train(*_: Any, **__: Any) -> Any:
        raise WorkerStopped

    with pytest.raises(WorkerStopped):
        poll(replace(worker, train=train), 20)
    assert agent.states == [PROTECTED, RELEASED]


def test_a_worker_trains_unprotected_if_ecs_refuses(
    worker: Worker, agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    agent.answer = b'{"failure": {"Reason": "DEPLOYMENT_BLOCKED"}}'
    trained: list[bool] = []

    def train(*_: Any, **__: Any) -> Any:
        trained.append(True)
        raise ValueError("no data")

    assert poll(replace(worker, train=train), 20)
    assert trained == [True]
    assert "DEPLOYMENT_BLOCKED" in caplog.text


def test_the_protection_is_prolonged_when_a_quarter_is_over(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    task = TaskProtection(agent.url)
    task.protect()
    task.protect()
    assert agent.states == [PROTECTED]
    monkeypatch.setattr(protection, "RENEW_SECONDS", 0.0)
    task.protect()
    assert agent.states == [PROTECTED, PROTECTED]


def test_an_agent_that_is_gone_is_reported_and_outside_of_ecs_there_is_none(
    agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    agent.close()
    TaskProtection(agent.url).protect()
    assert "ECS may stop this task" in caplog.text
    caplog.clear()
    TaskProtection(None).protect()
    assert caplog.text == ""
