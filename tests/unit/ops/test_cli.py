from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib.domain.training import TrackerRow, TrainingPolicy
from chalicelib.services.training import status_of
from ops import cli, monitor, status


def test_a_command_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "backend.jsonl").touch()
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert cli.main(["--state-dir", str(tmp_path), "logs", "errors"]) == 1
    assert capsys.readouterr().err == "error: this command needs duckdb; install it with: pip install '.[ops]'\n"


@pytest.mark.parametrize(
    ("waits", "reason"),
    [
        ({"training_seconds": 18.42}, "TRAINING_DUTY, after a training of 18.4 s"),
        ({"training_seconds": 18.42, "training_failures": 2}, "2 trainings failed since the last success"),
    ],
)
def test_status_and_monitor_say_until_when_a_training_waits(waits: dict[str, Any], reason: str) -> None:
    until = datetime(2026, 3, 1, 10, 25, tzinfo=UTC)
    row = TrackerRow("default", 7, 20, 27, None, "v1", None, None, None, None, False, None, None)
    model = status_of(msgspec.structs.replace(row, next_training_at=until, **waits), TrainingPolicy())
    line = f"Next training: not before 2026-03-01 10:25:00 UTC ({reason})"
    assert line in status.as_lines(status.Report("default", model, None, None, {}, None))
    assert line in monitor.describe(model)
    assert status.model_json(model)["next_training_at"] == "2026-03-01T10:25:00+00:00"
    assert status.wait_lines(status_of(row, TrainingPolicy())) == []
