"""Chalice's local server with quick answers, persistent connections, compression, and JSON for every error."""

from __future__ import annotations

import functools
import gzip
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
from chalice.local import ChaliceRequestHandler, LocalChalice, ThreadedHTTPServer, create_local_server
from werkzeug.http import parse_accept_header

from chalicelib.api import unmatched
from chalicelib.domain.service_accounts import LEARNER_HEADER
from infra.local.connections import KeptConnection
from infra.local.processes import ROOT

log = logging.getLogger("studysmart.http")

MINIMUM_COMPRESSED: int = json.loads((ROOT / ".chalice" / "config.json").read_text("utf-8"))["minimum_compression_size"]
"""API Gateway, and so this server, sends smaller bodies uncompressed."""

_GZIP_LEVEL = 5
"""Two per cent larger than the best level, in half of the time."""

# The limit of API Gateway. The API's own limit is lower.
_MAXIMUM_BODY = 10 * 1024 * 1024


class Handler(KeptConnection, ChaliceRequestHandler):  # type: ignore[misc]
    """One connection."""

    path: str
    server: Any
    timeout = 75  # seconds until an idle connection is closed
    error_content_type = "application/json"
    error_message_format = '{"detail": "%(message)s"}'

    def answer(self) -> None:
        """Pass the request to Chalice, unless the length of its body is unknown or too large."""
        fault = self._fault()
        # Chalice would use the first of several headers, and API Gateway the last. Joined, they are no token and no id.
        for name in ("Authorization", LEARNER_HEADER):
            if len(sent := self.headers.get_all(name, ())) > 1:
                del self.headers[name]
                self.headers[name] = ", ".join(sent)
        # The base class reads the address as Latin-1. Bytes that the client did not encode are encoded unchanged.
        self.path = _no_deeper_than_routes(quote(self.path, safe=string.punctuation, encoding="latin-1"))
        if fault is None:
            try:
                with self.server.request_in_progress():
                    self._generic_handle()
                    self.wfile.flush()
            finally:
                self.server.after_answer()
            return
        # The end of the body is unknown, so the next request on this connection cannot be found.
        self.close_connection = True
        body = json.dumps({"detail": fault.phrase})
        self._send_http_response(fault.value, {"Connection": "close"}, body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer  # noqa: N815

    def __getattr__(self, name: str) -> Any:
        """Answer a method that the base class would refuse with 501."""
        if not name.startswith("do_"):
            raise AttributeError(name)
        self.command = unmatched.OTHER_METHOD
        return self.answer

    def _fault(self) -> HTTPStatus | None:
        if self.headers.get("Transfer-Encoding"):
            return HTTPStatus.LENGTH_REQUIRED
        length = self.headers.get("Content-Length", "0").strip()
        if not (length.isascii() and length.isdigit()):
            return HTTPStatus.BAD_REQUEST
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE if int(length) > _MAXIMUM_BODY else None

    def _send_http_response_with_body(self, code: int, headers: dict[str, Any], body: str | bytes) -> None:
        content = body if isinstance(body, bytes) else body.encode()
        if self.command != "HEAD":
            accepted = parse_accept_header(self.headers["Accept-Encoding"])
            if len(content) >= MINIMUM_COMPRESSED and accepted["gzip"]:
                content = gzip.compress(content, _GZIP_LEVEL, mtime=0)
                headers["Content-Encoding"] = "gzip"
            super()._send_http_response_with_body(code, headers, content)
            return
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self._send_headers(headers)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Write nothing: the API writes a line of its own for each request."""


class Server(ThreadedHTTPServer):  # type: ignore[misc]
    """A server on a socket that was bound elsewhere, with room for a burst of clients."""

    request_queue_size = 128

    def __init__(self, app: Chalice, bound: socket.socket, after_answer: Callable[[], None]) -> None:
        handler = functools.partial(Handler, app_object=app, config=Config.create())  # type: ignore[call-arg]
        super().__init__(bound.getsockname(), handler, bind_and_activate=False)
        self.socket.close()
        self.socket: socket.socket = bound
        self.server_name, self.server_port = bound.getsockname()
        self.server_address = bound.getsockname()
        self.server_activate()
        self.after_answer = after_answer
        self._idle = threading.Condition()
        self._in_progress = 0

    @contextmanager
    def request_in_progress(self) -> Iterator[None]:
        """Count a request as in progress during the block."""
        with self._idle:
            self._in_progress += 1
        try:
            yield
        finally:
            with self._idle:
                self._in_progress -= 1
                self._idle.notify_all()

    def finish(self, seconds: float) -> None:
        """Stop taking requests, and wait up to ``seconds`` until those in progress are answered."""
        self.shutdown()
        with self._idle:
            self._idle.wait_for(lambda: self._in_progress == 0, seconds)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's signature
        """Log the error of a request. A lost client is not an error of the server."""
        error = sys.exception()
        if isinstance(error, ConnectionError | TimeoutError):
            log.debug("%s went away: %s", client_address, error)
            return
        log.exception("request of %s failed", client_address)


def _no_deeper_than_routes(target: str) -> str:
    """Join the segments of a target beyond the deepest route.

    Chalice answers deeper paths itself, in another form than the API.
    """
    path, mark, query = target.partition("?")
    segments = path.split("/")
    beyond = segments[unmatched.LOCAL_DEPTH :]
    if not beyond:
        return target
    return "/".join([*segments[: unmatched.LOCAL_DEPTH], "%2F".join(beyond)]) + mark + query


def chalice_server(app: Chalice, bound: socket.socket, after_answer: Callable[[], None]) -> Server:
    """Return Chalice's local server of an app on a bound socket. It listens at once; call ``serve_forever``.

    ``after_answer`` is called on the thread of a request when its answer was sent.
    """
    unmatched.add_local_depths(app)
    if not isinstance(app, LocalChalice):
        # This gives the app a current request for each thread. The server that it creates is not used.
        create_local_server(app, Config.create(), "127.0.0.1", 0).server.server_close()
    return Server(app, bound, after_answer)
