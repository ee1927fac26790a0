from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ops import cli


def test_a_command_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "backend.jsonl").touch()
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert cli.main(["--state-dir", str(tmp_path), "logs", "errors"]) == 1
    assert capsys.readouterr().err == "error: this command needs duckdb; install it with: pip install '.[ops]'\n"
