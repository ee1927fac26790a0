"""The stack that the demonstration and the benchmarks start for themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.stacks import alive
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

_HOLD = """
from benchmarks.local_stack import temporary_stack
with temporary_stack() as stack:
    print(stack.url, flush=True)
    input()
"""


def test_a_temporary_stack_ends_with_its_killed_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline().startswith(b"http://127.0.0.1:")
        family = psutil.Process(holder.pid).children(recursive=True)
        assert len(alive(family)) > 3
    finally:
        holder.kill()
        holder.wait()
    wait_for(lambda: not alive(family), 30, "the end of the stack")
