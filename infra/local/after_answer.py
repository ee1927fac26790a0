"""Work that requests defer until their answers have been sent.

On Lambda the process is frozen between an answer and the next request, so a request does all of its work before it
answers. This server keeps running, so the client need not wait for work that its answer does not depend on. If the
process dies before the work is done, the work is lost; for training requests the sweeper sends the message.
"""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
from collections.abc import Callable
from functools import partial

from chalicelib import logs
from chalicelib.domain.errors import UnavailableError

log = logging.getLogger("studysmart.local")


class _Request(threading.local):
    """The deferred work of the request on each thread."""

    def __init__(self) -> None:
        self.deferred: list[Callable[[], None]] = []


class AfterAnswer:
    """A queue of deferred work with one thread. It is a :data:`chalicelib.services.training.Later`."""

    def __init__(self) -> None:
        self._request = _Request()
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True, name="after-answer")
        self._thread.start()

    def __call__(self, work: Callable[[], None]) -> None:
        """Defer work until the request on this thread was answered. Its log lines keep the request's id."""
        self._request.deferred.append(partial(contextvars.copy_context().run, work))

    def answered(self) -> None:
        """Start the work that the request on this thread deferred."""
        for work in self._request.deferred:
            self._queue.put(work)
        self._request.deferred.clear()

    def finish(self, seconds: float) -> None:
        """Wait up to ``seconds`` for the started work; later work is not done."""
        self._queue.put(None)
        self._thread.join(seconds)

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                work()
            except UnavailableError as error:
                name = type(error).__name__
                log.error("the deferred work of a request failed: %s: %s", name, error, extra=logs.repeats(name))
            except Exception:
                # The thread must survive for the work of the next request.
                log.exception("the deferred work of a request failed")
