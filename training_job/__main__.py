"""The training worker: ``python -m training_job`` polls the queue, with ``--once`` until it has handled one message.

The container runs this command, unless it is a Lambda, to which SQS brings the messages (:mod:`.lambda_handler`).
With ``--reserve`` it has TensorFlow in memory only around trainings.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from types import FrameType

from chalicelib import logs
from chalicelib.config import settings_from
from chalicelib.domain.errors import ConfigurationError, UnavailableError
from training_job.process import Start, TrainingProcess, start_child
from training_job.wiring import POLL_SECONDS, build
from training_job.worker import Worker, WorkerStopped, handle

_log = logging.getLogger("studysmart.worker")

OUTAGE_SECONDS = 2.0
"""How long the worker waits after a service did not answer."""

LOOK_SECONDS = 2.0
"""How often a worker without TensorFlow in memory looks at the queue: one that has it takes a message at once."""

IDLE_SECONDS = 600.0
"""Time without a training after which a worker in reserve ends the process that trains."""


def poll(worker: Worker, wait_seconds: int = POLL_SECONDS) -> bool:
    """Receive and handle at most one message, and return whether there was one."""
    delivery = worker.queue.receive(wait_seconds)
    if delivery is None:
        return False
    handle(worker, delivery)
    return True


def run(
    worker: Worker,
    process: TrainingProcess,
    *,
    once: bool = False,
    reserve: bool = False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Handle messages until a signal comes, or ``once``.

    In ``reserve``, ``process`` runs from a first training until none has come for ten minutes. While it does not run,
    this worker leaves messages to other workers for a moment, because its training would first import TensorFlow.
    """
    used = clock()
    while True:
        cold = reserve and process.pid is None
        try:
            received = poll(worker, 1 if once else 0 if cold else POLL_SECONDS)
        except UnavailableError as error:
            _log.error("a service does not answer, trying again in %.0f s: %s", OUTAGE_SECONDS, error)
            sleep(OUTAGE_SECONDS)
            continue
        if once:
            return
        if received:
            used = clock()
        elif cold:
            sleep(LOOK_SECONDS)
        elif reserve and clock() - used > IDLE_SECONDS:
            process.stop()


def _stop(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise WorkerStopped


def main(start: Start | None = None) -> int:
    """Run until a signal comes and return the exit status, which is 2 for a wrong environment.

    ``start`` starts the process that trains.
    """
    parser = argparse.ArgumentParser(prog="python -m training_job", description="StudySmart's training worker")
    parser.add_argument("--once", action="store_true", help="handle one message, or none, and end")
    parser.add_argument("--reserve", action="store_true", help="import TensorFlow when a training starts, not before")
    options = parser.parse_args()
    try:
        settings = settings_from(os.environ)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    logs.configure(settings.log_format, settings.log_level, stack=settings.stack_name)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    process = TrainingProcess(start or partial(start_child, os.environ))
    try:
        if not options.reserve:
            process.start()
        worker = build(settings, process)
        _log.info("training worker ready, polling for cohort messages")
        run(worker, process, once=options.once, reserve=options.reserve)
        return 0
    except WorkerStopped:
        _log.info("training worker stopped")
        return 0
    finally:
        process.stop()


if __name__ == "__main__":
    sys.exit(main())
