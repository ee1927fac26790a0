"""Waiting for a condition, and saying a line at the end of the suite."""

from __future__ import annotations

import time
from collections.abc import Callable

SayAtEnd = Callable[[str], None]


def wait_for(condition: Callable[[], object], seconds: float = 180.0, what: str = "the condition") -> None:
    """Poll until the condition holds; fails the test when the time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds:.0f} seconds"
        time.sleep(0.05)
