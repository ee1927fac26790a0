"""What the tests of whole stacks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.stacks import RunningStack, alive, end, start


@pytest.fixture
def started() -> Iterator[Callable[..., RunningStack]]:
    """Starts stacks and stops those that a test leaves running."""
    stacks: list[RunningStack] = []

    def start_and_note(state: Path, port: int = 0) -> RunningStack:
        stacks.append(start(state, port))
        return stacks[-1]

    yield start_and_note
    for stack in stacks:
        if stack.process.poll() is None:
            end(stack)
        for leftover in alive(stack.members):
            leftover.kill()
