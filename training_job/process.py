"""Runs trainings in a process of their own, so that the worker's memory does not grow with their number.

The worker keeps the lease, the heartbeat and the message. :mod:`training_job.child` does everything else of a training,
and asks the worker for what it keeps.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from chalicelib.config import Settings
from chalicelib.domain.errors import StudySmartError
from chalicelib.domain.training import TrainingRequest
from training_job.child import Job
from training_job.pipeline import Trained

Start = Callable[[], tuple[Connection, int]]
"""Starts a process that runs :func:`training_job.child.serve`, as the leader of a process group of its own.

Returns the worker's end of the connection to it, and its process id.
"""


class TrainingDiedError(StudySmartError):
    """The process of a training ended before the training did."""


class OutOfTimeError(StudySmartError):
    """A training takes longer than a Lambda may run."""


class _ChildTracebackError(Exception):
    """The cause of an error of a training: the traceback in the training's process."""


def start_child(environment: Mapping[str, str]) -> tuple[Connection, int]:
    """Start ``python -m training_job.child``, which is ready when it has imported TensorFlow."""
    ours, theirs = Pipe()
    with theirs:
        os.set_inheritable(theirs.fileno(), True)
        command = [sys.executable, "-m", "training_job.child", str(theirs.fileno())]
        return ours, os.posix_spawn(sys.executable, command, environment, setpgroup=0)


class TrainingProcess:
    """A process that trains for a worker, one training at a time."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._running: tuple[Connection, int] | None = None

    def start(self) -> Connection:
        """Start the process unless it runs. A training does so too, and waits until the process is ready."""
        if self._running is not None:
            connection, pid = self._running
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                return connection
            connection.close()
        self._running = self._start()
        return self._running[0]

    @property
    def pid(self) -> int | None:
        """The id of the process, None while it does not run."""
        return self._running and self._running[1]

    def stop(self) -> None:
        """Kill the process, if it runs, and the training in it."""
        if self._running is not None:
            os.killpg(self._running[1], signal.SIGKILL)
            self._end()

    def _end(self) -> int:
        """Wait for the end of the process, and return its exit code, which is negative after a signal."""
        assert self._running is not None  # noqa: S101 - narrows a type
        connection, pid = self._running
        self._running = None
        connection.close()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def train(
        self,
        settings: Settings,
        request: TrainingRequest,
        *,
        still_ours: Callable[[], object],
        report: Callable[[Mapping[str, Any]], object],
        seconds: float = math.inf,
    ) -> Trained:
        """Train and publish for a request. Raises what :func:`training_job.pipeline.run` raises.

        Raises TrainingDiedError when the process ends before it has an outcome, and OutOfTimeError when it has none
        after ``seconds``. What a signal handler raises ends the training at once.
        """
        job = Job(request, datetime.now(UTC), settings)
        handlers = {"still_ours": lambda _: still_ours(), "report": report}
        try:
            outcome = _talk(self.start(), job, handlers, seconds)
        except (EOFError, ConnectionError):
            raise TrainingDiedError(_how_it_died(self._end())) from None
        except BaseException:
            self.stop()
            raise
        if isinstance(outcome, Trained):
            return outcome
        error, where = outcome
        raise error from _ChildTracebackError(f"\n{where}")


def _talk(
    connection: Connection, job: Job, handlers: Mapping[str, Callable[[Any], object]], seconds: float
) -> Trained | tuple[Exception, str]:
    """Give the child a job, handle its messages, and return its outcome: an error comes with its traceback.

    ``handlers`` are called by the kind of a message. The child waits for the error that a handler raised, or None.
    """
    deadline = time.monotonic() + seconds
    connection.send(job)
    while True:
        if not connection.poll(None if math.isinf(seconds) else max(deadline - time.monotonic(), 0.0)):
            raise OutOfTimeError(
                f"the training did not end within the {seconds:.0f} s that a Lambda has for it:"
                " give it more memory, which brings more processor, or deploy with TrainingCompute=ecs"
            )
        kind, value = connection.recv()
        if kind == "log":
            logging.getLogger(value.name).handle(value)
        elif kind in handlers:
            connection.send(_error_of(handlers[kind], value))
        else:
            outcome: Trained | tuple[Exception, str] = value
            return outcome


def _error_of(handler: Callable[[Any], object], value: Any) -> Exception | None:
    try:
        handler(value)
    except Exception as error:  # noqa: BLE001 - the child raises it, and it comes back as the training's
        return error
    return None


def _how_it_died(code: int) -> str:
    number = -code if code < 0 else code - 128
    if number <= 0:
        return f"the training process ended with status {code}"
    reason = " (out of memory?)" if number == signal.SIGKILL else ""
    return f"the training process was killed by signal {number}{reason}"
