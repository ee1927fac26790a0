"""The pause before a process of the one-machine stack is restarted."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from infra.local.children import Child
from infra.local.output import Output


@pytest.fixture
def child(tmp_path: Path) -> Child:
    """A process that ends at once."""
    return Child("child", [sys.executable, "-c", ""], {}, Output(tmp_path / "log"), tmp_path / "ready")


def pause_after_death(child: Child, lived_seconds: float = 0.0) -> float:
    child.start()
    assert child.process is not None
    child.process.wait()
    child.started_at -= lived_seconds
    now = time.monotonic()
    with pytest.MonkeyPatch.context() as clock:
        clock.setattr(time, "monotonic", lambda: now)
        child.restart_if_ended()
    assert child.restart_at is not None
    return child.restart_at - now


def test_a_process_that_dies_at_its_start_is_restarted_less_often(
    child: Child, caplog: pytest.LogCaptureFixture
) -> None:
    pauses = [pause_after_death(child) for _ in range(8)]
    assert pauses == pytest.approx([0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0])
    assert "the child ended (exit status 0), starting it again in 0.5 s" in caplog.text


def test_a_process_that_was_healthy_is_restarted_soon(child: Child) -> None:
    pauses = [pause_after_death(child, lived_seconds=15.0) for _ in range(3)]
    assert pauses == pytest.approx([0.5, 0.5, 0.5])
