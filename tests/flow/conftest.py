"""Fixtures of the tests of whole stacks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from chalicelib.config import settings_from
from chalicelib.wiring import Container, build
from tests.support.stacks import RunningStack, alive, end, start
from training_job.process import TrainingProcess, start_child


@pytest.fixture(scope="session")
def training_process() -> Iterator[TrainingProcess]:
    """The process in which workers of tests train: TensorFlow is imported once."""
    process = TrainingProcess(partial(start_child, os.environ))
    yield process
    process.stop()


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


@pytest.fixture
def deployment(environment: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Container:
    """What the environment names, for this process too; no stack runs on the state directory."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "none"))
    return build(settings_from(environment))
