"""The training worker as a Lambda: SQS brings the messages, and each is handled as ``python -m training_job`` does it.

The event source deletes every message that the answer does not name in ``batchItemFailures``. A message that must come
again is named there. So its number of receives, its visibility timeout and the dead-letter queue are those of the
poll loop.
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
from training_job.worker import Worker, handle

_log = logging.getLogger("studysmart.worker")

RESERVE_SECONDS = 20.0
"""How long before the end of the Lambda a training is given up: enough to record it and to give the lease back."""


class Context(Protocol):
    """The part of Lambda's context object that is used."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until Lambda ends the process."""


def handler(event: Mapping[str, Any], context: Context) -> dict[str, list[dict[str, str]]]:
    """Handle an SQS event: the entry point of the Lambda. Raises ConfigurationError."""
    return handle_event(_worker(), event, context)


def handle_event(worker: Worker, event: Mapping[str, Any], context: Context) -> dict[str, list[dict[str, str]]]:
    """Handle the messages of an SQS event in their order.

    Returns ``{"batchItemFailures": [{"itemIdentifier": …}]}`` with the messages that must come again. The messages
    after one of these are not begun, because a FIFO queue keeps the order of a cohort's requests.
    """
    records = list(event["Records"])
    done = 0
    while done < len(records) and _is_done(worker, records[done], context):
        done += 1
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in records[done:]]}


@cache
def _worker() -> Worker:
    """Return the worker that all events of the process share."""
    settings = settings_from(os.environ)
    logs.configure(settings.log_format, settings.log_level, stack=settings.stack_name)
    # The first training starts the process: a Lambda has too little time to import TensorFlow while it starts.
    return build(settings, TrainingProcess(partial(start_child, os.environ)))


def _is_done(worker: Worker, record: Mapping[str, Any], context: Context) -> bool:
    try:
        seconds = context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
        return handle(worker, delivery_of(record), seconds)
    except UnavailableError as error:
        _log.error("a service does not answer, the message comes again: %s", error)
        return False


def delivery_of(record: Mapping[str, Any]) -> Delivery:
    """Return the delivery that a record of an SQS event describes."""
    body = str(record["body"])
    count = int(record["attributes"]["ApproximateReceiveCount"])
    return Delivery(str(record["receiptHandle"]), body, count, request_from_json(body))
