"""Renews the lease of a training and the visibility timeout of its message while the training runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from types import TracebackType
from typing import Any

from chalicelib.domain.errors import DatabaseUnavailableError, LeaseLostError, QueueUnavailableError
from chalicelib.storage.tracker import Lease, PostgresTracker

_log = logging.getLogger("studysmart.worker")

PROGRESS_SECONDS = 0.5
"""Shortest time between two writes of progress: with little data an epoch is shorter than a write is worth."""


class Heartbeat:
    """A context in which the lease is renewed every third of its length.

    The lease is a value that changes with every renewal, so renewing, reporting and finishing share one lock.
    """

    def __init__(
        self, tracker: PostgresTracker, lease: Lease, seconds: float, keep_hidden: Callable[[float], None]
    ) -> None:
        self._tracker = tracker
        self._lease = lease
        self._seconds = seconds
        self._keep_hidden = keep_hidden
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._lost: LeaseLostError | None = None
        self._reported = 0.0
        # The context carries the fields of the training's log lines.
        beat = (self._beat,)
        self._thread = threading.Thread(target=copy_context().run, args=beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._stop.wait(self._seconds / 3):
            try:
                self.renew()
                self._keep_hidden(self._seconds)
            except LeaseLostError as error:
                _log.error("heartbeat: %s", error)
                return
            except (DatabaseUnavailableError, QueueUnavailableError) as error:
                _log.warning("heartbeat failed, trying again: %s", error)

    def renew(self) -> Lease:
        """Prolong the lease now. Once the lease is lost, every call raises LeaseLostError.

        After :meth:`stop` the lease stays as it was returned: a beat that was due at that moment must not change it.
        """
        with self._lock:
            self._raise_if_lost()
            if self._stop.is_set():
                return self._lease
            try:
                self._lease = self._tracker.renew_lease(self._lease, self._seconds)
            except LeaseLostError as error:
                self._lost = error
                raise
            return self._lease

    def stop(self) -> Lease:
        """End the renewing and return the lease as it is now. Raises LeaseLostError."""
        with self._lock:
            self._stop.set()
            self._raise_if_lost()
            return self._lease

    def report(self, progress: Mapping[str, Any]) -> None:
        """Store the progress of the training. Raises LeaseLostError, which ends a training that was taken over."""
        with self._lock:
            self._raise_if_lost()
            now = time.monotonic()
            if now - self._reported < PROGRESS_SECONDS:
                return
            self._reported = now
            try:
                self._tracker.record_progress(self._lease, progress)
            except DatabaseUnavailableError as error:
                _log.warning("progress could not be stored: %s", error)

    def _raise_if_lost(self) -> None:
        if self._lost is not None:
            raise self._lost
