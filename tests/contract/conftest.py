"""Each contract runs on the fake and on the real adapter."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from chalicelib.ports import LimitCounts, ModelRegistry, TaskStore, Tracker, UserStore
from chalicelib.storage.aws import aws_client
from chalicelib.storage.database import connect
from chalicelib.storage.limit_store import PostgresLimitCounts
from chalicelib.storage.model_registry import S3ModelRegistry
from chalicelib.storage.task_store import PostgresTaskStore
from chalicelib.storage.tracker import PostgresTracker
from chalicelib.storage.training_queue import SqsTrainingQueue
from chalicelib.storage.user_store import PostgresUserStore
from migrations.roles import API
from tests.support.fakes.database import (
    MemoryDatabase,
    MemoryLimitCounts,
    MemoryTaskStore,
    MemoryTracker,
    MemoryUserStore,
)
from tests.support.fakes.services import MemoryRegistry
from tests.support.outboxes import Outbox, outbox_of
from tests.support.servers import login_as


@dataclass
class Stores:
    """The stores over one database."""

    tasks: TaskStore
    users: UserStore
    tracker: Tracker
    counts: LimitCounts


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.slow)])
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    if request.param == "memory":
        database = MemoryDatabase()
        yield Stores(
            MemoryTaskStore(database), MemoryUserStore(database), MemoryTracker(database), MemoryLimitCounts(database)
        )
        return
    engine = connect(login_as(API, request.getfixturevalue("database_url")), pool_size=2)
    tasks, users = PostgresTaskStore(engine, "default"), PostgresUserStore(engine, "default")
    yield Stores(tasks, users, PostgresTracker(engine), PostgresLimitCounts(engine))
    engine.dispose()


@pytest.fixture
def deliveries(database_url: str) -> Iterator[Outbox]:
    with outbox_of(database_url) as found:
        yield found


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.slow)])
def registry(request: pytest.FixtureRequest) -> ModelRegistry:
    """The registry's fake, and S3 (moto) with a bucket made from the template."""
    if request.param == "memory":
        return MemoryRegistry()
    aws = request.getfixturevalue("aws")
    return S3ModelRegistry(aws_client("s3", aws["AWS_REGION"]), aws["REGISTRY_BUCKET"])


@pytest.fixture
def damage(registry: ModelRegistry, request: pytest.FixtureRequest) -> Callable[[str, str, str, bytes], None]:
    """Changes a stored file behind the registry's back: (cohort, version, name, content)."""
    if isinstance(registry, MemoryRegistry):
        return registry.damage
    aws = request.getfixturevalue("aws")
    client = aws_client("s3", aws["AWS_REGION"])

    def put(cohort: str, version: str, name: str, content: bytes) -> None:
        client.put_object(Bucket=aws["REGISTRY_BUCKET"], Key=f"models/{cohort}/{version}/{name}", Body=content)

    return put


@pytest.fixture
def queue(aws: dict[str, str]) -> SqsTrainingQueue:
    """The training queue on moto."""
    return SqsTrainingQueue(aws_client("sqs", aws["AWS_REGION"]), aws["TRAINING_QUEUE_URL"])


@pytest.fixture
def dead_letters(aws: dict[str, str]) -> SqsTrainingQueue:
    """The dead-letter queue that the training queue's redrive policy names."""
    client = aws_client("sqs", aws["AWS_REGION"])
    attributes = client.get_queue_attributes(QueueUrl=aws["TRAINING_QUEUE_URL"], AttributeNames=["RedrivePolicy"])
    target = json.loads(attributes["Attributes"]["RedrivePolicy"])["deadLetterTargetArn"]
    return SqsTrainingQueue(client, client.get_queue_url(QueueName=target.split(":")[-1])["QueueUrl"])
