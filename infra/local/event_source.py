"""``python -m infra.local.event_source``: the event source of Lambda, for the worker's Lambda handler.

It receives one message at a time and calls :func:`training_job.lambda_handler.handler` with the event that Lambda would
make of it. It deletes the message unless the answer names it as failed. The stack runs it instead of ``python -m
training_job`` if it is to train as AWS does with ``TrainingCompute=lambda``.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.storage.aws import aws_client
from training_job.lambda_handler import handler

log = logging.getLogger("studysmart.local")

TIMEOUT_SECONDS = 900.0
"""The maximum duration of a Lambda."""

_OUTAGE_SECONDS = 2.0
_KEYS = {"messageId": "MessageId", "receiptHandle": "ReceiptHandle", "body": "Body", "attributes": "Attributes"}


class Context:
    """The context of one invocation, as far as the handler uses it."""

    def __init__(self) -> None:
        self._end = time.monotonic() + TIMEOUT_SECONDS

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until Lambda would end the process."""
        return int((self._end - time.monotonic()) * 1000)


Invoke = Callable[[Mapping[str, Any], Context], Mapping[str, Sequence[Mapping[str, str]]]]
"""The handler of a Lambda that reports single messages as failed."""


def event_of(messages: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the event that Lambda makes of received messages."""
    return {"Records": [{ours: message[theirs] for ours, theirs in _KEYS.items()} for message in messages]}


def deliver(sqs: Any, queue_url: str, invoke: Invoke, wait_seconds: int = 20) -> bool:
    """Pass at most one message to a handler; return whether there was one."""
    options: dict[str, Any] = {
        "MaxNumberOfMessages": 1,
        "WaitTimeSeconds": wait_seconds,
        "MessageSystemAttributeNames": ["All"],
    }
    event = event_of(sqs.receive_message(QueueUrl=queue_url, **options).get("Messages", []))
    if not event["Records"]:
        return False
    failed = {failure["itemIdentifier"] for failure in invoke(event, Context())["batchItemFailures"]}
    for record in event["Records"]:
        if record["messageId"] not in failed:
            sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=record["receiptHandle"])
    return True


def main() -> int:
    """Deliver messages until SIGTERM, which ends this process at once, as Lambda does."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    sqs = aws_client("sqs", os.environ["AWS_REGION"], read_timeout=30.0)
    while True:
        try:
            deliver(sqs, os.environ["TRAINING_QUEUE_URL"], handler)
        except (ClientError, BotoCoreError) as error:
            log.error("the queue does not answer, trying again: %s", error)
            time.sleep(_OUTAGE_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
