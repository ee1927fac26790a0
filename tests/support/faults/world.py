"""One backend under faults: its data, its proxies, its students and its ledger."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import boto3
import pytest

from chalicelib import wiring
from chalicelib.config import settings_from
from chalicelib.domain.training import TrackerRow, TrainingRequest
from chalicelib.services import training, versions
from chalicelib.storage.database import connect
from chalicelib.storage.model_registry import S3ModelRegistry
from chalicelib.storage.tracker import PostgresTracker
from chalicelib.wiring import Container
from ops.doctor.checks import Doctor
from tests.support.api import PASSWORD, Answer, Api
from tests.support.faults.http_proxy import HttpProxy
from tests.support.faults.ledger import Figures, Ledger, Result, figures
from tests.support.faults.postgres_proxy import PostgresProxy
from tests.support.faults.processes import Nursery, Process
from tests.support.faults.rules import Rule
from tests.support.waiting import wait_for

MARKS = [
    pytest.mark.slow,
    # pg8000 cannot close the buffer of a connection that was reset, and Python says so when it collects it.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
LEASE_SECONDS = 1
"""Short, so that what a dead worker held is soon free."""

TASK = {"subject": "Math", "difficulty": "medium", "task_content": "?"}


class World:
    """The API of this process and workers as processes, each side behind proxies of its own.

    The API is the real application, called as API Gateway would; ``api_aws`` and ``api_database`` stand between it and
    its services, ``worker_aws`` and ``worker_database`` between the worker and its own.
    """

    def __init__(self, environment: Mapping[str, str], database: Path, nursery: Nursery, directory: Path) -> None:
        endpoint = environment["AWS_ENDPOINT_URL"]
        self.endpoint = endpoint
        self.environment = {"LEASE_SECONDS": str(LEASE_SECONDS), "MODEL_REFRESH_SECONDS": "0.05", **environment}
        self.nursery, self.directory = nursery, directory
        self.api_aws, self.worker_aws = HttpProxy(endpoint), HttpProxy(endpoint)
        self.api_database, self.worker_database = PostgresProxy(database), PostgresProxy(database)
        self.proxies = (self.api_aws, self.worker_aws, self.api_database, self.worker_database)
        self.ledger = Ledger()
        self.settings = settings_from(self.environment)
        self.cohort = self.settings.cohort
        self.engine = connect(self.settings.database_url, pool_size=2)
        session = boto3.Session(
            environment["AWS_ACCESS_KEY_ID"],
            environment["AWS_SECRET_ACCESS_KEY"],
            region_name=environment["AWS_REGION"],
        )
        self.s3: Any = session.client("s3", endpoint_url=endpoint)
        self.sqs: Any = session.client("sqs", endpoint_url=endpoint)
        # As the template says, which moto's CloudFormation does not do: the bucket remembers every pointer.
        bucket = self.settings.registry_bucket
        self.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        self.container: Container = self._cold_start()
        self.student = self.sign_up("ada@example.org")
        self.workers: list[Process] = []
        self.checked = False

    # --- the API

    def api_environment(self) -> dict[str, str]:
        url = self.api_database.url(self.environment["DATABASE_URL"])
        return {**self.environment, "AWS_ENDPOINT_URL": self.api_aws.url, "DATABASE_URL": url}

    def _cold_start(self) -> Container:
        container = wiring.build(settings_from(self.api_environment()))
        wiring.install(container)
        return container

    def cold_start(self) -> None:
        """Let the API start anew: it has no model and no connection."""
        self.container.engine.dispose()
        self.container = self._cold_start()

    def sign_up(self, email: str) -> Api:
        api = Api()
        assert api.post("/auth/register", {"email": email, "password": PASSWORD}).status == 201
        api.token = api.post("/auth/login", {"email": email, "password": PASSWORD}).json["access_token"]
        return api

    def create(self, topic: str = "topic 1", student: Api | None = None) -> dict[str, Any]:
        answer = (student or self.student).post("/practice-tasks", {**TASK, "topic": topic})
        assert answer.status == 201, answer.body
        return dict(answer.json)

    def complete(self, n: int = 1, *, seconds: float = 20.0, student: Api | None = None) -> list[dict[str, Any]]:
        """Create and complete tasks; returns what each completion said of the training.

        Of answers without a time (0 s) a training learns correctness only, which takes Keras half as long.
        """
        notes = []
        for number in range(n):
            task = self.create(f"topic {number % 3}", student)
            answer = self.answer(task["id"], number % 3 != 0, seconds, student)
            assert answer.status == 200, answer.body
            notes.append(answer.json["training"])
        return notes

    def answer(self, task_id: str, correct: bool = True, seconds: float = 20.0, student: Api | None = None) -> Answer:
        """Send a result, and note in the ledger whether it was acknowledged."""
        self.ledger.unanswered[task_id] = (correct, seconds)
        body = {"is_correct": correct, "actual_time_seconds": seconds}
        answer = (student or self.student).patch(f"/practice-tasks/{task_id}", body)
        if answer.status == 200:
            self.ledger.acknowledge(task_id, (correct, seconds))
        return answer

    def lambda_process(self, task_id: str, correct: bool = True, seconds: float = 0.0, **how: Any) -> Invocation:
        """Complete a task by a Lambda that is a process of its own, and can be killed."""
        self.ledger.unanswered[task_id] = (correct, seconds)
        request = {
            "method": "PATCH",
            "path": f"/practice-tasks/{task_id}",
            "headers": {"Content-Type": "application/json", "Authorization": f"Bearer {self.student.token}"},
            "body": json.dumps({"is_correct": correct, "actual_time_seconds": seconds}),
        }
        answer = self.directory / f"answer-{task_id}"
        process = self.nursery.fork(self.api_environment(), request=request, answer=str(answer), **how)
        return Invocation(self, task_id, (correct, seconds), process, answer)

    def killed_lambda(self, task_id: str, rule: Rule) -> None:
        """Complete a task by a Lambda that is killed at the request that meets the rule."""
        invocation: Future[Invocation] = Future()
        rule.act, rule.cut = lambda: invocation.result(60).process.kill(), True
        invocation.set_result(self.lambda_process(task_id))
        rule.wait_until_met()
        invocation.result().process.wait()

    def predict(self) -> tuple[str, str | None]:
        """(source, model version) of a prediction for the student."""
        answer = self.student.get("/predictions?subject=Math&topic=topic+1&difficulty=medium")
        assert answer.status == 200, answer.body
        return answer.json["prediction_source"], answer.json["model_version"]

    def status(self) -> TrackerRow:
        return self.container.tracker.read(self.cohort)

    def sweep(self, grace_seconds: float = -1.0, resend_seconds: float = training.RESEND_SECONDS) -> int:
        """The sweeper, as if a request's time had come; returns how many it sent."""
        tracker, queue = self.container.tracker, self.container.queue
        unsent = tracker.unsent_requests(grace_seconds, resend_seconds)
        for request in unsent:
            training.send_request(tracker, queue, request)
        return len(unsent)

    def end_wait(self) -> None:
        """Let the wait after a failed training be over."""
        with self.container.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE embedding_model_tracker SET next_training_at = clock_timestamp()")

    # --- the worker

    def worker(self, *, keras: bool = False, **how: Any) -> Process:
        """Start a worker that deals with one message; without ``keras`` its networks are not trained."""
        url = self.worker_database.url(self.environment["DATABASE_URL"])
        environment = {**self.environment, "AWS_ENDPOINT_URL": self.worker_aws.url, "DATABASE_URL": url}
        process = self.nursery.fork(environment, keras=keras, **how)
        self.workers.append(process)
        return process

    def work(self, **how: Any) -> str:
        """Let a worker deal with one message, and give what it said."""
        return self.worker(**how).wait()

    def held_worker(self, pattern: str = "PUT .*/lnirt.json", **how: Any) -> tuple[Rule, Process]:
        """Start a worker, and return when it is held at the request that meets the pattern."""
        held = self.worker_aws.hold(pattern)
        worker = self.worker(**how)
        held.wait_until_met()
        return held, worker

    def paused_worker(self, pattern: str) -> Callable[[], str]:
        """Start a worker that is paused at a request; returns what lets it go on to its end, and gives what it said."""
        held, worker = self.held_worker(pattern)
        worker.pause()

        def resume() -> str:
            held.released.set()
            worker.resume()
            return worker.wait()

        return resume

    def work_until_no_message(self) -> None:
        """Let workers deal with messages until the queue is empty."""
        wait_for(lambda: (self.work(), self.depth())[1] == (0, 0), what="the end of the message")

    def work_until_idle(self, deliveries: int = 30, **how: Any) -> None:
        """Let workers deal with messages until no training is asked for."""
        for _ in range(deliveries):
            if self.status().training_request_id is None:
                return
            self.work(**how)
        raise AssertionError(f"still in training: {self.status()}\n{self.said()}")

    def killed_worker(self, rule: Rule, **how: Any) -> None:
        """Let a worker be killed at the request that meets the rule."""
        process: Future[Process] = Future()
        rule.act, rule.cut = lambda: process.result(60).kill(), True
        process.set_result(self.worker(**how))
        rule.wait_until_met()
        process.result().wait()

    def said(self) -> str:
        return "\n".join(worker.output.read_text() for worker in self.workers)

    # --- registry and queue as they are stored

    @property
    def champion(self) -> str | None:
        found = S3ModelRegistry(self.s3, self.settings.registry_bucket).read_champion(self.cohort)
        return found[0].version if found else None

    def version_in_the_making(self) -> str:
        """The version of the request that is live."""
        row = self.status()
        assert row.training_request_id is not None
        assert row.training_requested_at is not None
        return TrainingRequest(row.training_request_id, self.cohort, row.training_requested_at, "threshold").version

    def move_by_hand(self, version: str) -> None:
        """Roll back or forward as an operator does, from a machine that reaches everything."""
        registry, tracker = S3ModelRegistry(self.s3, self.settings.registry_bucket), PostgresTracker(self.engine)
        versions.rollback(registry, tracker, self.cohort, version)
        self.ledger.moves_by_hand[version] += 1

    def key(self, name: str, version: str | None = None) -> str:
        return f"models/{self.cohort}/{version or self.champion}/{name}"

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=self.settings.registry_bucket, Key=key, Body=body)

    def read(self, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket=self.settings.registry_bucket, Key=key)["Body"].read()
        return body

    def send(self, body: str, group: str, deduplication_id: str) -> None:
        self.sqs.send_message(
            QueueUrl=self.settings.training_queue_url,
            MessageBody=body,
            MessageGroupId=group,
            MessageDeduplicationId=deduplication_id,
        )

    def wait_for_message(self) -> None:
        """Return when a message can be received."""
        wait_for(lambda: self.depth()[0] > 0, what="a message in the queue")

    def depth(self) -> tuple[int, int]:
        """(waiting, in flight)."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.settings.training_queue_url, AttributeNames=names)
        return int(found["Attributes"][names[0]]), int(found["Attributes"][names[1]])

    # --- what must hold

    def figures(self) -> Figures:
        return figures(self.ledger, self.engine, self.cohort, self.s3, self.settings.registry_bucket)

    def check(self, *expected: str) -> None:
        """The invariants: the ledger's figures are 0, and the doctor finds exactly what is ``expected``, by code."""
        self.lift_faults()
        assert self.figures() == Figures(0, 0, 0), self.said()
        found = Doctor(self.container, second_look_seconds=0.05).examine().findings
        assert sorted(finding.kind.code for finding in found) == sorted(expected), [finding.what for finding in found]
        self.checked = True

    def lift_faults(self) -> None:
        """Let every request pass from now on."""
        for proxy in self.proxies:
            proxy.rules.clear()

    def close(self) -> None:
        self.lift_faults()
        for worker in self.workers:
            if worker.alive:
                worker.kill()
        self.container.engine.dispose()
        self.engine.dispose()
        wiring.install(None)
        for proxy in self.proxies:
            proxy.close()


class Invocation:
    """A Lambda's process and its answer."""

    def __init__(self, world: World, task_id: str, result: Result, process: Process, answer: Path) -> None:
        self._world, self._task_id, self._result = world, task_id, result
        self.process, self._answer = process, answer

    def status(self) -> int | None:
        """The answer's status when the process has ended, None when it died without one."""
        self.process.wait()
        if not self._answer.exists():
            return None
        status = int(json.loads(self._answer.read_text())["status"])
        if status == 200:
            self._world.ledger.acknowledge(self._task_id, self._result)
        return status
