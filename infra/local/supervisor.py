"""Starts the processes of the one-machine stack, restarts those that end, and stops all of them in order.

PostgreSQL and the moto server start at the same time; the API, the reverse proxy in front of it and the workers follow
when both are ready. The sockets of the servers are bound here and inherited, so a restarted process still finds its
port held for it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from chalicelib.storage.database import connect
from chalicelib.storage.webhook_store import PostgresWebhooks
from infra.local import postgres
from infra.local.children import Child, described, stop_all
from infra.local.environment import base_environment, program_settings, worker_limits, worker_module, worker_options
from infra.local.output import Output
from infra.local.processes import ACCOUNTS_PATH, LOOPBACK, bound_socket, url_of, write_json

log = logging.getLogger("studysmart.local")

_START_SECONDS = 120.0
_STOP_SECONDS = 2.0
_POLL_SECONDS = 0.1
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
# Short, because on one machine only this stack ends a worker: the message of a dead worker is soon received again.
_VISIBILITY_SECONDS = 20
_AWS_STATE = "aws/state.sqlite3"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StackError(Exception):
    """The stack cannot start; the text is for the operator."""


class _StoppedEarlyError(Exception):
    """A signal arrived while the stack was starting."""


class Supervisor:
    """One stack on one state directory. Without a port it runs the services only, and no API.

    The API is served on ``host``, and everything else on the loopback address.
    """

    def __init__(self, state: Path, port: int | None, host: str = LOOPBACK) -> None:
        self.state = state
        self.port = port
        self.host = host
        self.stopped = threading.Event()
        self.children: list[Child] = []
        self.database: postgres.Postgres | None = None
        self._began = time.monotonic()

    def run(self) -> int:
        """Run until a signal arrives and return the exit status.

        Raises ConfigurationError, StackError and PostgresError.
        """
        self._worker_options = worker_options(os.environ)
        self.state.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            held.enter_context(_locked(self.state / "lock"))
            public_socket = None if self.port is None else held.enter_context(_bound(self.port, self.host))
            api_socket = held.enter_context(bound_socket(0))
            aws_socket = held.enter_context(bound_socket(0))
            self.output = Output(self.state / "logs" / "backend.log", as_json=os.environ.get("LOG_FORMAT") == "json")
            logging.getLogger("studysmart").addHandler(self.output)
            logging.getLogger("studysmart").setLevel(logging.INFO)
            for number in _SIGNALS:
                signal.signal(number, lambda *_: self.stopped.set())
            try:
                self._start(public_socket, api_socket, aws_socket)
                self._watch()
            except _StoppedEarlyError:
                pass
            finally:
                self._stop()
        return 0

    def _start(self, public_socket: socket.socket | None, api_socket: socket.socket, aws_socket: socket.socket) -> None:
        self.output.line(f"Starting StudySmart in {self.state} ...")
        (self.state / "stack.json").unlink(missing_ok=True)
        (self.state / "run").mkdir(exist_ok=True)
        base = base_environment(os.environ)
        aws = self._child("moto server", "infra.local.aws", base, aws_socket)
        aws.command += ["--state", str(self.state / _AWS_STATE)]
        aws.command += ["--outbox", str(self.state / "outbox.jsonl")]
        aws.command += ["--parameter", f"TrainingVisibilitySeconds={_VISIBILITY_SECONDS}"]
        aws.start()
        database_url = self._start_postgres()
        self._report("PostgreSQL is ready, the tables are up to date")
        self._wait_for(aws)
        self._report("accounts, registry and queue are ready (moto)")

        settings = program_settings(os.environ, database_url, json.loads(aws.ready.read_text()), self.state)
        _use_bus(settings)
        environment = {**base, **settings}
        if public_socket is None:
            # On a whole stack these are threads of the API's process.
            program = self._child("schedules", "infra.local.schedules", environment)
        else:
            program = self._child("API", "infra.local.api", environment, api_socket)
            proxy = self._child("reverse proxy", "infra.local.proxy", environment, public_socket)
            proxy.command += ["--api", str(api_socket.getsockname()[1])]
            proxy.start()
        program.start()
        limited = {**environment, **worker_limits(os.environ)}
        for number, options in enumerate(self._worker_options, 1):
            worker = self._child(f"training worker {number}", worker_module(os.environ), limited, nice=10)
            worker.command += options
            worker.start()
        workers = f"training workers: {len(self._worker_options)}"
        if public_socket is None:
            self._report(f"the schedules are started, {workers}")
            url = None
        else:
            self._wait_for(program)
            self._wait_for(proxy)
            self._report(f"the API answers, {workers}")
            url = url_of(public_socket)
            if not self.host.startswith("127."):
                self._report(f"other machines reach the API on {self.host}, without encryption")
        accounts = {"file": str(self.state / _AWS_STATE), "url": f"{settings['AWS_ENDPOINT_URL']}{ACCOUNTS_PATH}"}
        note = {"url": url, "pid": os.getpid(), "environment": settings, "accounts": accounts}
        write_json(self.state / "stack.json", note)
        for line in _banner(url, self.state):
            self.output.line(line)

    def _child(
        self, name: str, module: str, environment: dict[str, str], bound: socket.socket | None = None, nice: int = 0
    ) -> Child:
        """Add a process without starting it.

        A process with a socket serves there, and writes the file ``ready`` when it does.
        """
        ready = self.state / "run" / f"{module}.json"
        ready.unlink(missing_ok=True)
        child = Child(name, [sys.executable, "-m", module], environment, self.output, ready, nice)
        if bound is not None:
            child.command += ["--socket", str(bound.fileno()), "--ready-file", str(ready)]
            child.inherited = [bound.fileno()]
        self.children.append(child)
        return child

    def _start_postgres(self) -> str:
        """Start PostgreSQL, bring its tables up to date, and return the URL of its database. Raises PostgresError."""
        from migrations import upgrade

        self.database = postgres.prepare(self.state / "postgres")
        self._run_postgres(self.database)
        postgres.create_database(self.database)
        upgrade(self.database.url())
        return self.database.url()

    def _run_postgres(self, database: postgres.Postgres) -> None:
        self.output.follow(postgres.start(database, output=subprocess.PIPE))
        postgres.wait_until_ready(database)

    def _wait_for(self, child: Child) -> None:
        """Wait until the child has written its file. Raises StackError when it ends or takes too long."""
        deadline = time.monotonic() + _START_SECONDS
        while not child.ready.exists():
            if self.stopped.wait(0.02):
                raise _StoppedEarlyError
            status = child.exit_status()
            if status is not None:
                raise StackError(f"the {child.name} ended while it started ({described(status)}); see the lines above")
            if time.monotonic() > deadline:
                raise StackError(f"the {child.name} was not ready after {_START_SECONDS:.0f} seconds")

    def _watch(self) -> None:
        """Restart what ends until a signal arrives."""
        pause = _FIRST_PAUSE
        while not self.stopped.wait(_POLL_SECONDS):
            for child in self.children:
                child.restart_if_ended()
            assert self.database is not None  # noqa: S101 - narrows a type
            assert self.database.process is not None  # noqa: S101 - narrows a type
            status = self.database.process.poll()
            if status is not None:
                log.error("PostgreSQL ended (%s), starting it again", described(status))
                try:
                    self._run_postgres(self.database)
                    pause = _FIRST_PAUSE
                except postgres.PostgresError as error:
                    log.error("%s; trying again in %.0f s", error, pause)
                    self.stopped.wait(pause)
                    # On a full disk it cannot start for hours, and each attempt writes lines.
                    pause = min(2 * pause, _LONGEST_PAUSE)

    def _stop(self) -> None:
        self.output.line("Stopping ...")
        (self.state / "stack.json").unlink(missing_ok=True)
        # The users of a service end before the service: moto was started first.
        stop_all(self.children[1:], _STOP_SECONDS)
        stop_all(self.children[:1], _STOP_SECONDS)
        if self.database is not None:
            postgres.stop(self.database)
        self.output.line("StudySmart is stopped.")

    def _report(self, text: str) -> None:
        self.output.line(f"  {time.monotonic() - self._began:5.1f} s  {text}")


def _bound(port: int, host: str) -> socket.socket:
    try:
        return bound_socket(port, host)
    except OSError as error:
        raise StackError(f"port {port} on {host} cannot be used: {error.strerror or error}") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file during the block; the kernel releases it when the process ends, however it ends."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise StackError(f"a stack is already running in {path.parent} (process {owner})") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _use_bus(settings: Mapping[str, str]) -> None:
    """Do what ``studysmart migrate`` does after the migrations."""
    engine = connect(settings["DATABASE_URL"])
    PostgresWebhooks(engine, settings.get("COHORT", "default")).use_bus(settings.get("EVENT_BUS_NAME", "").strip())
    engine.dispose()


def _banner(url: str | None, state: Path) -> list[str]:
    if url is None:
        of_state = "" if state == Path(".local").resolve() else f"--state-dir '{state}' "
        lines = [
            "  The services are ready. To run the API, enter in another terminal:",
            "",
            "    source .venv/bin/activate",
            f'    eval "$(studysmart {of_state}env)"',
            "    chalice local --port 8000",
            "",
        ]
    else:
        lines = [f"  API        {url}/", f"  Pages      {url}/dashboard", f"  Reference  {url}/docs"]
    return ["", *lines, f"  Log        {state / 'logs' / 'backend.log'}", "  Stop       Ctrl-C", ""]
