"""Webhooks: the events that other servers are told about, and the signature of a message (Standard Webhooks, v1)."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any

from msgspec import Struct, json

SECRET_PREFIX = "whsec_"  # noqa: S105 - not a secret
_SECRET_BYTES = 32

MAX_AGE = timedelta(days=3)
"""Age at which an event is given up if its receiver does not accept it."""

BUS = "eventbridge:"
"""Start of the address of a receiver that is a bus of Amazon EventBridge. The name of the bus follows."""


class EventType(StrEnum):
    """The kinds of events."""

    COMPLETION = "completion"
    TRAINING_COMPLETE = "training.complete"
    TRAINING_FAILED = "training.failed"
    VERSION_PROMOTED = "version.promoted"


class Receiver(Struct, frozen=True):
    """A server that is told about events of a cohort. ``failures`` counts the attempts since the last success.

    ``leased_until`` identifies the lease: a program that took the receiver later has another one.
    """

    id: int
    url: str
    secret: str
    failures: int
    leased_until: datetime

    @property
    def bus(self) -> str | None:
        """The name of the bus of EventBridge that this receiver is, None for a server."""
        return self.url.removeprefix(BUS) if self.url.startswith(BUS) else None


class Delivery(Struct, frozen=True):
    """An event to deliver to a receiver. ``message_id`` stays the same when it is sent again.

    ``id`` grows with each event of a receiver.

    ``refusals`` is the number of attempts in which the receiver refused this very message.
    """

    id: int
    message_id: str
    type: str
    data: Mapping[str, Any]
    created_at: datetime
    refusals: int

    @property
    def body(self) -> bytes:
        """The message as it is sent."""
        return json.encode({"type": self.type, "timestamp": self.created_at, "data": self.data})


class Outcome(Struct, frozen=True):
    """What became of an attempt to deliver an event. ``error`` is None if the receiver has it.

    ``refused`` says that the receiver does not accept this very message, ``gone`` that it wants no more at all.
    """

    error: str | None = None
    refused: bool = False
    gone: bool = False


def new_secret() -> str:
    """Return a new secret of a receiver."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of ``webhook-signature``. Raises ValueError for a secret that is not one of ours."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("the secret is not base64") from error
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def signed_headers(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of a message."""
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret, message_id, timestamp, body),
    }
