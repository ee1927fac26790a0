"""A proxy in front of moto that knows each request: ``PUT /bucket/key``, ``POST / AmazonSQS.SendMessage``."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.faults.rules import CutError, Proxy

_HOP_BY_HOP = ("connection", "transfer-encoding", "content-length", "keep-alive", "expect")


class HttpProxy(Proxy):
    """Listens on a free port of 127.0.0.1 and sends every request on to ``upstream`` (``http://host:port``)."""

    def __init__(self, upstream: str) -> None:
        super().__init__()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self.upstream = upstream.removeprefix("http://")
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        super().close()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: HttpProxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients of these tests are killed in the middle of a request."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def handle_expect_100(self) -> bool:
        proceed = super().handle_expect_100()
        self.wfile.flush()
        return proceed

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        assert "Transfer-Encoding" not in self.headers, "a chunked request: the proxy does not know its end"
        name = f"{self.command} {self.path} {self.headers.get('X-Amz-Target', '')}".strip()
        rule = self.server.proxy.rules.met_by(name)
        try:
            if rule is not None and not rule.after:
                rule.happens()
            answer = self._ask(body if rule is None else rule.spoil(body))
            if rule is not None and rule.after:
                rule.happens()
        except CutError:
            self._reset()
            return
        self._give(*answer)

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        upstream = http.client.HTTPConnection(self.server.proxy.upstream, timeout=120)
        try:
            has_body = body or self.command in ("PUT", "POST")
            upstream.request(self.command, self.path, body if has_body else None, headers)
            response = upstream.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            upstream.close()

    def _give(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        length = len(body)
        for name, value in headers:
            if self.command == "HEAD" and name.lower() == "content-length":
                length = int(value)
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _forward  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""
