"""Starts the one-machine stack, looks after its processes, and stops it.

PostgreSQL and the moto server start side by side; API and worker follow when both are ready. The sockets of moto and
of the API are bound here and inherited, so a process that is started again finds its port still held for it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from infra.local import postgres
from infra.local.children import Child, described, stop_all
from infra.local.environment import base_environment, program_settings, worker_limits, worker_module
from infra.local.output import Output
from infra.local.processes import bound_socket, read_json, write_json

log = logging.getLogger("studysmart.local")

ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 120.0
_STOP_SECONDS = 2.0
_LOOK_SECONDS = 0.1
# Short, because on one machine nobody but this stack ends a worker: what a dead one held is free again soon.
_VISIBILITY_SECONDS = 20
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StackError(Exception):
    """The stack cannot start; the text is for the operator."""


class _StoppedEarlyError(Exception):
    """A signal came while the stack was starting."""


@dataclass(slots=True)
class Supervisor:
    """One stack on one state directory."""

    port: int
    state: Path
    stopped: threading.Event = field(default_factory=threading.Event)
    children: list[Child] = field(default_factory=list)
    database: postgres.Postgres | None = None

    def run(self) -> int:
        """Run until a signal; returns the exit status."""
        self.state.mkdir(parents=True, exist_ok=True)
        with _locked(self.state / "lock"), self._bound() as api_socket, bound_socket(0) as aws_socket:
            output = Output(self.state / "logs" / "backend.log", as_json=os.environ.get("LOG_FORMAT") == "json")
            logging.getLogger("studysmart").addHandler(output)
            logging.getLogger("studysmart").setLevel(logging.INFO)
            for number in _SIGNALS:
                signal.signal(number, lambda *_: self.stopped.set())
            try:
                self._start(output, api_socket, aws_socket)
                self._look_after(output)
            except _StoppedEarlyError:
                pass
            finally:
                self._stop(output)
        return 0

    def _bound(self) -> socket.socket:
        try:
            return bound_socket(self.port)
        except OSError as error:
            raise StackError(f"port {self.port} on 127.0.0.1 cannot be used: {error.strerror}") from error

    def _start(self, output: Output, api_socket: socket.socket, aws_socket: socket.socket) -> None:
        began = time.monotonic()
        output.line(f"Starting StudySmart in {self.state} ...")
        (self.state / "stack.json").unlink(missing_ok=True)
        run = self.state / "run"
        run.mkdir(exist_ok=True)
        base = base_environment(os.environ)

        aws_ready = run / "aws.json"
        aws = self._child(output, "moto server", base, "infra.local.aws", aws_socket, ready=aws_ready)
        aws.command = [
            *aws.command,
            *("--state", str(self.state / "aws" / "state.sqlite3")),
            *("--parameter", f"TrainingVisibilitySeconds={_VISIBILITY_SECONDS}"),
        ]
        aws.start()
        database = self._start_postgres(output)
        _report(output, began, "PostgreSQL is ready, the tables are up to date")
        self._wait_for(aws, aws_ready)
        _report(output, began, "accounts, registry and queue are ready (moto)")

        settings = program_settings(os.environ, database.url(), read_json(aws_ready))
        environment = {**base, **settings}
        api_ready = run / "api.json"
        api = self._child(output, "API", environment, "infra.local.api", api_socket, ready=api_ready)
        api.start()
        worker = Child(
            "training worker",
            [sys.executable, "-m", worker_module(os.environ)],
            {**environment, **worker_limits(os.environ)},
            output,
            ROOT,
            nice=10,
        )
        self.children.append(worker)
        worker.start()
        self._wait_for(api, api_ready)
        _report(output, began, "the API answers, the training worker is started")

        url = read_json(api_ready)["url"]
        write_json(self.state / "stack.json", {"url": url, "pid": os.getpid(), "environment": settings})
        for line in _banner(url, self.state):
            output.line(line)

    def _child(
        self, output: Output, name: str, environment: dict[str, str], module: str, bound: socket.socket, ready: Path
    ) -> Child:
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", module, "--socket", str(bound.fileno()), "--ready-file", str(ready)]
        child = Child(name, command, environment, output, ROOT, inherited=[bound.fileno()])
        self.children.append(child)
        return child

    def _start_postgres(self, output: Output) -> postgres.Postgres:
        from migrations import upgrade

        try:
            self.database = postgres.prepare(self.state / "postgres")
            self._run_postgres(self.database, output)
            postgres.create_database(self.database)
        except postgres.PostgresError as error:
            raise StackError(str(error)) from error
        upgrade(self.database.url())
        return self.database

    def _run_postgres(self, database: postgres.Postgres, output: Output) -> None:
        postgres.start(database, output=subprocess.PIPE)
        assert database.process is not None
        output.follow(database.process)
        postgres.wait_until_ready(database)

    def _wait_for(self, child: Child, ready: Path) -> None:
        """Return when the child has written its file; a signal or the child's end ends the waiting."""
        deadline = time.monotonic() + _START_SECONDS
        while not ready.exists():
            if self.stopped.wait(0.02):
                raise _StoppedEarlyError
            status = child.exit_status()
            if status is not None:
                raise StackError(f"the {child.name} ended while it started ({described(status)}); see the lines above")
            if time.monotonic() > deadline:
                raise StackError(f"the {child.name} was not ready after {_START_SECONDS:.0f} seconds")

    def _look_after(self, output: Output) -> None:
        while not self.stopped.wait(_LOOK_SECONDS):
            for child in self.children:
                child.look_after()
            if self.database is not None and self.database.process is not None:
                status = self.database.process.poll()
                if status is not None:
                    log.error("PostgreSQL ended (%s), starting it again", described(status))
                    self._restart_postgres(self.database, output)

    def _restart_postgres(self, database: postgres.Postgres, output: Output) -> None:
        try:
            self._run_postgres(database, output)
        except postgres.PostgresError as error:
            log.error("%s; trying again", error)
            self.stopped.wait(1.0)

    def _stop(self, output: Output) -> None:
        output.line("Stopping ...")
        (self.state / "stack.json").unlink(missing_ok=True)
        # Who uses a service ends before it.
        users = [child for child in self.children if child.name != "moto server"]
        stop_all(users, _STOP_SECONDS)
        stop_all([child for child in self.children if child not in users], _STOP_SECONDS)
        if self.database is not None:
            postgres.stop(self.database)
        output.line("StudySmart is stopped.")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file for the time of the block; the kernel lets go of it with the process, however that ends."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise StackError(f"a stack runs on {path.parent} already (process {owner})") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _report(output: Output, began: float, what: str) -> None:
    output.line(f"  {time.monotonic() - began:5.1f} s  {what}")


def _banner(url: str, state: Path) -> list[str]:
    return [
        "",
        f"  API        {url}/",
        f"  Pages      {url}/dashboard",
        f"  Reference  {url}/docs",
        f"  Log        {state / 'logs' / 'backend.log'}",
        "  Stop       Ctrl-C",
        "",
    ]
