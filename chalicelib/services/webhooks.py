"""Delivers events to the receivers of webhooks: signed, in order, and again until they arrive.

A receiver gets its events one after the other. If one is not accepted, those behind it wait, and the receiver is tried
again after a pause that grows to an hour. An event is given up (it is *dead*) when it is three days old, or when the
receiver has refused this very message (a status of 4xx) five times. Other failures do not count as refusals. An
operator can send dead events again.

A receiver can be a bus of EventBridge (:class:`chalicelib.ports.EventBus`), which takes several events at once.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from chalicelib import logs
from chalicelib.domain.errors import UnavailableError, WebhookError
from chalicelib.domain.webhooks import MAX_AGE, Delivery, Outcome, Receiver, signed_headers
from chalicelib.ports import EventBus, Sender, Webhooks

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
MAX_ENTRIES = 10
"""Number of events that EventBridge takes at once."""

_MAX_RECEIVERS = 8
_GONE = 410
_NOT_A_REFUSAL = (401, 403, 404, 408, 425, 429)
"""Statuses of 4xx that say nothing about the message: the receiver is set up wrongly, or busy."""


def deliver(
    webhooks: Webhooks,
    sender: Sender,
    bus: EventBus,
    budget: float = BUDGET_SECONDS,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> int:
    """Deliver what waits, to several receivers at a time, and return the number of events that arrived."""
    receivers = webhooks.take(LEASE_SECONDS)
    if not receivers:
        return 0
    from concurrent.futures import ThreadPoolExecutor  # not for every cold start

    random.shuffle(receivers)  # with many slow ones, the last get no time
    one = partial(_deliver_to, webhooks, sender, bus, budget=budget, end=time.monotonic() + _LATEST_SECONDS, now=now)
    with ThreadPoolExecutor(min(len(receivers), _MAX_RECEIVERS)) as pool:
        return sum(pool.map(one, receivers))


def _deliver_to(
    webhooks: Webhooks,
    sender: Sender,
    bus: EventBus,
    receiver: Receiver,
    *,
    budget: float,
    end: float,
    now: Callable[[], datetime],
) -> int:
    n = 0
    until = min(time.monotonic() + budget, end)
    at_once = 1 if receiver.bus is None else MAX_ENTRIES
    try:
        # Events are read just before they are sent, so that none is sent of a student who was deleted meanwhile.
        while time.monotonic() < until and (events := webhooks.next_events(receiver, at_once)):
            at = now()
            if receiver.bus is None:
                outcomes = [_post(sender, receiver, events[0], at)]
            else:
                outcomes = _put(bus, receiver.bus, events)
            arrived = [event for event, outcome in zip(events, outcomes, strict=False) if outcome.error is None]
            if arrived:
                webhooks.delivered(receiver, arrived)
                _log.debug("%d events arrived at receiver %d", len(arrived), receiver.id)
            n += len(arrived)
            for event, outcome in zip(events, outcomes, strict=False):
                if outcome.error is not None:
                    # The first of several is enough: it is also the first of the next attempt.
                    _fail(webhooks, receiver, event, outcome, at)
                    return n
    except UnavailableError as error:
        _log.error("receiver %d: not sent or noted: %s", receiver.id, error, extra=logs.repeats(f"to {receiver.id}"))
    finally:
        webhooks.release(receiver)
    return n


def _post(sender: Sender, receiver: Receiver, delivery: Delivery, now: datetime) -> Outcome:
    """Send one event to a server."""
    try:
        headers = signed_headers(receiver.secret, delivery.message_id, int(now.timestamp()), delivery.body)
        status = sender.send(receiver.url, headers, delivery.body)
    except (WebhookError, ValueError) as error:
        return Outcome(str(error))
    if 200 <= status < 300:
        return Outcome()
    refused = 400 <= status < 500 and status not in _NOT_A_REFUSAL
    return Outcome(f"status {status}", refused, gone=status == _GONE)


def _put(bus: EventBus, name: str, events: Sequence[Delivery]) -> list[Outcome]:
    """Put events on a bus. Those that have no outcome were not tried."""
    try:
        return bus.put(name, events)
    except WebhookError as error:
        return [Outcome(str(error))]


def _fail(webhooks: Webhooks, receiver: Receiver, delivery: Delivery, outcome: Outcome, now: datetime) -> None:
    """Note that an event did not arrive, and leave the receiver alone for a while."""
    # PostgreSQL takes no NUL, which the text of an error of TLS may have, and a log no control characters.
    error = ascii(outcome.error)[1:-1]
    dead = now - delivery.created_at > MAX_AGE or (outcome.refused and delivery.refusals + 1 >= MAX_REFUSALS)
    pause = PAUSES[min(receiver.failures, len(PAUSES) - 1)] * random.uniform(0.8, 1.2)  # noqa: S311 - not for secrets
    wait = 0.0 if dead else pause
    webhooks.failed(receiver, delivery, error, wait=wait, refused=outcome.refused, dead=dead, gone=outcome.gone)
    level = logging.ERROR if dead or outcome.gone else logging.WARNING
    text = "is given up" if dead else "the receiver is gone" if outcome.gone else f"again in {wait:.0f} s"
    _log.log(level, "event %s for receiver %d: %s, %s", delivery.message_id, receiver.id, error, text)
