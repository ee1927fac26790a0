"""The worker as a Lambda: it treats an SQS event as the poll loop treats a message."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from chalicelib.config import settings_from
from chalicelib.domain.tasks import Difficulty, NewTask, TaskChange
from chalicelib.domain.training import TrainingState
from chalicelib.services import tasks as task_service
from chalicelib.services import training
from chalicelib.storage.aws import aws_client
from chalicelib.storage.training_queue import SqsTrainingQueue
from chalicelib.wiring import Container, build
from infra.local.event_source import event_of
from training_job import wiring
from training_job.lambda_handler import RESERVE_SECONDS, handle_event
from training_job.process import TrainingProcess

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Remaining:
    """Lambda's context, in which a training has ``seconds``."""

    seconds: float = 600.0

    def get_remaining_time_in_millis(self) -> int:
        return int((self.seconds + RESERVE_SECONDS) * 1000)


@dataclass(frozen=True)
class Cohort:
    """The API of one cohort that has ten answers, and an event source on its queue."""

    environment: Mapping[str, str]
    process: TrainingProcess
    api: Container

    def event(self) -> dict[str, Any]:
        """Receives as Lambda does, and gives its event."""
        sqs = aws_client("sqs", self.environment["AWS_REGION"], read_timeout=120)
        received = sqs.receive_message(
            QueueUrl=self.environment["TRAINING_QUEUE_URL"], WaitTimeSeconds=20, MessageSystemAttributeNames=["All"]
        )
        return event_of(received["Messages"])

    def train(self, event: Mapping[str, Any], remaining: Remaining, **changed: str) -> list[str]:
        """Handles an event; returns the ids of the messages that must come again."""
        worker = wiring.build(settings_from({**self.environment, **changed}), self.process)
        try:
            return [
                failure["itemIdentifier"] for failure in handle_event(worker, event, remaining)["batchItemFailures"]
            ]
        finally:
            worker.engine.dispose()

    def status(self) -> training.ModelStatus:
        return training.status(self.api.tracker, self.api.policy, self.api.settings.cohort)


@pytest.fixture
def cohort(environment: dict[str, str], training_process: TrainingProcess) -> Iterator[Cohort]:
    environment = {**environment, "COHORT": f"c{uuid.uuid4().hex[:8]}"}
    api = build(settings_from(environment))
    for i in range(10):
        new = NewTask("Math", f"topic {i % 3}", Difficulty.MEDIUM, "?")
        task = task_service.create_task(api.tasks, api.champion, "ada", new)
        change = TaskChange(is_correct=i % 3 != 0, actual_time_seconds=20.0 + i)
        task_service.update_task(api.tasks, api.champion, api.tracker, api.queue, api.policy, "ada", task.id, change)
    yield Cohort(environment, training_process, api)
    api.engine.dispose()


def test_an_event_trains_and_its_message_is_gone(cohort: Cohort) -> None:
    assert cohort.train(cohort.event(), Remaining()) == []
    status = cohort.status()
    assert (status.training, status.counter, status.last_error) == (TrainingState.IDLE, 0, None)
    champion = cohort.api.registry.read_champion(cohort.api.settings.cohort)
    assert champion is not None
    assert champion[0].version == status.model_version
    queue = cohort.api.queue
    assert isinstance(queue, SqsTrainingQueue)
    assert queue.depth() == (0, 0)


def test_what_fails_comes_again_and_what_is_behind_it_is_not_begun(cohort: Cohort) -> None:
    (record,) = cohort.event()["Records"]
    behind = {**record, "messageId": "behind", "receiptHandle": "unknown"}
    event = {"Records": [record, behind]}
    failed = cohort.train(event, Remaining(), REGISTRY_BUCKET="no-such-bucket")
    assert failed == [record["messageId"], "behind"]
    status = cohort.status()
    assert (status.training, status.counter) == (TrainingState.QUEUED, 10)


def test_a_message_comes_again_when_the_database_does_not_answer(cohort: Cohort) -> None:
    event = cohort.event()
    nowhere = "postgresql+pg8000://nobody@127.0.0.1:1/nothing"
    assert cohort.train(event, Remaining(), DATABASE_URL=nowhere) == [event["Records"][0]["messageId"]]


def test_a_training_that_takes_too_long_for_a_lambda_is_given_back_and_says_so(cohort: Cohort) -> None:
    event = cohort.event()
    assert cohort.train(event, Remaining(0.02)) == [event["Records"][0]["messageId"]]
    status = cohort.status()
    assert status.training is TrainingState.QUEUED
    assert status.last_error is not None
    assert "TrainingCompute=ecs" in status.last_error


def test_a_message_that_is_no_request_is_left_to_the_redrive_policy(cohort: Cohort) -> None:
    (record,) = cohort.event()["Records"]
    assert cohort.train({"Records": [{**record, "body": "nonsense"}]}, Remaining()) == [record["messageId"]]
