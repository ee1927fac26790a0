"""A process of the stack: start it, restart it when it ends, stop it."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.local.output import Output
from infra.local.processes import ROOT, child_command

log = logging.getLogger("studysmart.local")

_FIRST_PAUSE = 0.5
_MAXIMUM_PAUSE = 30.0
_HEALTHY_SECONDS = 10.0
"""A process that lived this long did not fail at its start: the next pause is the first one again."""


@dataclass(slots=True)
class Child:
    """One process. Times are monotonic, in seconds; ``ready`` is the file that a server writes when it is ready."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    output: Output
    ready: Path
    nice: int = 0
    inherited: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    started_at: float = 0.0
    restart_at: float | None = None

    def start(self) -> None:
        """Start the process.

        Call it on the main thread: the kernel ends the process together with the thread that started it.
        """
        self.started_at = time.monotonic()
        self.restart_at = None
        # A session of its own: Ctrl-C of the terminal reaches only the supervisor, which stops everything in order.
        self.process = subprocess.Popen(
            child_command(self.command, nice=self.nice),
            cwd=ROOT,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=tuple(self.inherited),
            start_new_session=True,
        )
        self.output.follow(self.process)

    def exit_status(self) -> int | None:
        """Return the exit status of a process that has ended, None while it runs."""
        return self.process.poll() if self.process is not None else None

    def restart_if_ended(self) -> None:
        """Restart the process when it has ended, after a pause that doubles with each quick death."""
        now = time.monotonic()
        if self.restart_at is not None:
            if now >= self.restart_at:
                self.start()
            return
        status = self.exit_status()
        if status is None:
            return
        self.deaths = 1 if now - self.started_at > _HEALTHY_SECONDS else self.deaths + 1
        pause = min(_FIRST_PAUSE * 2 ** (self.deaths - 1), _MAXIMUM_PAUSE)
        self.restart_at = now + pause
        log.error("the %s ended (%s), starting it again in %.1f s", self.name, described(status), pause)


def described(status: int) -> str:
    """Return an exit status in words."""
    return f"exit status {status}" if status >= 0 else f"signal {-status}"


def stop_all(children: Sequence[Child], patience_seconds: float) -> None:
    """Ask all processes to end at once, and kill those that take longer than ``patience_seconds``."""
    running = [child.process for child in children if child.process is not None and child.process.poll() is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + patience_seconds
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
