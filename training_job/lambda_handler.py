"""The training worker as a Lambda: SQS brings the messages, each is dealt with as ``python -m training_job`` does it.

The event source takes what is not named in ``batchItemFailures`` out of the queue. A message that must come again is
named there, so its number of receives, the wait before it comes and the dead-letter queue are those of the poll loop.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import cache, partial
from typing import Any, Protocol

from chalicelib import logs
from chalicelib.config import settings_from
from chalicelib.domain.errors import UnavailableError
from chalicelib.storage.training_queue import Delivery, request_from_json
from training_job.process import TrainingProcess, start_child
from training_job.wiring import build
from training_job.worker import Worker, handle, log_fields

_log = logging.getLogger("studysmart.worker")

RESERVE_SECONDS = 20.0
"""Before Lambda ends the process a training is given up this early: time enough to say so and to return its lease."""


class Context(Protocol):
    """What of Lambda's context object is used."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends the process."""


def handler(event: Mapping[str, Any], context: Context) -> dict[str, list[dict[str, str]]]:
    """The Lambda's entry. Raises ConfigurationError."""
    return deal_with(_worker(), event, context)


def deal_with(worker: Worker, event: Mapping[str, Any], context: Context) -> dict[str, list[dict[str, str]]]:
    """Deal with the messages of an SQS event in their order.

    Returns ``{"batchItemFailures": [{"itemIdentifier": …}]}`` with the messages that must come again. Those behind one
    of them are not begun: a FIFO queue keeps the order of a cohort's requests.
    """
    records = list(event["Records"])
    done = 0
    while done < len(records) and _is_done(worker, records[done], context):
        done += 1
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in records[done:]]}


@cache
def _worker() -> Worker:
    """One for all events of the process."""
    settings = settings_from(os.environ)
    logs.configure(settings.log_format, settings.log_level, fields=log_fields)
    # Started by the first training: the time in which a Lambda may start is too short for TensorFlow.
    return build(settings, TrainingProcess(partial(start_child, os.environ)))


def _is_done(worker: Worker, record: Mapping[str, Any], context: Context) -> bool:
    try:
        seconds = context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
        return handle(worker, delivery_of(record), seconds)
    except UnavailableError as error:
        _log.error("a service does not answer, the message comes again: %s", error)
        return False


def delivery_of(record: Mapping[str, Any]) -> Delivery:
    """A delivery from a record of an SQS event."""
    body = str(record["body"])
    count = int(record["attributes"]["ApproximateReceiveCount"])
    return Delivery(str(record["receiptHandle"]), body, count, request_from_json(body))
