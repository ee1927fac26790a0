"""The connection handling of both local HTTP servers."""

from __future__ import annotations

import socket
import threading
from http.server import ThreadingHTTPServer

from infra.local.connections import KeptConnection


class Echo(KeptConnection):
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:  # noqa: N802 - the base class's way of naming
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


def test_expect_100_continue_is_answered_at_once() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as client:
            client.sendall(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
            assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(b"body")
            answer = b""
            while not answer.endswith(b"body"):
                answer += client.recv(1000)
            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert b"100 Continue" not in answer
    finally:
        server.shutdown()
        server.server_close()
