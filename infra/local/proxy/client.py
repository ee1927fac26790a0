"""A connection of a client: reads requests as they arrive and hands over the complete ones."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Protocol, cast

from infra.local.proxy import answers
from infra.local.proxy.head import MAX_HEAD, BadHeadError, Head, read_head
from infra.local.proxy.limits import Limits


class Request:
    """A complete request. ``since`` is when it began to wait."""

    __slots__ = ("body", "client", "head", "since")

    def __init__(self, client: Client, head: Head, body: bytes, since: float) -> None:
        self.client = client
        self.head = head
        self.body = body
        self.since = since


class Proxy(Protocol):
    """The proxy, as its connections use it."""

    limits: Limits
    origins: tuple[str, ...]
    clients: dict[Client, None]
    large_bodies: int

    def submit(self, request: Request) -> None:
        """Serve a request when its turn comes, or refuse it."""

    def withdraw(self, request: Request) -> None:
        """Forget a request, whose client has gone."""

    def refused(self, reason: str) -> None:
        """Count an answer that the proxy gave itself."""


class Client(asyncio.Protocol):
    """One connection. ``deadline`` is when it is closed unless something happens before."""

    def __init__(self, proxy: Proxy, clock: asyncio.AbstractEventLoop) -> None:
        self._proxy = proxy
        self._clock = clock
        self._buffer = bytearray()
        self._head: Head | None = None
        self._reserved = 0
        self._paused = False
        self._unsent = 0
        self.transport: asyncio.Transport | None = None
        self.request: Request | None = None
        self.deadline = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self.transport = cast("asyncio.Transport", transport)
        self._proxy.clients[self] = None
        self._wait(self._proxy.limits.idle_seconds)

    def data_received(self, data: bytes) -> None:
        """Read on. While a request is in progress, the next ones wait in a bounded buffer."""
        if not self._buffer and self._head is None and self.request is None:
            # From now on bytes do not move the deadline: a request that trickles in ends like one that stops.
            self._wait(self._proxy.limits.head_seconds)
        self._buffer += data
        if self.request is None:
            self._read()
        elif len(self._buffer) > MAX_HEAD and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()

    def _read(self) -> None:
        """Hand over the next request if it is complete."""
        if self.transport is None or self.transport.is_closing():
            return
        if self._head is None and not self._read_head():
            return
        head = self._head
        if head is None or len(self._buffer) < head.length:
            return
        body = bytes(self._buffer[: head.length])
        del self._buffer[: head.length]
        self._head = None
        self.deadline = float("inf")
        self.request = Request(self, head, body, self._clock.time())
        self._proxy.submit(self.request)

    def _read_head(self) -> bool:
        """Return True if a head was read and its request is welcome."""
        while self._buffer.startswith(b"\r\n"):  # some clients end a body with an empty line
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n", 0, MAX_HEAD)
        if end < 0:
            if len(self._buffer) >= MAX_HEAD:
                self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The head of the request is too large")
            return False
        limits = self._proxy.limits
        try:
            head = read_head(bytes(self._buffer[: end + 4]), limits.small_body)
        except BadHeadError as fault:
            self.refuse(fault.status, str(fault), fault.origin)
            return False
        del self._buffer[: end + 4]
        if head.length > limits.small_body:
            if self._proxy.large_bodies + head.length > limits.large_bodies:
                self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, answers.BUSY, head.origin)
                return False
            self._reserved = head.length
            self._proxy.large_bodies += head.length
        self._head = head
        if len(self._buffer) < head.length:
            self._wait(limits.body_seconds)
            if head.expects_continue and self.transport is not None:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def refuse(self, status: HTTPStatus, detail: str, origin: str | None = None) -> None:
        """Answer a request whose end is not known, and close the connection."""
        self._proxy.refused(status.phrase)
        self._buffer.clear()
        self._free()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(answers.error(status, detail, origin, self._proxy.origins, close=True))
            self.transport.close()
            self._wait(self._proxy.limits.head_seconds)

    def answer(self, answer: bytes, *, closes: bool) -> None:
        """Send the answer to the request in progress, and read the next one."""
        request, self.request = self.request, None
        self._free()
        if request is None or self.transport is None or self.transport.is_closing():
            return
        closes = closes or not request.head.stays_open
        if not request.head.stays_open:
            answer = answer.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        self.transport.write(answer)
        if closes:
            self._unsent = self.transport.get_write_buffer_size()
            self._wait(self._proxy.limits.answer_seconds)
            self.transport.close()
            return
        self._unsent = self.transport.get_write_buffer_size()
        self._wait(self._proxy.limits.answer_seconds if self._unsent else self._proxy.limits.idle_seconds)
        # The clock counts milliseconds. Of connections that are idle since the same one, the first in order must go.
        self._proxy.clients[self] = self._proxy.clients.pop(self, None)
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        if self._buffer:
            self._wait(self._proxy.limits.head_seconds)
            self._clock.call_soon(self._read)

    def late(self) -> None:
        """Close the connection, whose deadline has passed."""
        if self.transport is None:
            return
        size = self.transport.get_write_buffer_size()
        if 0 < size < self._unsent:  # the client reads slowly, but it reads
            self._unsent = size
            self._wait(self._proxy.limits.answer_seconds)
        elif size > 0 or self.transport.is_closing():
            self.transport.abort()
        elif self._buffer or self._head is not None:
            self.refuse(HTTPStatus.REQUEST_TIMEOUT, answers.TOO_SLOW, self._head.origin if self._head else None)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the base class's signature
        """Forget the connection and a request that still waits."""
        self._proxy.clients.pop(self, None)
        self.transport = None
        self._buffer.clear()
        self._free()
        if self.request is not None:
            self._proxy.withdraw(self.request)

    def _free(self) -> None:
        self._proxy.large_bodies -= self._reserved
        self._reserved = 0
        self._head = None

    def _wait(self, seconds: float) -> None:
        self.deadline = self._clock.time() + seconds
