"""The test's side of the nursery: processes that can be killed, paused and waited for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from infra.local.environment import base_environment, worker_limits
from infra.local.processes import child_command
from tests.support.waiting import wait_for


@dataclass(frozen=True)
class Process:
    """A process of the nursery."""

    pid: int
    output: Path

    @property
    def alive(self) -> bool:
        return psutil.pid_exists(self.pid)

    def kill(self) -> None:
        """End it as a power cut would, and return when it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        wait_for(lambda: not self.alive, what=f"the end of process {self.pid}")

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def wait(self, seconds: float = 300.0) -> str:
        """Return what it said when it has ended."""
        wait_for(lambda: not self.alive, seconds, f"the end of process {self.pid}:\n{self.output.read_text()}")
        return self.output.read_text()


class Nursery:
    """Forks workers and Lambdas whose imports are done."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._n = 0
        self._log = (directory / "nursery").open("wb")
        self._process = subprocess.Popen(
            child_command([sys.executable, "-m", "tests.support.faults.nursery"]),
            env={**base_environment(os.environ), **worker_limits(os.environ)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._ready = False

    def fork(
        self,
        environment: Mapping[str, str],
        *,
        largest_file: int | None = None,
        skew_seconds: float = 0.0,
        **more: Any,
    ) -> Process:
        """Start a process with this environment. ``largest_file`` is in bytes: more fits on none of its disks."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            if not self._ready:
                said = self._process.stdout.readline()
                assert said == "ready\n", (self._directory / "nursery").read_text()
                self._ready = True
            self._n += 1
            output = self._directory / f"process-{self._n}"
            requested = {
                "environment": {**base_environment(os.environ), **worker_limits(os.environ), **environment},
                "output": str(output),
                "largest_file": largest_file,
                "skew_seconds": skew_seconds,
                **more,
            }
            output.touch()
            self._process.stdin.write(json.dumps(requested) + "\n")
            self._process.stdin.flush()
            return Process(int(self._process.stdout.readline()), output)

    def stop(self) -> None:
        """End, with every process that is left."""
        self._process.kill()
        self._process.wait()
        self._log.close()
