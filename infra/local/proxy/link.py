"""A connection from the reverse proxy to the API, which carries one request at a time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Protocol, cast

_LENGTH = re.compile(rb"^content-length:[ \t]*(\d+)[ \t]*\r$", re.IGNORECASE | re.MULTILINE)
_CLOSES = re.compile(rb"^connection:[ \t]*close[ \t]*\r$", re.IGNORECASE | re.MULTILINE)


class Answered(Protocol):
    """Called with the whole answer, and whether the API closes the connection after it."""

    def __call__(self, link: Link, answer: bytes, closes: bool) -> None:
        """Take the answer."""


class Link(asyncio.Protocol):
    """One connection. ``failed`` is called if the API closes it before it has answered."""

    def __init__(self, answered: Answered, failed: Callable[[Link], None]) -> None:
        self._answered = answered
        self._failed = failed
        self._transport: asyncio.Transport | None = None
        self._chunks: list[bytes] = []
        self._missing: int | None = None
        self._closes = False
        self._without_body = False
        self.in_use = False
        self.used_at = 0.0

    @property
    def open(self) -> bool:
        """True until either side closes the connection."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes, *, without_body: bool, now: float) -> None:
        """Send a request; ``without_body`` says that its answer has none, although it may state a length."""
        assert self._transport is not None  # noqa: S101 - narrows a type
        self.in_use, self.used_at, self._without_body = True, now, without_body
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Collect the answer, and pass it on when it is complete."""
        self._chunks.append(data)
        if self._missing is not None:
            self._missing -= len(data)
        elif b"\r\n\r\n" in (received := b"".join(self._chunks)):
            head, _, rest = received.partition(b"\r\n\r\n")
            length = _LENGTH.search(head + b"\r\n")
            self._closes = _CLOSES.search(head + b"\r\n") is not None
            self._missing = 0 if self._without_body or length is None else int(length[1]) - len(rest)
        if self._missing is not None and self._missing <= 0:
            answer, closes = b"".join(self._chunks), self._closes
            self._chunks, self._missing = [], None
            self.in_use = False
            self._answered(self, answer, closes)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the base class's signature
        """Tell the proxy if the request on this connection stays without an answer."""
        if self.in_use:
            self.in_use = False
            self._failed(self)
