"""The FIFO queue of training requests in SQS."""

from __future__ import annotations

import json
import logging
import uuid
from datetime import datetime
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
    """One delivery of a message. ``request`` is None when the body is not a training request."""

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
        """Send the message; group = cohort, de-duplication id = request id. QueueUnavailableError on failure."""
        with translated(QueueUnavailableError, "sending the training request"):
            self._sqs.send_message(
                QueueUrl=self._url,
                MessageBody=request_to_json(request),
                MessageGroupId=request.cohort,
                MessageDeduplicationId=request.request_id,
            )

    def check(self) -> None:
        """Raise QueueUnavailableError when the queue does not answer."""
        self.depth()

    def depth(self) -> tuple[int, int]:
        """(messages waiting, messages in flight), both approximate as SQS gives them."""
        with translated(QueueUnavailableError, "asking the training queue"):
            answer = self._sqs.get_queue_attributes(
                QueueUrl=self._url,
                AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
            )
        counts = answer["Attributes"]
        return int(counts["ApproximateNumberOfMessages"]), int(counts["ApproximateNumberOfMessagesNotVisible"])

    def dead_letters(self) -> SqsTrainingQueue | None:
        """The queue that takes what failed too often, None where the queue has no redrive policy."""
        with translated(QueueUnavailableError, "asking for the dead-letter queue"):
            answer = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["RedrivePolicy"])
            policy = answer.get("Attributes", {}).get("RedrivePolicy")
            if not policy:
                return None
            name = str(json.loads(policy)["deadLetterTargetArn"]).rpartition(":")[2]
            return SqsTrainingQueue(self._sqs, self._sqs.get_queue_url(QueueName=name)["QueueUrl"])

    def receive(self, wait_seconds: int) -> Delivery | None:
        """The next message, waiting up to ``wait_seconds`` (0..20) for one."""
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
        """Keep the message hidden for ``seconds`` from now; 0 makes it visible at once."""
        with translated(QueueUnavailableError, "changing the visibility of a message"):
            try:
                self._sqs.change_message_visibility(
                    QueueUrl=self._url, ReceiptHandle=delivery.receipt, VisibilityTimeout=seconds
                )
            except ClientError as error:
                if error_code(error) not in ("MessageNotInflight", "ReceiptHandleIsInvalid", "InvalidParameterValue"):
                    raise
                _log.warning("the message is no longer in flight, its visibility stays as it is: %s", error)

    def delete(self, delivery: Delivery) -> None:
        """Delete a message that was dealt with."""
        with translated(QueueUnavailableError, "deleting a message"):
            self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=delivery.receipt)


def request_to_json(request: TrainingRequest) -> str:
    """The message's body."""
    return json.dumps(
        {
            "request_id": request.request_id,
            "cohort": request.cohort,
            "requested_at": request.requested_at.isoformat(),
            "reason": request.reason,
        }
    )


def request_from_json(body: str) -> TrainingRequest | None:
    """The request of a message's body; None when it is not one."""
    try:
        fields = json.loads(body)
        uuid.UUID(fields["request_id"])
        request = TrainingRequest(
            request_id=fields["request_id"],
            cohort=fields["cohort"],
            requested_at=datetime.fromisoformat(fields["requested_at"]),
            reason=fields["reason"],
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    known = isinstance(request.cohort, str) and isinstance(request.reason, str)
    return request if known and request.requested_at.tzinfo is not None else None
