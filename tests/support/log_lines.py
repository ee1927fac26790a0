"""The lines that the product logs, for the tests that read them."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chalicelib import logs


@contextmanager
def logged(log_format: str = "json", clock: Callable[[], float] = time.monotonic) -> Iterator[io.StringIO]:
    """Log in this format to the text that is given, and as before at the end."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    stream = io.StringIO()
    logs.configure(log_format, "INFO", stream, clock=clock)
    try:
        yield stream
    finally:
        root.handlers[:] = before
        root.setLevel(level)
