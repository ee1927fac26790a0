"""The lines of the one-machine stack: JSON for queries, text for people."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from chalicelib import logs
from chalicelib.services import watch
from infra.local.output import LogFile, Output, as_text, parsed
from tests.support.log_lines import logged
from tests.support.small_disks import fill, small_disk


def json_lines(*messages: str, logger: str = "studysmart.api", error: Exception | None = None) -> str:
    """The lines that a process of the product writes."""
    with logged() as stream:
        for message in messages:
            logging.getLogger(logger).info(message, exc_info=error)
    return stream.getvalue()


def followed(tmp_path: Path, printed: str, as_json: bool = False) -> tuple[list[str], list[str]]:
    """The lines of the log and of the JSON log after a process has printed something."""
    output = Output(tmp_path / "logs" / "backend.log", as_json)
    program = f"import sys; sys.stdout.write({printed!r})"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output.follow(process).join(120)
    process.wait(120)
    logged = tmp_path / "logs" / "backend.log"
    return logged.read_text().splitlines(), logged.with_suffix(".jsonl").read_text().splitlines()


def test_json_lines_are_kept_and_shown_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = json_lines("counter: 3/5")
    text, kept = followed(tmp_path, printed)
    assert kept == printed.splitlines()
    assert [line.partition(" INFO ")[2] for line in text] == ["studysmart.api: counter: 3/5"]
    assert capsys.readouterr().out == text[0] + "\n"


def test_the_text_equals_the_text_format() -> None:
    record = logging.LogRecord("studysmart.api", logging.INFO, "", 0, "GET / - %d", (200,), None)
    line = {"timestamp": f"{record.created:.3f}", "level": "INFO", "logger": record.name, "message": "GET / - 200"}
    line["timestamp"] = json.loads(json_lines("x"))["timestamp"]
    rendered = as_text(line)
    expected = logging.Formatter(logs.TEXT_FORMAT).format(record)
    assert rendered.partition(" INFO ")[2] == expected.partition(" INFO ")[2]
    assert len(rendered) == len(expected)


def test_a_traceback_is_shown_below_its_line(tmp_path: Path) -> None:
    text, _ = followed(tmp_path, json_lines("failed", error=ValueError("broken")))
    assert text[0].endswith("studysmart.api: failed")
    assert text[-1].endswith("ValueError: broken")


def test_other_lines_are_shown_and_not_kept(tmp_path: Path) -> None:
    printed = 'Traceback (most recent call last):\n{"level": "INFO"}\n{broken\n'
    text, kept = followed(tmp_path, printed)
    assert text == printed.splitlines()
    assert kept == []
    assert parsed('["timestamp"]') is None


def test_lines_of_the_watch_are_only_kept(tmp_path: Path) -> None:
    text, kept = followed(tmp_path, json_lines("counter over threshold: 0", logger=watch.LOGGER))
    assert text == []
    assert len(kept) == 1


def test_log_format_json_shows_the_lines_unchanged(tmp_path: Path) -> None:
    text, kept = followed(tmp_path, json_lines("one", "two"), as_json=True)
    assert text == kept
    assert [json.loads(line)["message"] for line in text] == ["one", "two"]


def test_a_full_disk_is_reported_once_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    with small_disk(1) as place:
        file = LogFile(place / "backend.log", clock=lambda: now[0])
        file.handle(logging.makeLogRecord({"msg": "the first line"}))
        fill(place / "ballast")
        for second in range(90):
            now[0] = float(second)
            for _ in range(100):
                file.handle(logging.makeLogRecord({"msg": "x" * 100}))
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 2, said[:5]
        assert "No space left on device" in said[0]
        assert said[1].endswith("lines are lost so far")
        (place / "ballast").unlink()
        file.handle(logging.makeLogRecord({"msg": "the last line"}))
        file.close()
        lines = (place / "backend.log").read_text().splitlines()
        assert lines[0] == "the first line"
        assert lines[-2].endswith("lines of this file were lost: the disk was full")
        assert lines[-1] == "the last line"
        assert abs(int(lines[-2].split()[0]) + lines.count("x" * 100) - 9_000) <= 1  # one may be written in part
