"""The reverse proxy: its connections to clients and to the API."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from typing import cast

from chalicelib import logs
from infra.local.proxy import answers
from infra.local.proxy.admission import Admission
from infra.local.proxy.client import Client, Request
from infra.local.proxy.limits import Limits
from infra.local.proxy.link import Link

log = logging.getLogger("studysmart.http")

_SWEEP_SECONDS = 0.05
_FULL_SWEEP = 10
"""Every so many sweeps the connections are looked at too."""
_REPORT_SECONDS = 10.0
_REST_SECONDS = 0.003
_LINK_SECONDS = 60.0
"""Life of an unused connection to the API, which closes them after 75 seconds."""
_BACKLOG = 4_096
"""Connections that wait to be accepted: more than may be open, because the kernel drops packets of others."""


class ReverseProxy:
    """Takes requests of clients, and passes to the API those that are admitted."""

    def __init__(self, address: tuple[str, int], limits: Limits, origins: Sequence[str]) -> None:
        self.limits = limits
        self.origins = tuple(origins)
        self.clients: dict[Client, None] = {}
        self.large_bodies = 0
        self._address = address
        self._admission = Admission(limits)
        self._idle: list[Link] = []
        self._busy: dict[Link, Request] = {}
        self._connecting: set[asyncio.Task[None]] = set()
        self._refusals: Counter[str] = Counter()
        self._reported_at = 0.0
        self._rests = False
        self._accepted = False

    async def serve(self, listening: socket.socket, stopped: asyncio.Event, grace_seconds: float) -> None:
        """Serve until ``stopped``, then finish the requests in progress, for up to ``grace_seconds``."""
        self._loop = asyncio.get_running_loop()
        server = await self._loop.create_server(self._accept, sock=listening, backlog=_BACKLOG)
        sweeper = asyncio.create_task(self._sweep_forever())
        await stopped.wait()
        server.close()
        deadline = self._loop.time() + grace_seconds
        while self._admission.n_served and self._loop.time() < deadline:
            await asyncio.sleep(0.01)
        sweeper.cancel()
        for link in [*self._idle, *self._busy]:
            link.close()
        for client in list(self.clients):
            if client.transport is not None:
                client.transport.close()

    def _accept(self) -> Client:
        if len(self.clients) >= self.limits.connections:
            idle = (client for client in self.clients if client.request is None)
            victim = min(idle, key=lambda client: client.deadline, default=None)
            if victim is not None and victim.transport is not None:
                self.refused("too many connections")
                self.clients.pop(victim, None)
                victim.transport.abort()
        self._accepted = True
        return Client(self, self._loop)

    def submit(self, request: Request) -> None:
        """Serve a request when its turn comes, or refuse it."""
        refused = self._admission.add(request)
        if refused is not None:
            self._refuse(cast("Request", refused))
            self._rest_soon()
        if refused is not request:
            self._dispatch()

    def _rest_soon(self) -> None:
        """Pause the loop after this turn, so that the next one reads many requests.

        To wake a process for each request costs both sides more than to refuse it, and the API needs the processors.
        """
        if not self._rests:
            self._rests = True
            self._loop.call_soon(self._rest)

    def _rest(self) -> None:
        self._rests = False
        # The loop accepts one connection in each turn, and the next ones wait already.
        if not self._accepted:
            time.sleep(_REST_SECONDS)
        self._accepted = False

    def withdraw(self, request: Request) -> None:
        """Forget a request that still waits. The answer to one that is served is dropped."""
        self._admission.remove(request)

    def refused(self, reason: str) -> None:
        """Count an answer that the proxy gave itself."""
        self._refusals[reason] += 1

    def _refuse(self, request: Request, detail: str = answers.BUSY) -> None:
        self._refusals[detail] += 1
        head = request.head
        answer = answers.error(
            HTTPStatus.SERVICE_UNAVAILABLE, detail, head.origin, self.origins, close=False, empty=head.is_head
        )
        request.client.answer(answer, closes=False)

    def _dispatch(self) -> None:
        """Give the API as many requests as it may have."""
        while request := cast("Request | None", self._admission.take()):
            link = self._idle_link()
            if link is None:
                task = self._loop.create_task(self._connect(request))
                self._connecting.add(task)
                task.add_done_callback(self._connecting.discard)
            else:
                self._send(link, request)

    def _idle_link(self) -> Link | None:
        now = self._loop.time()
        while self._idle:
            link = self._idle.pop()
            if link.open and now - link.used_at < _LINK_SECONDS:
                return link
            link.close()
        return None

    async def _connect(self, request: Request) -> None:
        try:
            _, link = await self._loop.create_connection(lambda: Link(self._answered, self._failed), *self._address)
        except OSError as error:
            log.warning("the API cannot be reached: %s", error, extra=logs.repeats("API"))
            self._refuse(request)
            self._admission.finished(request.head, 0.0)
            self._dispatch()
            return
        self._send(link, request)

    def _send(self, link: Link, request: Request) -> None:
        self._busy[link] = request
        link.send(request.head.for_api() + request.body, without_body=request.head.is_head, now=self._loop.time())

    def _answered(self, link: Link, answer: bytes, closes: bool) -> None:
        request = self._busy.pop(link)
        self._admission.finished(request.head, self._loop.time() - link.used_at)
        if closes:
            link.close()
        else:
            self._idle.append(link)
        request.client.answer(answer, closes=closes)
        self._dispatch()

    def _failed(self, link: Link, detail: str = answers.STOPPED) -> None:
        request = self._busy.pop(link)
        self._admission.finished(request.head, self._loop.time() - link.used_at)
        self._refuse(request, detail)
        self._dispatch()

    async def _sweep_forever(self) -> None:
        n = 0
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            n += 1
            now = self._loop.time()
            for request in self._admission.expired(now):
                self._refuse(cast("Request", request))
            if n % _FULL_SWEEP == 0:
                self._sweep_connections(now)
                self._report(now)

    def _sweep_connections(self, now: float) -> None:
        for link, request in list(self._busy.items()):
            if now - link.used_at > self.limits.answer_seconds:
                log.error("the API did not answer %s in time", request.head.start.split(b" ", 1)[0].decode())
                link.in_use = False
                self._failed(link, answers.SILENT)
                link.close()
        unsent = []
        for client in list(self.clients):
            if client.deadline <= now:
                client.late()
            elif client.transport is not None and (size := client.transport.get_write_buffer_size()):
                unsent.append((client.deadline, size, client))
        held = sum(size for _, size, _ in unsent)
        for _, size, client in sorted(unsent, key=lambda entry: entry[0]):
            if held <= self.limits.unsent:
                break
            self.refused("too much unread")
            if client.transport is not None:
                client.transport.abort()
            held -= size

    def _report(self, now: float) -> None:
        """Log what was refused, at most once in a while: a line for each refusal would be a load of its own."""
        if self._refusals and now - self._reported_at >= _REPORT_SECONDS:
            counts = ", ".join(f"{reason}: {n}" for reason, n in sorted(self._refusals.items()))
            log.warning("requests refused: %s", counts)
            self._refusals.clear()
            self._reported_at = now
