"""The work that AWS starts by a schedule: threads of the local API, or a process of its own with ``make services``."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

from chalicelib import logs, wiring
from chalicelib.services import training, versions
from chalicelib.services import watch as watching
from chalicelib.wiring import Container

log = logging.getLogger("studysmart.local")

_SWEEP_SECONDS = 5.0
_PRUNE_SECONDS = 60.0
_WATCH_SECONDS = 15.0


def start(stopped: threading.Event) -> None:
    """Start one thread for each schedule."""
    for work, seconds in ((sweep, _SWEEP_SECONDS), (watch, _WATCH_SECONDS), (prune, _PRUNE_SECONDS)):
        threading.Thread(target=repeat, args=(work, seconds, stopped), daemon=True, name=work.__name__).start()


def repeat(work: Callable[[Container], object], interval_seconds: float, stopped: threading.Event) -> None:
    """Do the work at each interval until the event is set."""
    while not stopped.wait(interval_seconds):
        try:
            work(wiring.current())
        except Exception:
            # The next interval is another chance; on AWS, too, one failed invocation does not prevent the next.
            log.exception("%s failed", work.__name__)


def sweep(container: Container) -> None:
    """Do the first half of ``app.sweep_training_requests``."""
    training.sweep(container.tracker, container.queue)


def watch(container: Container) -> None:
    """Do the second half of ``app.sweep_training_requests``, less often than the sweep."""
    watching.watch(container.tracker, container.analytics, container.policy, container.settings.cohort)


def prune(container: Container) -> None:
    """Do the same as ``app.prune_models``."""
    versions.prune(container.registry, container.settings.cohort, container.settings.retained_versions)


def main() -> int:
    """Run the schedules until SIGTERM."""
    logs.configure(os.environ.get("LOG_FORMAT", "text"), os.environ.get("LOG_LEVEL", "INFO"))
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    start(stopped)
    stopped.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
