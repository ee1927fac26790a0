"""A receiver of webhooks: a server that keeps what it gets, and can be slow, refuse, or be away."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from chalicelib.domain.errors import WebhookError
from chalicelib.domain.webhooks import Delivery, Outcome


def is_genuine(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Verify a message as the documentation tells receivers to, without the code that signs."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(key, signed, sha256).digest()).decode()
        given = [one.partition(",") for one in headers["webhook-signature"].split()]
    except (KeyError, binascii.Error):
        return False
    return any(version == "v1" and hmac.compare_digest(value, expected) for version, _, value in given)


class NoBus:
    """Implements :class:`chalicelib.ports.EventBus` where every receiver is a server."""

    def put(self, bus: str, deliveries: Sequence[Delivery]) -> list[Outcome]:
        raise WebhookError(f"there is no bus {bus} for {len(deliveries)} events")


class Receiver:
    """The messages that arrived, and the statuses to answer with; the last one stays."""

    def __init__(self) -> None:
        self.statuses = [204]
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.accepted: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.held: threading.Event | None = None
        """A slow receiver answers when this is set."""

    @property
    def types(self) -> list[str]:
        return [one["type"] for one in self.accepted]

    def take(self, headers: dict[str, str], body: bytes) -> int:
        self.seen.append((headers, body))
        if self.held is not None:
            self.held.wait(10)
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status < 300:
            self.ids.append(headers.get("webhook-id", ""))
            self.accepted.append(json.loads(body))
        return status


@contextmanager
def listening(receiver: Receiver, port: int = 0) -> Iterator[str]:
    """Let a receiver listen, and give its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.take({name.lower(): value for name, value in self.headers.items()}, body)
            try:
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "http://169.254.169.254/")
                self.end_headers()
            except ConnectionError:
                return  # it did not wait for the answer

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hooks"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
