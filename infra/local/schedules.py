"""The work that AWS starts by a schedule: threads of the local API, or a process of its own with ``make services``."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence

from chalicelib import logs, wiring
from chalicelib.domain.errors import UnavailableError
from chalicelib.services import training, versions, watch, webhooks
from chalicelib.wiring import Container

log = logging.getLogger("studysmart.local")

Work = Callable[[Container], object]
SCHEDULES: Sequence[tuple[str, float, Work]] = (
    # The next three are parts of app.sweep_training_requests. The figures of the watch are needed less often.
    ("sweep", 5.0, lambda c: training.sweep(c.tracker, c.queue, c.policy)),
    ("webhooks", 1.0, lambda c: webhooks.deliver(c.webhooks, c.sender, c.bus)),
    ("watch", 15.0, lambda c: watch.watch(c.tracker, c.settings.cohort, c.analytics_of, c.policy, time.time())),
    # app.prune_models
    ("prune", 60.0, lambda c: versions.prune_all(c.registry, c.cohorts, c.settings.retained_versions)),
    ("prune datasets", 3_600.0, lambda c: [c.datasets.prune(cohort) for cohort in c.cohorts.names()]),
    ("prune limits", 3_600.0, lambda c: c.counts.prune()),
    ("prune records", 3_600.0, lambda c: c.service_store.prune()),
    ("prune webhooks", 3_600.0, lambda c: c.webhooks.prune()),
)
"""The name, the interval in seconds and the work of each schedule."""


def start(stopped: threading.Event) -> None:
    """Start one thread for each schedule."""
    for name, seconds, work in SCHEDULES:
        threading.Thread(target=repeat, args=(name, seconds, work, stopped), daemon=True, name=name).start()


def repeat(name: str, interval_seconds: float, work: Work, stopped: threading.Event) -> None:
    """Do the work at each interval until the event is set."""
    while not stopped.wait(interval_seconds):
        try:
            work(wiring.current())
        except UnavailableError as error:
            log.error("%s: %s", name, error, extra=logs.repeats(f"{name} {type(error).__name__}"))
        except Exception:
            # The next interval is another chance; on AWS, too, one failed invocation does not prevent the next.
            log.exception("%s failed", name)


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
