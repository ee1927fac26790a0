"""The processes of the stack: started, started again when they die, and stopped."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infra.local.output import Output
from infra.local.processes import child_command

log = logging.getLogger("studysmart.local")

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
# A process that lived this long was well, and does not die of its own start: then the first pause will do again.
_WELL_AFTER = 10.0


@dataclass(slots=True)
class Child:
    """One process. All times are of the monotonic clock, in seconds."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    output: Output
    working_directory: Path
    nice: int = 0
    inherited: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    started_at: float = 0.0
    start_again_at: float | None = field(default=None)

    def start(self) -> None:
        """Start the process; must be called on the main thread, to whose life the kernel binds it."""
        self.started_at = time.monotonic()
        self.start_again_at = None
        # Its own session: a Ctrl-C of the terminal reaches only the supervisor, which stops everything in order.
        self.process = subprocess.Popen(
            child_command(self.command, nice=self.nice),
            cwd=self.working_directory,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=tuple(self.inherited),
            start_new_session=True,
        )
        self.output.follow(self.process)

    def exit_status(self) -> int | None:
        """The exit status of a process that ended, None while it runs."""
        return self.process.poll() if self.process is not None else None

    def look_after(self) -> None:
        """Start the process again when it has died, after a pause that doubles with each death."""
        now = time.monotonic()
        if self.start_again_at is not None:
            if now >= self.start_again_at:
                self.start()
            return
        status = self.exit_status()
        if status is None:
            return
        self.deaths = 1 if now - self.started_at > _WELL_AFTER else self.deaths + 1
        pause = min(_FIRST_PAUSE * 2 ** (self.deaths - 1), _LONGEST_PAUSE)
        self.start_again_at = now + pause
        log.error("the %s ended (%s), starting it again in %.1f s", self.name, described(status), pause)


def described(status: int) -> str:
    """An exit status in words."""
    return f"exit status {status}" if status >= 0 else f"signal {-status}"


def stop_all(children: Sequence[Child], patience_seconds: float) -> None:
    """Ask the processes to end, all at once, and end by force those that do not within the time."""
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
