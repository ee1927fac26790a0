"""A one-machine stack of its own for a demonstration, a benchmark or a test."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import msgspec

from chalicelib.config import Bound, Settings
from infra.local.processes import child_command
from ops.stack import NoStackError, Stack, running_stack

_START_SECONDS = 120.0
_STOP_SECONDS = 15.0
_WIDE_LIMITS = ",".join(f"{field.name}=1000000000" for field in msgspec.structs.fields(Settings) if field.type is Bound)
"""Every limit is checked and none is reached: a benchmark's students do in a minute what others do in a year."""
_ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def temporary_stack(settings: Mapping[str, str] = MappingProxyType({})) -> Iterator[Stack]:
    """Start a stack in a temporary directory on a free port; stop and remove it at the end.

    ``settings`` are variables of its environment.

    Call it from the main thread: the kernel stops the stack when that thread ends, so the stack also stops when this
    process is killed. Only its directory stays behind then. Raises NoStackError, with the last lines of the log, when
    the stack does not start.
    """
    with tempfile.TemporaryDirectory(prefix="studysmart-") as directory:
        state_dir, output = Path(directory) / "state", Path(directory) / "output"
        command = [sys.executable, "-m", "infra.local", "--port", "0", "--state-dir", str(state_dir)]
        with output.open("wb") as log:
            process = subprocess.Popen(
                child_command(command, stop_signal="SIGTERM"),
                cwd=_ROOT,
                env={**os.environ, "LIMITS": _WIDE_LIMITS, **settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield _wait_until_ready(process, state_dir, output)
        finally:
            _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], state_dir: Path, output: Path) -> Stack:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if (stack := running_stack(state_dir)) is not None:
            return stack
        time.sleep(0.05)
    tail = "\n".join(output.read_text(errors="replace").splitlines()[-15:])
    raise NoStackError(f"the stack did not start:\n{tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
