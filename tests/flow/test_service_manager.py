"""The command of the unit of systemd, started and stopped as systemd does."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from infra.local.processes import ROOT
from tests.support.stacks import START_SECONDS, Api
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow


def test_the_units_command_serves_until_its_stop_signal(tmp_path: Path) -> None:
    unit = ConfigParser(interpolation=None)
    unit.read(ROOT / "infra" / "local" / "studysmart.service")
    service, state = unit["Service"], tmp_path / "state"
    settings = {**dict(pair.split("=", 1) for pair in shlex.split(service["Environment"])), "PORT": "0"}
    command = service["ExecStart"].replace("/var/lib/studysmart", str(state))
    for name, value in settings.items():
        command = command.replace(f"${{{name}}}", value)
    note, home = state / "stack.json", {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *shlex.split(command)[1:]], cwd=ROOT, env=home | settings, stdout=output, stderr=output
        )
    try:
        wait_for(lambda: note.exists() or process.poll() is not None, START_SECONDS, "the start of the stack")
        assert process.poll() is None, (tmp_path / "output").read_text()
        assert Api(json.loads(note.read_text())["url"]).get("/health")["status"] == "healthy"
        process.send_signal(getattr(signal, service["KillSignal"]))
        assert process.wait(float(service["TimeoutStopSec"])) == 0
        assert not note.exists()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(120)
