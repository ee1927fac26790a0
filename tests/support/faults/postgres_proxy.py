"""A proxy in front of PostgreSQL's socket that reads the wire protocol, so it knows which statement runs when.

A statement's name is its text with single spaces, followed by ``--`` and its parameters as they were sent.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.support.faults.rules import CutError, Proxy, Rule, Rules

_SOCKET_NAME = ".s.PGSQL.5432"


class PostgresProxy(Proxy):
    """Listens on a unix socket and sends everything on to the server on ``upstream``, another one."""

    def __init__(self, upstream: Path) -> None:
        super().__init__()
        self._upstream = upstream
        self._directory = Path(tempfile.mkdtemp(prefix="faults-"))
        self.socket_path = self._directory / _SOCKET_NAME
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket_path))
        self._listener.listen(64)
        self._sessions: list[_Session] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, database_url: str) -> str:
        """The same database, by way of this proxy."""
        return f"{database_url.partition('?')[0]}?unix_sock={quote(str(self.socket_path), safe='/')}"

    def cut_all(self) -> None:
        """Reset every connection now."""
        for session in self._sessions:
            session.cut()

    def close(self) -> None:
        super().close()
        self._listener.close()
        self.cut_all()
        shutil.rmtree(self._directory)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(self._upstream))
            except OSError:
                client.close()
                continue
            session = _Session(self.rules, client, server)
            self._sessions.append(session)
            session.start()


class _Session:
    """One connection, read by a thread in each direction."""

    def __init__(self, rules: Rules, client: socket.socket, server: socket.socket) -> None:
        self._rules, self._client, self._server = rules, client, server
        self._statements: dict[bytes, str] = {}
        self._awaited: Rule | None = None

    def start(self) -> None:
        for work in (self._requests, self._answers):
            threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def cut(self) -> None:
        for side in (self._client, self._server):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it is closed already

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (OSError, EOFError, CutError):
            pass
        finally:
            self.cut()

    def _requests(self) -> None:
        source = self._client.makefile("rb")
        length = _exactly(source, 4)
        self._server.sendall(length + _exactly(source, int.from_bytes(length) - 4))
        while True:
            kind, length = _exactly(source, 1), _exactly(source, 4)
            body = _exactly(source, int.from_bytes(length) - 4)
            self._look_at(kind, body)
            self._server.sendall(kind + length + body)

    def _look_at(self, kind: bytes, body: bytes) -> None:
        name = self._name(kind, body)
        rule = None if name is None else self._rules.met_by(name)
        if rule is not None and rule.after:
            self._awaited = rule
        elif rule is not None:
            rule.happens()

    def _name(self, kind: bytes, body: bytes) -> str | None:
        """The statement that this message runs, None for a message that runs none."""
        if kind == b"P":
            statement, text, _ = body.split(b"\0", 2)
            self._statements[statement] = " ".join(text.decode().split())
        if kind == b"B":
            _portal, statement, parameters = body.split(b"\0", 2)
            return f"{self._statements[statement]} -- {parameters.decode(errors='replace')}"
        if kind == b"Q":
            return " ".join(body.rstrip(b"\0").decode().split())
        return None

    def _answers(self) -> None:
        source = self._server.makefile("rb")
        while True:
            head = _exactly(source, 5)
            body = _exactly(source, int.from_bytes(head[1:]) - 4)
            if head[:1] == b"Z" and (rule := self._awaited) is not None:
                self._awaited = None
                rule.happens()
            self._client.sendall(head + body)


def _exactly(source: Any, n: int) -> bytes:
    read: bytes = source.read(n)
    if len(read) < n:
        raise EOFError
    return read
