"""Load that does not wait for answers: requests leave at their times, however slow the server is.

It is a process of its own with one thread on plain sockets, because it shares the cores with what it measures. A
request takes 20 to 30 microseconds of it. Latency counts from the moment at which a request was due.

``python -m benchmarks._open_loop`` reads one order as JSON from its input and prints a line and one report.
"""

from __future__ import annotations

import errno
import json
import selectors
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks._percentiles import percentile, rounded

_ROOT = Path(__file__).resolve().parents[1]
_MAXIMUM = 1_500
"""Connections. A request that is due while all of them wait counts as ``unsent``."""
_LINGER_SECONDS = 8.0


class _Connection:
    __slots__ = ("due", "received", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.due = 0.0
        self.received = b""


class Generator:
    """Sends requests to one server at a rate, or with a rate of 0 from a number of connections without pause."""

    def __init__(self, url: str, requests: Sequence[bytes]) -> None:
        parts = urlsplit(url)
        self._address = (str(parts.hostname), int(parts.port or 80))
        self._requests = requests
        self._selector = selectors.DefaultSelector()
        self._idle: list[_Connection] = []
        self._n_connections = 0
        self._n_sent = 0
        self._answers: list[tuple[float, float, int]] = []
        self._counts: Counter[str] = Counter()

    def run(self, rate: float, seconds: float, connections: int) -> dict[str, Any]:
        """Send for so long, wait for the last answers, and return the report."""
        began = time.monotonic()
        if rate == 0:
            for _ in range(connections):
                self._send(began)
        end, sent = began + seconds, 0
        while (now := time.monotonic()) < end:
            due = int((now - began) * rate) + 1 if rate else 0
            while sent < due:
                self._send(began + sent / rate)
                sent += 1
            self._receive(min(1 / rate, 0.01) if rate else 0.05, again=rate == 0)
        while self._n_connections > len(self._idle) and time.monotonic() < end + _LINGER_SECONDS:
            self._receive(0.05, again=False)
        self._counts["silent"] = self._n_connections - len(self._idle)
        return self._report(began, seconds)

    def _send(self, due: float) -> None:
        connection = self._idle.pop() if self._idle else self._connect()
        if connection is None:
            self._counts["unsent"] += 1
            return
        connection.due = due
        payload = self._requests[self._n_sent % len(self._requests)]
        self._n_sent += 1
        try:
            connection.sock.send(payload)
        except OSError as error:
            self._counts[f"send {errno.errorcode.get(error.errno or 0, error)}"] += 1
            self._drop(connection)

    def _connect(self) -> _Connection | None:
        if self._n_connections >= _MAXIMUM:
            return None
        try:
            # On the same machine this ends at once: the kernel accepts for the server.
            sock = socket.create_connection(self._address, timeout=2)
        except OSError as error:
            self._counts[f"connect {errno.errorcode.get(error.errno or 0, error)}"] += 1
            return None
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(sock)
        self._selector.register(sock, selectors.EVENT_READ, connection)
        self._n_connections += 1
        return connection

    def _drop(self, connection: _Connection) -> None:
        self._selector.unregister(connection.sock)
        connection.sock.close()
        self._n_connections -= 1

    def _receive(self, timeout: float, *, again: bool) -> None:
        for key, _ in self._selector.select(timeout):
            connection: _Connection = key.data
            try:
                data = connection.sock.recv(65_536)
            except OSError as error:
                data = b""
                self._counts[f"receive {errno.errorcode.get(error.errno or 0, error)}"] += 1
            if not data:
                if connection in self._idle:
                    self._idle.remove(connection)
                else:
                    self._counts["closed"] += 1
                self._drop(connection)
                continue
            connection.received += data
            if (answer := _complete(connection.received)) is None:
                continue
            now = time.monotonic()
            self._answers.append((connection.due, now, int(answer[9:12])))
            connection.received = b""
            self._idle.append(connection)
            if again:
                self._send(now)

    def _report(self, began: float, seconds: float) -> dict[str, Any]:
        accepted = [(due, now) for due, now, status in self._answers if status < 300]
        refused = [(due, now) for due, now, status in self._answers if status in (429, 503)]
        other = Counter(str(status) for _, _, status in self._answers if status >= 300 and status not in (429, 503))
        in_time = [1 for _, now in accepted if now <= began + seconds]
        return {
            "sent": self._n_sent,
            "goodput": len(in_time) / seconds,
            "accepted": len(accepted),
            "refused": len(refused),
            "errors": {**other, **{name: n for name, n in self._counts.items() if n}},
            **_percentiles("accepted", accepted),
            **_percentiles("refused", refused),
        }


def _percentiles(name: str, times: list[tuple[float, float]]) -> dict[str, float]:
    milliseconds = [(now - due) * 1_000 for due, now in times]
    return {f"{name}_p{round(share * 100)}_ms": rounded(percentile(milliseconds, share)) for share in (0.5, 0.99)}


def _complete(received: bytes) -> bytes | None:
    """The answer if all of it has arrived."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return None
    _, _, after = head.lower().partition(b"content-length:")
    return received if len(body) >= int(after.split(b"\r\n", 1)[0]) else None


def start(url: str, requests: Sequence[bytes], rate: float, seconds: float, connections: int = 32) -> Load:
    """Start a generator as a process."""
    return Load(
        {
            "url": url,
            "requests": [request.decode("latin-1") for request in requests],
            "rate": rate,
            "seconds": seconds,
            "connections": connections,
        }
    )


class Load:
    """A generator that runs."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks._open_loop"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.close()
        assert self._process.stdout is not None
        self._process.stdout.readline()
        self._began = time.monotonic()

    def ended_sending(self, seconds: float) -> None:
        """Wait until so long after the first request."""
        time.sleep(max(0.0, self._began + seconds - time.monotonic()))

    def report(self) -> dict[str, Any]:
        """Wait for the end and return what happened."""
        assert self._process.stdout is not None
        report: dict[str, Any] = json.loads(self._process.stdout.read())
        self._process.wait()
        return report


def main() -> int:
    """Be one generator."""
    order = json.loads(sys.stdin.readline())
    generator = Generator(order["url"], [request.encode("latin-1") for request in order["requests"]])
    print("begins", flush=True)
    print(json.dumps(generator.run(order["rate"], order["seconds"], order["connections"])), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
