"""``studysmart stop``: a process that stands for a stack is asked to end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops import cli

READY = "import signal, sys, time; {prepare}; print('ready', flush=True); time.sleep(60)"


@pytest.fixture
def running(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A process, whose state directory says that it is a stack. It is reaped at once when it ends."""
    program = READY.format(prepare=request.param)
    # The shell in between reaps it.
    process = subprocess.Popen(
        ["sh", "-c", '"$@" & echo $!; wait', "sh", sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said = {process.stdout.readline().strip(), process.stdout.readline().strip()}
    pid = int((said - {"ready"}).pop())
    (tmp_path / "stack.json").write_text(json.dumps({"pid": pid, "url": None, "environment": {}}))
    yield process
    process.terminate()
    subprocess.run(["kill", "-9", str(pid)], capture_output=True, check=False)
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("running", ["pass"], indirect=True)
def test_a_stack_is_stopped(running: subprocess.Popen[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--state-dir", str(tmp_path), "stop"]) == 0
    assert "is stopped" in capsys.readouterr().out
    assert running.wait(120) is not None
    assert cli.main(["--state-dir", str(tmp_path), "stop"]) == 1
    assert "is not running" in capsys.readouterr().err


@pytest.mark.parametrize("running", ["signal.signal(signal.SIGTERM, signal.SIG_IGN)"], indirect=True)
def test_a_stack_that_does_not_end_is_reported(
    running: subprocess.Popen[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--state-dir", str(tmp_path), "stop", "--wait", "0"]) == 1
    assert "has not ended yet" in capsys.readouterr().err


def test_without_a_stack_there_is_nothing_to_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--state-dir", str(tmp_path), "stop"]) == 1
    assert "no stack is running" in capsys.readouterr().err
