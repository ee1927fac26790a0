"""Delivers events to the receivers of webhooks: signed, in order, and again until they arrive.

A receiver gets its events one after the other. If one is not accepted, those behind it wait, and the receiver is tried
again after a pause that grows to an hour. An event is given up (it is *dead*) when it is three days old, or when the
receiver has refused this very message (a status of 4xx) five times. Other failures do not count as refusals. An
operator can send dead events again.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from chalicelib.domain.errors import UnavailableError, WebhookError
from chalicelib.domain.webhooks import MAX_AGE, Delivery, Receiver, signed_headers
from chalicelib.ports import Sender, Webhooks

_log = logging.getLogger("studysmart.webhooks")

LEASE_SECONDS = 60.0
"""Time after which another program may deliver to a receiver, if the one that does was killed."""

BUDGET_SECONDS = 10.0
"""Time that one call spends on each receiver. With the last message it is far below the lease."""

_LATEST_SECONDS = 15.0
"""Time after which a call begins no further message. A Lambda has 29 s, and a message takes up to 8."""

PAUSES = (5.0, 30.0, 120.0, 600.0, 1_800.0, 3_600.0)
"""Seconds until a receiver is tried again, by the number of failures in a row."""

MAX_REFUSALS = 5
_MAX_RECEIVERS = 8
_GONE = 410
_NOT_A_REFUSAL = (401, 403, 404, 408, 425, 429)
"""Statuses of 4xx that say nothing about the message: the receiver is set up wrongly, or busy."""


def deliver(
    webhooks: Webhooks,
    sender: Sender,
    budget: float = BUDGET_SECONDS,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> int:
    """Deliver what waits, to several receivers at a time, and return the number of events that arrived."""
    receivers = webhooks.take(LEASE_SECONDS)
    if not receivers:
        return 0
    from concurrent.futures import ThreadPoolExecutor  # not for every cold start

    random.shuffle(receivers)  # with many slow ones, the last get no time
    one = partial(_deliver_to, webhooks, sender, budget=budget, end=time.monotonic() + _LATEST_SECONDS, now=now)
    with ThreadPoolExecutor(min(len(receivers), _MAX_RECEIVERS)) as pool:
        return sum(pool.map(one, receivers))


def _deliver_to(
    webhooks: Webhooks, sender: Sender, receiver: Receiver, *, budget: float, end: float, now: Callable[[], datetime]
) -> int:
    n = 0
    until = min(time.monotonic() + budget, end)
    try:
        # Each event is read just before it is sent, so that none is sent of a student who was deleted meanwhile.
        while time.monotonic() < until and (delivery := webhooks.next_event(receiver)) is not None:
            if not _attempt(webhooks, sender, receiver, delivery, now()):
                return n
            n += 1
    except UnavailableError as error:
        _log.error("events of receiver %d were not delivered, or not noted: %s", receiver.id, error)
    finally:
        webhooks.release(receiver)
    return n


def _attempt(webhooks: Webhooks, sender: Sender, receiver: Receiver, delivery: Delivery, now: datetime) -> bool:
    """Send one event, and return whether the receiver has it."""
    body = delivery.body
    status = 0
    try:
        headers = signed_headers(receiver.secret, delivery.message_id, int(now.timestamp()), body)
        status = sender.send(receiver.url, headers, body)
        error = f"status {status}"
    except (WebhookError, ValueError) as failure:
        # PostgreSQL takes no NUL, which the text of an error of TLS may have, and a log no control characters.
        error = ascii(str(failure))[1:-1]
    if 200 <= status < 300:
        webhooks.delivered(receiver, delivery)
        _log.debug("event %s arrived at receiver %d", delivery.message_id, receiver.id)
        return True
    refused = 400 <= status < 500 and status not in _NOT_A_REFUSAL
    dead = now - delivery.created_at > MAX_AGE or (refused and delivery.refusals + 1 >= MAX_REFUSALS)
    pause = PAUSES[min(receiver.failures, len(PAUSES) - 1)] * random.uniform(0.8, 1.2)  # noqa: S311 - not for secrets
    wait = 0.0 if dead else pause
    webhooks.failed(receiver, delivery, error, wait=wait, refused=refused, dead=dead, gone=status == _GONE)
    level = logging.ERROR if dead or status == _GONE else logging.WARNING
    outcome = "is given up" if dead else "the receiver is gone" if status == _GONE else f"again in {wait:.0f} s"
    _log.log(level, "event %s for receiver %d: %s, %s", delivery.message_id, receiver.id, error, outcome)
    return False
