"""A run of everything that calls AWS, each program under its role: the main job, admins, schedules and commands."""

from __future__ import annotations

import contextlib
import io
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from chalice.test import Client
from sqlalchemy import text

from chalicelib import wiring
from chalicelib.config import Settings, settings_from
from chalicelib.domain.training import TrainingRequest
from chalicelib.storage.aws import aws_client
from chalicelib.storage.tracker import Lease, PostgresTracker
from infra.check.calls import Recorder
from training_job import pipeline
from training_job import wiring as training_wiring
from training_job.__main__ import poll
from training_job.lambda_handler import RESERVE_SECONDS, handle_event
from training_job.process import TrainingProcess, start_child
from training_job.worker import Worker

_ACCOUNT = {"email": "ada@example.com", "password": "correct horse"}
_TASK = {"subject": "Mathematics", "difficulty": "medium", "task_content": "1/2 + 1/3 = ?"}
_OLD = "20200101T000000Z-00000000"


class ScenarioError(Exception):
    """A step did not do what it should: the calls that it made prove nothing."""


class Scenario:
    """The steps; each raises ScenarioError when it fails."""

    def __init__(self, environment: Mapping[str, str], recorder: Recorder) -> None:
        from app import app

        self.recorder = recorder
        self.settings: Settings = settings_from(environment)
        self.container = wiring.build(self.settings)
        # Shortest retention, so that there is something to prune.
        wiring.install(wiring.build(settings_from({**environment, "RETAINED_VERSIONS": "1"})))
        worker = training_wiring.build(self.settings, TrainingProcess(partial(start_child, os.environ)))
        self.worker: Worker = replace(worker, train=self._train)
        self.client = Client(app)
        self.token = ""
        self.topic = 0

    def run(self) -> None:
        """Everything, in an order in which each step finds what it needs."""
        self._students()
        self._trainings()
        self._admins()
        self._schedules()
        self._commands()
        self._end_of_an_account()

    def _train(self, request: TrainingRequest, *, seconds: float, **how: Any) -> pipeline.Trained:
        """Train in this process, whose calls are recorded, without a limit of ``seconds``."""
        del seconds
        worker = self.worker
        return pipeline.run(request, worker.engine, worker.registry, received_at=datetime.now(UTC), **how)

    def close(self) -> None:
        """Give back connections and the process's container."""
        self.container.engine.dispose()
        self.worker.engine.dispose()
        wiring.current().engine.dispose()
        wiring.install(None)

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON of a request's answer, which must be a success."""
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        content = json.dumps(body).encode() if body is not None else b""
        with self.recorder.acting("ApiRole"):
            answer = self.client.http.request(method, path, headers=headers, body=content)
        if answer.status_code >= 300:
            raise ScenarioError(f"{method} {path}: {answer.status_code} {answer.body!r:.300}")
        return json.loads(answer.body) if answer.body else None

    def login(self) -> None:
        """Sign in; the token says by then to which groups the account belongs."""
        self.token = ""
        self.token = self.request("POST", "/auth/login", _ACCOUNT)["access_token"]

    def practise(self, times: int) -> None:
        """Creations and completions, right and wrong ones."""
        for _ in range(times):
            self.topic += 1
            task = self.request("POST", "/practice-tasks", {**_TASK, "topic": f"topic {self.topic % 3}"})
            result = {"is_correct": self.topic % 3 != 0, "actual_time_seconds": 20 + self.topic}
            self.request("PATCH", f"/practice-tasks/{task['id']}", result)

    def _students(self) -> None:
        self.request("POST", "/auth/register", {**_ACCOUNT, "full_name": "Ada"})
        self.login()
        self.request("GET", "/auth/me")
        changed = {"current_password": _ACCOUNT["password"], "new_password": "correct horse 2"}
        self.request("POST", "/auth/change-password", changed)
        back = {"current_password": "correct horse 2", "new_password": _ACCOUNT["password"]}
        self.request("POST", "/auth/change-password", back)
        self.practise(10)
        self.request("GET", "/health")

    def _trainings(self) -> None:
        """One by the poll loop, during which the counter fills again, and its successor by the Lambda."""
        busy = replace(self.worker, tracker=_Busy(self.worker.engine))
        with self.recorder.acting("TrainingRole"):
            _expect(poll(busy, 20), "the completions left no request in the queue")
        self.practise(5)
        event = self._event()
        with self.recorder.acting("TrainingRole"):
            failed = handle_event(self.worker, event, _Context())["batchItemFailures"]
        _expect(not failed, "the training in the Lambda failed")
        status = self.request("GET", "/model/status")
        _expect(status["last_error"] is None and status["model_version"], f"the trainings ended with {status}")
        self._dead_letter()

    def _event(self) -> dict[str, Any]:
        delivery = self.worker.queue.receive(20)
        if delivery is None:
            raise ScenarioError("the training sent no request for its successor")
        attributes = {"ApproximateReceiveCount": str(delivery.receive_count)}
        record = {"messageId": "m", "receiptHandle": delivery.receipt, "body": delivery.body, "attributes": attributes}
        return {"Records": [record]}

    def _dead_letter(self) -> None:
        """A message that is no request fails until it is a dead letter."""
        sqs = aws_client("sqs", self.settings.aws_region, read_timeout=30.0)
        over = TrainingRequest(str(uuid.uuid4()), self.settings.cohort, datetime.now(UTC), "forced")
        # Straight into the dead-letter queue goes one whose request is over, for the doctor to delete.
        dead = self.worker.queue.dead_letters()
        _expect(dead is not None, "the queue has no dead-letter queue")
        assert dead is not None
        dead.send(over)
        unreadable = {"MessageGroupId": "g", "MessageDeduplicationId": "d"}
        sqs.send_message(QueueUrl=self.settings.training_queue_url, MessageBody="nonsense", **unreadable)
        with self.recorder.acting("TrainingRole"):
            while poll(self.worker, 1):
                pass

    def _admins(self) -> None:
        self.command("make-admin", _ACCOUNT["email"])
        self.login()
        versions = self.request("GET", "/model/versions")
        older = next(entry for entry in versions["versions"] if entry["version"] != versions["champion"])
        self.request("POST", "/model/rollback", {"version": older["version"]})
        self.request("POST", "/model/pin", {"version": versions["champion"]})
        self.request("POST", "/model/unpin")
        self.request("POST", "/model/counter", {"value": 0})
        self.request("POST", "/model/train")

    def _schedules(self) -> None:
        event = self.client.events.generate_cw_event("aws.events", "", {}, [])
        with self.container.engine.begin() as connection:
            connection.execute(
                text(
                    "UPDATE embedding_model_tracker SET training_enqueued_at = NULL,"
                    " training_requested_at = now() - interval '2 minutes'"
                )
            )
        with self.recorder.acting("SweeperRole"):
            self.client.lambda_.invoke("sweep_training_requests", event)
        self.worker.registry.write_version(self.settings.cohort, _OLD, {"lnirt.json": b"{}"}, {})
        with self.recorder.acting("PrunerRole"):
            self.client.lambda_.invoke("prune_models", event)
        _expect(_OLD not in self.worker.registry.list_versions(self.settings.cohort), "nothing was pruned")
        with self.recorder.acting("TrainingRole"):
            while poll(self.worker, 1):
                pass

    def _commands(self) -> None:
        self.command("status")
        self.command("reset-counter", "0")
        self.command("train")
        self.command("models", "list")
        champion = self.request("GET", "/model/versions")["champion"]
        self.command("models", "show", champion)
        self.command("models", "rollback", champion)
        self.command("models", "pin")
        self.command("models", "unpin")
        self.command("models", "verify")
        self.worker.registry.write_version(self.settings.cohort, _OLD, {"lnirt.json": b"{}"}, {})
        self.command("models", "prune", "--keep", "1")
        # 1: what it cannot mend, such as the unreadable dead letter, it names.
        self.command("doctor", "--repair", statuses=(0, 1))

    def command(self, *arguments: str, statuses: tuple[int, ...] = (0,)) -> None:
        """A command of the operator's Lambda."""
        from ops.lambda_handler import handler

        with self.recorder.acting("OperatorRole"):
            answer = handler({"arguments": list(arguments)}, None)
        if answer["status"] not in statuses:
            raise ScenarioError(f"studysmart {' '.join(arguments)}: {answer}")

    def _end_of_an_account(self) -> None:
        self.request("POST", "/auth/delete-account", {"password": _ACCOUNT["password"]})


class _Busy(PostgresTracker):
    """A tracker whose students fill the counter again during each training."""

    def finish(self, lease: Lease, **how: Any) -> TrainingRequest | None:
        self.set_counter(lease.request.cohort, 100)
        return super().finish(lease, **how)


class _Context:
    def get_remaining_time_in_millis(self) -> int:
        return int((timedelta(minutes=10).total_seconds() + RESERVE_SECONDS) * 1000)


def _expect(condition: object, otherwise: str) -> None:
    if not condition:
        raise ScenarioError(otherwise)


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """The process's environment with these variables, for the time of the block."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)
