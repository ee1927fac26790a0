"""The local replacement of Lambda's event source deletes processed messages and keeps failed ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from chalicelib.storage.aws import aws_client
from infra.local import event_source

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("fails", "left"), [(True, 1), (False, 0)])
def test_only_failed_messages_stay_in_the_queue(aws: Mapping[str, str], fails: bool, left: int) -> None:
    sqs = aws_client("sqs", aws["AWS_REGION"], read_timeout=30.0)
    queue = aws["TRAINING_QUEUE_URL"]
    sqs.send_message(QueueUrl=queue, MessageBody="{}", MessageGroupId="g", MessageDeduplicationId="d")

    def handler(event: Mapping[str, Any], context: event_source.Context) -> dict[str, list[dict[str, str]]]:
        assert context.get_remaining_time_in_millis() > 800_000
        return {"batchItemFailures": [{"itemIdentifier": r["messageId"]} for r in event["Records"] if fails]}

    assert event_source.deliver(sqs, queue, handler)
    counts = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessagesNotVisible"])
    assert int(counts["Attributes"]["ApproximateNumberOfMessagesNotVisible"]) == left
    assert not event_source.deliver(sqs, queue, handler, 0)
