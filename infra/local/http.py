"""Chalice's local server made fit to be used: quick answers, kept connections, and JSON for whatever is wrong."""

from __future__ import annotations

import functools
import json
import logging
import socket
import string
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from chalice.app import Chalice
from chalice.config import Config
from chalice.local import (
    ChaliceRequestHandler,
    LocalChalice,
    LocalDevServer,
    ThreadedHTTPServer,
    create_local_server,
)

from chalicelib.api import unmatched
from infra.local.compression import compressed
from infra.local.connections import KeptConnection

log = logging.getLogger("studysmart.http")

# What API Gateway takes at most; the API's own limit is lower and answered by the API.
_LARGEST_BODY = 10 * 1024 * 1024
_IDLE_SECONDS = 75


class Handler(KeptConnection, ChaliceRequestHandler):  # type: ignore[misc]
    """One connection."""

    path: str
    server: Any
    timeout = _IDLE_SECONDS
    error_content_type = "application/json"
    error_message_format = '{"detail": "%(message)s"}'

    def answer(self) -> None:
        """Hand the request to Chalice unless its length cannot be told or is beyond any limit."""
        fault = self._fault()
        # The base class reads the address as Latin-1; bytes that a client did not encode are encoded as they came.
        self.path = _no_deeper_than_routes(quote(self.path, safe=string.punctuation, encoding="latin-1"))
        if fault is None:
            try:
                with self.server.request_in_hand():
                    self._generic_handle()
                    self.wfile.flush()
            finally:
                self.server.after_answer()
            return
        # What follows on this connection cannot be told apart from the body.
        self.close_connection = True
        body = json.dumps({"detail": fault.phrase})
        self._send_http_response(fault.value, {"Connection": "close"}, body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer  # noqa: N815

    def _fault(self) -> HTTPStatus | None:
        if self.headers.get("Transfer-Encoding"):
            return HTTPStatus.LENGTH_REQUIRED
        length = self.headers.get("Content-Length", "0").strip()
        if not (length.isascii() and length.isdigit()):
            return HTTPStatus.BAD_REQUEST
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE if int(length) > _LARGEST_BODY else None

    def _send_http_response_with_body(self, code: int, headers: dict[str, Any], body: str | bytes) -> None:
        if self.command != "HEAD":
            packed = compressed(
                body if isinstance(body, bytes) else body.encode(), self.headers["Accept-Encoding"] or ""
            )
            if packed is not None:
                body = packed
                headers["Content-Encoding"] = "gzip"
            super()._send_http_response_with_body(code, headers, body)
            return
        self.send_response(code)
        self.send_header("Content-Length", str(len(body if isinstance(body, bytes) else body.encode())))
        self._send_headers(headers)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nothing: the API writes its own line for each request."""


class Server(ThreadedHTTPServer):  # type: ignore[misc]
    """Listens on a socket that was bound elsewhere, with room for a burst of clients."""

    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], handler: Any, *, bound: socket.socket, after_answer: Callable[[], None]
    ) -> None:
        super().__init__(address, handler, bind_and_activate=False)
        self.socket.close()
        self.socket: socket.socket = bound
        self.server_name, self.server_port = bound.getsockname()
        self.server_address = bound.getsockname()
        self.server_activate()
        self.after_answer = after_answer
        self._idle = threading.Condition()
        self._in_hand = 0

    @contextmanager
    def request_in_hand(self) -> Iterator[None]:
        """Counts a request as being worked on."""
        with self._idle:
            self._in_hand += 1
        try:
            yield
        finally:
            with self._idle:
                self._in_hand -= 1
                self._idle.notify_all()

    def finish(self, seconds: float) -> None:
        """Stop taking requests and wait until those in hand are answered, at most so long."""
        self.shutdown()
        with self._idle:
            self._idle.wait_for(lambda: self._in_hand == 0, seconds)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's signature
        """A client that went away is no error of the server's."""
        error = sys.exception()
        if isinstance(error, ConnectionError | TimeoutError):
            log.debug("%s went away: %s", client_address, error)
            return
        log.exception("request of %s failed", client_address)


def _no_deeper_than_routes(target: str) -> str:
    """A request's target whose segments beyond the deepest route are one: Chalice answers none in its own way."""
    path, mark, query = target.partition("?")
    segments = path.split("/")
    beyond = segments[unmatched.LOCAL_DEPTH :]
    if not beyond:
        return target
    return "/".join([*segments[: unmatched.LOCAL_DEPTH], "%2F".join(beyond)]) + mark + query


def _nothing() -> None:
    pass


def chalice_server(app: Chalice, bound: socket.socket, after_answer: Callable[[], None] = _nothing) -> Server:
    """Chalice's local server of an app on a bound socket; it listens at once and serves with ``serve_forever``.

    ``after_answer`` is called on a request's thread when its answer was sent.
    """
    host, port = bound.getsockname()
    unmatched.add_local_depths(app)
    if not isinstance(app, LocalChalice):
        # Gives the app a request of its own for each thread; the server made on the way is not used.
        create_local_server(app, Config.create(), host, 0).server.server_close()
    server_class = functools.partial(Server, bound=bound, after_answer=after_answer)
    local = LocalDevServer(app, Config.create(), host, port, handler_cls=Handler, server_cls=server_class)
    server: Server = local.server
    return server
