"""Fixtures of the tests of whole stacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.stacks import RunningStack, alive, end, start


@pytest.fixture
def started() -> Iterator[Callable[..., RunningStack]]:
    """Starts stacks, and stops those that a test leaves running."""
    stacks: list[RunningStack] = []

    def start_and_remember(state: Path, *options: str) -> RunningStack:
        stacks.append(start(state, *options))
        return stacks[-1]

    yield start_and_remember
    for stack in stacks:
        if stack.process.poll() is None:
            end(stack)
        for leftover in alive(stack.members):
            leftover.kill()
