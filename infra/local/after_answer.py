"""Work that requests leave behind, done once their answers have left.

On Lambda the process sleeps from the answer to the next request, so there a request does all of its work before it
answers. This server lives on: the client need not wait for what its answer does not depend on. What is lost when the
process dies in between must be made good by somebody else; for training requests that is the sweeper.
"""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger("studysmart.local")


class AfterAnswer:
    """Takes work by being called, as :data:`chalicelib.services.training.Later`; one thread does it in order."""

    def __init__(self) -> None:
        self._of_this_request = threading.local()
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True, name="after-answer")
        self._thread.start()

    def __call__(self, work: Callable[[], None]) -> None:
        """Keep work until the answer of the request on this thread was sent; its log lines stay the request's."""
        context = contextvars.copy_context()
        self._left().append(lambda: context.run(work))

    def answered(self) -> None:
        """Start what the request on this thread left behind."""
        left = self._left()
        for work in left:
            self._queue.put(work)
        left.clear()

    def finish(self, seconds: float) -> None:
        """Wait for the work that was started, at most so long; no more is done after it."""
        self._queue.put(None)
        self._thread.join(seconds)

    def _left(self) -> list[Callable[[], None]]:
        try:
            left: list[Callable[[], None]] = self._of_this_request.work
        except AttributeError:
            left = self._of_this_request.work = []
        return left

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                work()
            except Exception:
                # The thread must live on for the next request's work.
                log.exception("work left behind by a request failed")
