"""A one-machine stack for the time of a block: the demonstration and the benchmarks run on one of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.stack import NoStackError, Stack, running_stack

_START_SECONDS = 120.0
_STOP_SECONDS = 15.0
_ROOT = Path(__file__).resolve().parents[1]
_STACK = (sys.executable, "-m", "infra.local", "--port", "0")
_BOUND = (sys.executable, "-I", "-S", str(_ROOT / "infra/local/child.py"), "--stop-signal", "SIGTERM")


@contextmanager
def temporary_stack() -> Iterator[Stack]:
    """Start a stack in a temporary directory on a free port, and stop and remove it at the end.

    It also stops when this process is killed; then its directory stays. To be called from the main thread, with which
    the kernel ends it.

    Raises NoStackError, with the last lines of its log, when it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="studysmart-") as directory:
        state_dir = Path(directory) / "state"
        output = Path(directory) / "output"
        with output.open("wb") as log:
            process = subprocess.Popen(
                [*_BOUND, "--parent", str(os.getpid()), "--", *_STACK, "--state-dir", str(state_dir)],
                cwd=_ROOT,
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
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
        stack = running_stack(state_dir)
        if stack is not None:
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
