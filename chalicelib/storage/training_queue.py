"""The FIFO queue of training requests in SQS."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import msgspec
from botocore.exceptions import ClientError

from chalicelib.domain.errors import QueueUnavailableError
from chalicelib.domain.training import TrainingRequest
from chalicelib.storage.aws import error_code, translated

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_log = logging.getLogger("studysmart.queue")


class Delivery(msgspec.Struct, frozen=True):
    """A delivery of a message. ``request`` is None if the body is not a training request."""

    receipt: str
    body: str
    receive_count: int
    request: TrainingRequest | None


class SqsTrainingQueue:
    """Implements :class:`chalicelib.ports.TrainingQueue`, and the worker's side of the queue."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._sqs = client
        self._url = url

    def send(self, request: TrainingRequest) -> None:
        """Send the message: group = cohort, de-duplication id = request id. Raises QueueUnavailableError."""
        with translated(QueueUnavailableError, "sending the training request"):
            self._sqs.send_message(
                QueueUrl=self._url,
                MessageBody=msgspec.json.encode(request).decode(),
                MessageGroupId=request.cohort,
                MessageDeduplicationId=request.request_id,
            )

    def check(self) -> None:
        """Raise QueueUnavailableError if the queue does not answer."""
        self.depth()

    def depth(self) -> tuple[int, int]:
        """Return the approximate numbers of waiting messages and of messages in flight."""
        with translated(QueueUnavailableError, "reading the attributes of the training queue"):
            answer = self._sqs.get_queue_attributes(
                QueueUrl=self._url,
                AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
            )
        counts = answer["Attributes"]
        return int(counts["ApproximateNumberOfMessages"]), int(counts["ApproximateNumberOfMessagesNotVisible"])

    def dead_letters(self) -> SqsTrainingQueue | None:
        """Return the dead-letter queue, or None if the queue has no redrive policy."""
        with translated(QueueUnavailableError, "looking for the dead-letter queue"):
            answer = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["RedrivePolicy"])
            policy = answer.get("Attributes", {}).get("RedrivePolicy")
            if not policy:
                return None
            name = str(json.loads(policy)["deadLetterTargetArn"]).rpartition(":")[2]
            return SqsTrainingQueue(self._sqs, self._sqs.get_queue_url(QueueName=name)["QueueUrl"])

    def receive(self, wait_seconds: int) -> Delivery | None:
        """Return the next message, or None if none arrives within ``wait_seconds`` (0..20)."""
        with translated(QueueUnavailableError, "receiving from the training queue"):
            answer = self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=1,
                WaitTimeSeconds=wait_seconds,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
        for message in answer.get("Messages", []):
            body = message["Body"]
            count = int(message.get("Attributes", {}).get("ApproximateReceiveCount", "1"))
            return Delivery(message["ReceiptHandle"], body, count, request_from_json(body))
        return None

    def extend(self, delivery: Delivery, seconds: int) -> None:
        """Hide the message for ``seconds`` from now. 0 makes it visible at once."""
        with translated(QueueUnavailableError, "changing the visibility of a message"):
            try:
                self._sqs.change_message_visibility(
                    QueueUrl=self._url, ReceiptHandle=delivery.receipt, VisibilityTimeout=seconds
                )
            except ClientError as error:
                if error_code(error) not in ("MessageNotInflight", "ReceiptHandleIsInvalid", "InvalidParameterValue"):
                    raise
                _log.warning("The message is no longer in flight; its visibility was not changed: %s", error)

    def delete(self, delivery: Delivery) -> None:
        """Delete a message that has been processed."""
        with translated(QueueUnavailableError, "deleting a message"):
            self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=delivery.receipt)


def request_from_json(body: str) -> TrainingRequest | None:
    """Return the request that a message holds, or None if it is not a training request."""
    try:
        return msgspec.json.decode(body, type=TrainingRequest)
    except ValueError:
        return None
