"""The named queries: both languages give the same columns, and the template has them."""

from __future__ import annotations

import argparse
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from infra.log_queries import BY_NAME, COLUMNS, QUERIES, LogQuery, text_of
from infra.package import template
from infra.package.template import PARTS, joined, read_part
from ops import cli, logs

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = {"filter", "fields", "stats", "sort", "limit", "display"}
FUNCTIONS = {"ispresent", "count", "pct", "avg", "sum", "max", "bin", "coalesce", "strcontains", "floor"}
WORDS = {"as", "by", "desc", "asc", "in", "or", "and", "not", "like"}


def stages(query: LogQuery) -> list[tuple[str, str]]:
    """The commands of the Insights text with what follows them."""
    text = " ".join(text_of(query, ["an-id"]).split())
    return [(stage.split(" ", 1)[0], stage.split(" ", 1)[1]) for stage in re.split(r" ?(?<![\w/])\| ", text)]


def parts(text: str) -> list[str]:
    """What stands between commas outside of brackets."""
    return re.split(r", (?![^()]*\))", text)


def columns(query: LogQuery) -> list[str]:
    """The columns that the Insights text ends with."""
    for command, rest in reversed(stages(query)):
        if command == "display":
            return parts(rest)
        if command == "stats":
            figures, _, groups = rest.partition(" by ")
            return [part.rpartition(" as ")[2] for part in [*parts(groups), *parts(figures)]]
    raise AssertionError(f"{query.name} says neither what to display nor what to sum up")


def without_lines() -> duckdb.DuckDBPyConnection:
    database = duckdb.connect()
    database.execute(f"CREATE TABLE lines ({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())})")
    return database


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: str(query.name))
def test_both_languages_give_the_same_columns(query: LogQuery) -> None:
    found = without_lines().execute(query.sql, {"ids": ["an-id"]} if query.needs_ids else None)
    assert sorted(column[0] for column in found.description) == sorted(columns(query))


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: str(query.name))
def test_the_insights_text_uses_only_known_names(query: LogQuery) -> None:
    known = {*COLUMNS, "@timestamp", "@message"}
    for command, rest in stages(query):
        assert command in COMMANDS
        words = re.sub(r'"[^"]*"|/[^/]*[A-Za-z][^/]*/', "", rest)
        assert set(re.findall(r"(\w+)\(", words)) <= FUNCTIONS
        made = set(re.findall(r" as (\w+)", words))
        used = set(re.findall(r"@?[A-Za-z_]\w*", re.sub(r"\bbin\(\w+\)", "", words))) - FUNCTIONS - WORDS - made
        assert used <= known
        known |= made


def test_every_query_has_a_question() -> None:
    assert all(query.question.endswith("?") or "newest first" in query.question for query in QUERIES)


def test_an_id_cannot_change_a_query() -> None:
    with pytest.raises(ValueError, match="letters, digits and hyphens"):
        text_of(BY_NAME["trace"], ['x"] or level in ["INFO'])


def test_the_template_has_each_query_on_its_log_groups() -> None:
    made = joined({name: read_part(ROOT / name) for name in PARTS})["Resources"]
    definitions = [resource["Properties"] for resource in template.saved_queries()["Resources"].values()]
    assert [one["Name"]["Fn::Sub"] for one in definitions] == [f"${{AWS::StackName}}/{one.name}" for one in QUERIES]
    for one in definitions:
        assert all(made[group["Ref"]]["Type"] == "AWS::Logs::LogGroup" for group in one["LogGroupNames"])
        assert len(one["QueryString"]) <= 10_000


def test_the_dashboard_has_room_for_the_log_widgets() -> None:
    whole = joined({name: read_part(ROOT / name) for name in PARTS})
    template.add_widgets(whole)
    text = whole["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    assert set(re.findall(r"\$\{(\w+LogGroup)\}", text)) <= set(whole["Resources"])
    widgets = json.loads(text)["widgets"]
    added = [widget for widget in widgets if widget["type"] == "log"]
    assert len(added) == len(template.WIDGETS)
    places = {(x, y) for one in widgets for x in _span(one, "x", "width") for y in _span(one, "y", "height")}
    assert len(places) == sum(one["width"] * one["height"] for one in widgets)


def _span(widget: dict[str, Any], start: str, length: str) -> range:
    return range(widget[start], widget[start] + widget[length])


def test_durations_are_parsed() -> None:
    assert logs.duration("90m") == timedelta(minutes=90)
    assert logs.duration("2w") == timedelta(weeks=2)
    for refused in ("", "1", "h", "1y", "-1h", "1.5h"):
        with pytest.raises(argparse.ArgumentTypeError):
            logs.duration(refused)


def line(minutes_ago: float, **fields: Any) -> str:
    at = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    known = {"timestamp": at.isoformat(timespec="milliseconds"), "level": "INFO", "logger": "studysmart.api"}
    return json.dumps({**known, "message": "m", **fields}) + "\n"


def answer(state: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert cli.main(["--state-dir", str(state), "logs", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The JSON log of a stack that does not run."""
    path = tmp_path / "logs" / "backend.jsonl"
    path.parent.mkdir()
    return path


def test_older_lines_are_skipped(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.write_text(line(90, route="GET /", duration_ms=5.0) + line(5, route="GET /docs", duration_ms=1.0))
    assert [row["route"] for row in answer(log.parents[1], capsys, "slowest")] == ["GET /docs"]
    rows = answer(log.parents[1], capsys, "slowest", "--since", "2h")
    assert [row["route"] for row in rows] == ["GET /", "GET /docs"]


def test_unfinished_lines_are_skipped_and_rotated_files_read(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = line(1, route="GET /new", duration_ms=5.0)
    log.write_text(whole + whole[:60])
    log.with_name("backend.jsonl.1").write_text(line(2, route="GET /old", duration_ms=9.0))
    assert [row["route"] for row in answer(log.parents[1], capsys, "slowest")] == ["GET /old", "GET /new"]


def test_probes_are_not_counted(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probe = {"route": "GET /health", "status": 503, "duration_ms": 9.0, "probe": True}
    log.write_text(line(2, **probe) + line(1, route="GET /health", status=503, duration_ms=5.0))
    for query in ("requests", "slowest", "errors"):
        assert len(answer(log.parents[1], capsys, query)) == 1
    (row,) = answer(log.parents[1], capsys, "requests")
    assert (row["requests"], row["failed"], row["p99_ms"]) == (1, 1, 5.0)


def test_a_trace_follows_a_request_to_its_training(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.write_text(
        line(9, request_id="other", message="another request")
        + line(8, request_id="r", training_request_id="t", message="PATCH")
        + line(7, training_request_id="t", message="Background training started", version="v")
        + line(6, training_request_id="u", message="another training")
    )
    rows = answer(log.parents[1], capsys, "trace", "--id", "r")
    assert [row["message"] for row in rows] == ["PATCH", "Background training started"]


def test_a_trace_without_an_id_is_wrong_usage(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--state-dir", str(log.parents[1]), "logs", "trace"]) == 2
    assert "needs --id" in capsys.readouterr().err


def test_a_missing_log_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--state-dir", str(tmp_path), "logs", "errors"]) == 1
    assert capsys.readouterr().err.startswith(f"error: there is no log in {tmp_path}")


def test_the_list_shows_every_query_with_its_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["logs", "--list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [tuple(entry.split("  ", 1)) for entry in listed] == [
        (query.name, query.question.rjust(len(entry) - len(query.name) - 2))
        for query, entry in zip(QUERIES, listed, strict=True)
    ]


def test_rows_are_a_table_for_people(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.write_text(line(1, route="GET /", status=200, duration_ms=5.25))
    assert cli.main(["--state-dir", str(log.parents[1]), "logs", "requests"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["route", "requests", "failed", "p50_ms", "p99_ms"]
    assert row.split() == ["GET", "/", "1", "0", "5.25", "5.25"]
    assert cli.main(["--state-dir", str(log.parents[1]), "logs", "errors"]) == 0
    assert capsys.readouterr().out == "The log has no such lines in this period.\n"
