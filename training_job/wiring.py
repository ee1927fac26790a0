"""The composition root of the training job: settings -> clients -> a worker, the same for both ways to run it."""

from __future__ import annotations

from chalicelib.config import Settings
from chalicelib.domain.training import TrainingPolicy
from chalicelib.storage.aws import aws_client
from chalicelib.storage.database import connect
from chalicelib.storage.model_registry import S3ModelRegistry
from chalicelib.storage.tracker import PostgresTracker
from chalicelib.storage.training_queue import SqsTrainingQueue
from training_job.worker import Worker

POLL_SECONDS = 20
"""How long one receive waits for a message: SQS's longest."""


def build(settings: Settings) -> Worker:
    """A worker on the services that the settings name."""
    engine = connect(settings.database_url, pool_size=2)
    sqs = aws_client("sqs", settings.aws_region, read_timeout=POLL_SECONDS + 10.0)
    s3 = aws_client("s3", settings.aws_region, read_timeout=30.0)
    return Worker(
        engine=engine,
        tracker=PostgresTracker(engine),
        queue=SqsTrainingQueue(sqs, settings.training_queue_url),
        registry=S3ModelRegistry(s3, settings.registry_bucket),
        policy=TrainingPolicy(settings.training_threshold, settings.minimum_samples),
        lease_seconds=settings.lease_seconds,
    )
