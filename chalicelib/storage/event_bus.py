"""Puts events on a bus of Amazon EventBridge."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from msgspec import json

from chalicelib import logs
from chalicelib.domain.errors import WebhookError
from chalicelib.domain.webhooks import Delivery, Outcome
from chalicelib.storage.aws import error_code

SOURCE = "studysmart"
"""The source of all events, by which rules choose them."""

MAX_BYTES = 250_000
"""Size of the entries of one request. EventBridge takes 256 KiB, and counts a few bytes more for each entry."""

_KNOWN_SECONDS = 5.0
"""Time for which a bus that was there is not looked for again."""

_REFUSALS = ("InvalidArgument", "MalformedDetail", "ValidationException")
"""Codes of errors that are about the event. Others are about the bus, its permissions, or a moment of trouble."""


class EventBridge:
    """Implements :class:`chalicelib.ports.EventBus`."""

    def __init__(self, client: Callable[[], Any], stack: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._make = client
        self._stack = stack
        self._clock = clock
        self._seen: dict[str, float] = {}

    @cached_property
    def _client(self) -> Any:
        return self._make()

    def put(self, bus: str, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Put the first events that fit into one request, and return an outcome for each of them."""
        entries: list[dict[str, Any]] = []
        n_bytes = 0
        for one in deliveries:
            detail = self._detail(one)
            n_bytes += len(detail)
            if entries and n_bytes > MAX_BYTES:
                break
            entry = {"EventBusName": bus, "Source": SOURCE, "DetailType": one.type, "Time": one.created_at}
            entries.append({**entry, "Detail": detail.decode()})
        try:
            with logs.timed("events"):
                self._look_for(bus)
                answer = self._client.put_events(Entries=entries)
        except (ClientError, BotoCoreError) as error:
            if error_code(error) in _REFUSALS:
                # Alone, because of several it is not known which one is refused.
                return self.put(bus, deliveries[:1]) if len(entries) > 1 else [Outcome(str(error), refused=True)]
            raise WebhookError(f"EventBridge: {error}") from error
        return [_outcome(one) for one in answer["Entries"]]

    def _detail(self, delivery: Delivery) -> bytes:
        return json.encode(
            {
                "id": delivery.message_id,
                "sequence": delivery.id,
                "stack": self._stack,
                "timestamp": delivery.created_at,
                "data": delivery.data,
            }
        )

    def _look_for(self, bus: str) -> None:
        """Raise ClientError if the bus is missing, because PutEvents then drops events without an error."""
        if self._clock() - self._seen.get(bus, -_KNOWN_SECONDS) < _KNOWN_SECONDS:
            return
        self._client.describe_event_bus(Name=bus)
        self._seen[bus] = self._clock()


def _outcome(entry: dict[str, Any]) -> Outcome:
    code = entry.get("ErrorCode")
    if not code:
        return Outcome()
    return Outcome(f"EventBridge: {code}: {entry.get('ErrorMessage', '')}", refused=code in _REFUSALS)
