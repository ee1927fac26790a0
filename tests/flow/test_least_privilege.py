"""Each role of the template may do what its program does, and nothing else. Each database role may do it too.

The scenario runs everything that calls AWS, each program under its role: students, trainings, admins, schedules and the
operator's commands. moto accepts every call, so the calls are recorded and compared with the policies.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from chalice.test import Client
from sqlalchemy import text

from app import app
from chalicelib import wiring
from chalicelib.config import settings_from
from chalicelib.domain.training import TrainingRequest
from chalicelib.storage import dataset_store
from chalicelib.storage.aws import aws_client
from chalicelib.storage.tracker import Lease, PostgresTracker
from infra.local.aws.resources import REGION
from infra.package.template import read_part
from migrations.roles import API, MIGRATOR, TRAINER
from ops.lambda_handler import handler
from tests.support.permissions import Permission, Recorder, grants_of, missing, unused
from tests.support.servers import login_as
from training_job import pipeline
from training_job import wiring as training_wiring
from training_job.__main__ import poll
from training_job.child import datasets_of
from training_job.history import snapshot
from training_job.lambda_handler import RESERVE_SECONDS, handle_event
from training_job.process import TrainingProcess, start_child
from training_job.worker import Worker

pytestmark = pytest.mark.slow

ROLES = Path(__file__).resolve().parents[2] / "infra" / "roles.yaml"
ACCOUNT_ID = "123456789012"
"""moto's."""

ACCOUNT = {"email": "ada@example.com", "password": "correct horse"}
TASK = {"subject": "Mathematics", "difficulty": "medium", "task_content": "1/2 + 1/3 = ?"}
BUS = "school-events"
FILES_BUCKET = f"files-{uuid.uuid4().hex}"
OLD_VERSION = "20200101T000000Z-00000000"


class Programs:
    """The API, the worker, the schedules and the operator's commands in this process, each under its role."""

    def __init__(self, environment: Mapping[str, str], recorder: Recorder) -> None:
        self.recorder = recorder
        as_trainer = login_as(TRAINER, environment["DATABASE_URL"])
        self.settings = settings_from({**environment, "DATABASE_URL": as_trainer})
        worker = training_wiring.build(self.settings, TrainingProcess(partial(start_child, os.environ)))
        self.worker: Worker = replace(worker, train=self._train)
        self.client = Client(app)
        self.token = ""
        self.n_tasks = 0

    def _train(self, request: TrainingRequest, *, seconds: float, **how: Any) -> pipeline.Trained:
        """Train in this process, whose calls are recorded, without a limit of ``seconds``."""
        del seconds
        worker = self.worker
        datasets = datasets_of(self.settings)
        return pipeline.run(
            request, worker.engine, worker.registry, received_at=datetime.now(UTC), datasets=datasets, **how
        )

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {self.token}"} if self.token else {}
        )
        content = json.dumps(body).encode() if body is not None else b""
        with self.recorder.acting("ApiRole"):
            answer = self.client.http.request(method, path, headers=headers, body=content)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.body!r:.300}"
        return json.loads(answer.body) if answer.body else None

    def command(self, *arguments: str) -> None:
        with self.recorder.acting("OperatorRole"):
            answer = handler({"arguments": list(arguments)}, None)
        # The doctor exits with 1 for what it cannot repair, such as the unreadable dead letter.
        assert answer["status"] in ((0, 1) if arguments[0] == "doctor" else (0,)), f"{arguments}: {answer}"

    def leave_in_dataset(self, name: str) -> None:
        """Put a file into the dataset that is of no use there."""
        key = f"datasets/{self.settings.cohort}/{name}"
        aws_client("s3", REGION).put_object(Bucket=self.settings.registry_bucket, Key=key, Body=b"nonsense")

    def login(self) -> None:
        """Sign in. A new token names the groups of the account."""
        self.token = ""
        self.token = self.request("POST", "/auth/login", ACCOUNT)["access_token"]

    def practise(self, times: int) -> None:
        for _ in range(times):
            self.n_tasks += 1
            task = self.request("POST", "/practice-tasks", {**TASK, "topic": f"topic {self.n_tasks % 3}"})
            result = {"is_correct": self.n_tasks % 3 != 0, "actual_time_seconds": 20 + self.n_tasks}
            self.request("PATCH", f"/practice-tasks/{task['id']}", result)

    def train(self, worker: Worker, wait_seconds: int = 1) -> int:
        """Handle all waiting requests; return their number."""
        n = 0
        with self.recorder.acting("TrainingRole"):
            while poll(worker, wait_seconds):
                n, wait_seconds = n + 1, 1
        return n


class BusyTracker(PostgresTracker):
    """A tracker whose students fill the counter again during each training."""

    def finish(self, lease: Lease, **how: Any) -> TrainingRequest | None:
        self.set_counter(lease.request.cohort, 100)
        return super().finish(lease, **how)


class Context:
    """Lambda's context, with time for a training."""

    def get_remaining_time_in_millis(self) -> int:
        return int((600 + RESERVE_SECONDS) * 1000)


@pytest.fixture
def programs(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Programs]:
    recorder = Recorder(REGION, ACCOUNT_ID)
    monkeypatch.setattr(snapshot, "MIN_ANSWERS", 1)
    monkeypatch.setattr(dataset_store, "ABANDONED_AFTER", timedelta(0))
    url = environment["DATABASE_URL"]
    # That of the commands.
    own = {"DATABASE_URL": login_as(MIGRATOR, url), "STATE_DIR": "/nonexistent", "EVENT_BUS_NAME": BUS}
    for name, value in {**environment, **own}.items():
        monkeypatch.setenv(name, value)
    with recorder.listening():
        # The smallest retention, so that there is something to prune.
        container = wiring.build(
            settings_from({**environment, "DATABASE_URL": login_as(API, url), "RETAINED_VERSIONS": "1"})
        )
        wiring.install(container)
        programs = Programs(environment, recorder)
        yield programs
        wiring.install(None)
        container.engine.dispose()
        programs.worker.engine.dispose()


def test_roles_grant_what_the_programs_do_and_no_more(programs: Programs, environment: dict[str, str]) -> None:
    aws_client("events", REGION).create_event_bus(Name=BUS)
    programs.command("migrate")
    students(programs)
    trainings(programs)
    admins(programs)
    schedules(programs)
    commands(programs)
    programs.request("POST", "/auth/delete-account", {"password": ACCOUNT["password"]})

    needed = programs.recorder.needed
    grants = grants_of(read_part(ROLES), arns(environment))
    assert len({one.role for one in needed}) == 5
    assert missing(grants, needed) == []
    assert unused(grants, needed) == []
    # The comparison notices a role that lacks a grant, and one that has a grant too many.
    assert missing([grant for grant in grants if grant.action != "s3:PutObject"], needed) != []
    extra = Permission("ApiRole", "s3:DeleteObject", "*")
    assert unused([*grants, extra], needed) == [extra]


def arns(environment: Mapping[str, str]) -> dict[str, str]:
    queue = f"arn:aws:sqs:{REGION}:{ACCOUNT_ID}:{environment['TRAINING_QUEUE_URL'].rpartition('/')[2]}"
    return {
        "RegistryBucket.Arn": f"arn:aws:s3:::{environment['REGISTRY_BUCKET']}",
        "TrainingQueue.Arn": queue,
        "TrainingDeadLetterQueue.Arn": queue.replace("-training.fifo", "-training-dead.fifo"),
        "AWS::Partition": "aws",
        "AWS::Region": REGION,
        "AWS::AccountId": ACCOUNT_ID,
        "EventBusName": BUS,
        "FilesBucket": FILES_BUCKET,
        "UserPool.Arn": f"arn:aws:cognito-idp:{REGION}:{ACCOUNT_ID}:userpool/{environment['USER_POOL_ID']}",
    }


def students(programs: Programs) -> None:
    programs.request("POST", "/auth/register", {**ACCOUNT, "full_name": "Ada"})
    programs.login()
    programs.request("GET", "/auth/me")
    for current, new in ((ACCOUNT["password"], "correct horse 2"), ("correct horse 2", ACCOUNT["password"])):
        programs.request("POST", "/auth/change-password", {"current_password": current, "new_password": new})
    programs.practise(10)
    programs.request("GET", "/health")


def trainings(programs: Programs) -> None:
    """One training by the poll loop, during which the counter fills again, and its successor by the Lambda."""
    worker = programs.worker
    with programs.recorder.acting("TrainingRole"):
        assert poll(replace(worker, tracker=BusyTracker(worker.engine)), 20), "the completions left no request"
    programs.practise(5)
    delivery = worker.queue.receive(20)
    assert delivery is not None, "the training sent no request for its successor"
    attributes = {"ApproximateReceiveCount": str(delivery.receive_count)}
    record = {"messageId": "m", "receiptHandle": delivery.receipt, "body": delivery.body, "attributes": attributes}
    with programs.recorder.acting("TrainingRole"):
        assert handle_event(worker, {"Records": [record]}, Context())["batchItemFailures"] == []
    status = programs.request("GET", "/model/status")
    assert (status["last_error"], bool(status["model_version"])) == (None, True)
    # The doctor deletes a dead letter whose request is over, and names one that it cannot read.
    dead = worker.queue.dead_letters()
    assert dead is not None
    dead.send(TrainingRequest(str(uuid.uuid4()), programs.settings.cohort, datetime.now(UTC), "forced"))
    aws_client("sqs", REGION, read_timeout=30.0).send_message(
        QueueUrl=programs.settings.training_queue_url,
        MessageBody="nonsense",
        MessageGroupId="g",
        MessageDeduplicationId="d",
    )
    programs.train(worker)


def admins(programs: Programs) -> None:
    programs.command("make-admin", ACCOUNT["email"])
    programs.login()
    versions = programs.request("GET", "/model/versions")
    older = next(entry for entry in versions["versions"] if entry["version"] != versions["champion"])
    programs.request("POST", "/model/rollback", {"version": older["version"]})
    programs.request("POST", "/model/pin", {"version": versions["champion"]})
    programs.request("POST", "/model/unpin")
    programs.request("POST", "/model/counter", {"value": 0})
    programs.request("POST", "/model/train")


def schedules(programs: Programs) -> None:
    unsent = (
        "UPDATE embedding_model_tracker SET training_enqueued_at = NULL,"
        " training_requested_at = now() - interval '2 minutes'"
    )
    with programs.worker.engine.begin() as connection:
        connection.execute(text(unsent))
    event = programs.client.events.generate_cw_event("aws.events", "", {}, [])
    with programs.recorder.acting("SweeperRole"):
        programs.client.lambda_.invoke("sweep_training_requests", event)
    registry, cohort = programs.worker.registry, programs.settings.cohort
    registry.write_version(cohort, OLD_VERSION, {"lnirt.json": b"{}"}, {})
    programs.leave_in_dataset("left-by-a-training.parquet")
    with programs.recorder.acting("PrunerRole"):
        programs.client.lambda_.invoke("prune_models", event)
    assert OLD_VERSION not in registry.list_versions(cohort)
    assert programs.train(programs.worker) > 0


def commands(programs: Programs) -> None:
    champion = programs.request("GET", "/model/versions")["champion"]
    for line in ("status", "reset-counter 0", "train", "models list", f"models show {champion}"):
        programs.command(*line.split())
    for line in (f"models rollback {champion}", "models pin", "models unpin", "models verify"):
        programs.command(*line.split())
    programs.worker.registry.write_version(programs.settings.cohort, OLD_VERSION, {"lnirt.json": b"{}"}, {})
    programs.command("models", "prune", "--keep", "1")
    programs.command("account", "list")
    programs.command("account", "set-password", ACCOUNT["email"], ACCOUNT["password"])
    for action in ("disable", "enable"):
        programs.command("account", action, ACCOUNT["email"])
    programs.login()
    programs.token, token = "", programs.token
    programs.request("POST", "/auth/register", {**ACCOUNT, "email": "other@example.org"})
    programs.request("POST", "/auth/forgot-password", {"email": "other@example.org"})
    programs.token = token
    programs.command("account", "erase", "other@example.org", "--yes")
    programs.leave_in_dataset("manifest.json")
    programs.command("doctor", "--repair")
    files(programs)


def files(programs: Programs) -> None:
    s3 = aws_client("s3", REGION, read_timeout=30.0)
    s3.create_bucket(Bucket=FILES_BUCKET)
    history = "user_id,topic,is_correct\nada,fractions,1\n"
    s3.put_object(Bucket=FILES_BUCKET, Key="history.csv", Body=history.encode())
    programs.command("backup", f"s3://{FILES_BUCKET}/weekly")
    programs.command("import", f"s3://{FILES_BUCKET}/history.csv")
