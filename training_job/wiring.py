"""The composition root of the worker, for the poll loop and for the Lambda."""

from __future__ import annotations

from functools import partial

from chalicelib.config import Settings, policy_of
from chalicelib.storage.aws import aws_client
from chalicelib.storage.database import connect
from chalicelib.storage.timeouts import timeouts_of
from chalicelib.storage.tracker import PostgresTracker
from chalicelib.storage.training_queue import SqsTrainingQueue
from training_job.child import registry_of
from training_job.process import TrainingProcess
from training_job.protection import TaskProtection
from training_job.worker import Worker

POLL_SECONDS = 20
"""How long one receive waits for a message: the longest time that SQS allows."""


def build(settings: Settings, process: TrainingProcess) -> Worker:
    """Return a worker on the services that the settings name, which trains in ``process``."""
    engine = connect(settings.database_url, 2, timeouts_of(settings)._replace(statement=0))
    sqs = aws_client("sqs", settings.aws_region, read_timeout=POLL_SECONDS + 10.0)
    return Worker(
        engine=engine,
        tracker=PostgresTracker(engine),
        queue=SqsTrainingQueue(sqs, settings.training_queue_url),
        registry=registry_of(settings),
        policy=policy_of(settings),
        lease_seconds=settings.lease_seconds,
        train=partial(process.train, settings),
        protection=TaskProtection(settings.ecs_agent_uri),
    )
