"""Processes for trainings, which leave memory behind."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor

import pytest

from tests.support.trainings import separate_processes


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    """Run each call in a process of its own."""
    with separate_processes() as pool:
        yield pool
