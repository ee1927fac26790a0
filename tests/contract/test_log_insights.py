"""The adapter of CloudWatch Logs Insights against moto, which knows groups and lines, and of a query its fields."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from chalicelib.domain.errors import LogsUnavailableError
from chalicelib.storage.aws import aws_client
from ops import cli
from ops.log_insights import LogInsights

pytestmark = pytest.mark.slow


@pytest.fixture
def logs(aws: Mapping[str, str]) -> Any:
    return aws_client("logs", aws["AWS_REGION"])


def stack_with_line(logs: Any, message: str) -> str:
    """A stack of one log group with one line."""
    stack = f"s{uuid.uuid4().hex[:8]}"
    group = f"{stack}-ApiLogGroup-{uuid.uuid4().hex[:6]}"
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="one")
    event = {"timestamp": int(time.time() * 1_000), "message": message}
    logs.put_log_events(logGroupName=group, logStreamName="one", logEvents=[event])
    return stack


def test_a_query_gives_its_rows_by_field(logs: Any) -> None:
    stack = stack_with_line(logs, "hello")
    insights = LogInsights(logs, poll_seconds=0.01)
    groups = insights.groups(stack, ["Api"])
    now = time.time()
    (row,) = insights.run("fields @timestamp, @message", groups, now - 3_600, now)
    assert row["@message"] == "hello"
    assert "@ptr" not in row
    assert insights.run("fields @message", groups, now - 7_200, now - 3_600) == []


def test_a_stack_that_there_is_not_is_named(logs: Any) -> None:
    with pytest.raises(LogsUnavailableError, match="is nobody the name of the stack"):
        LogInsights(logs).groups("nobody", ["Api"])


def test_a_group_that_is_gone_is_no_answer(logs: Any) -> None:
    with pytest.raises(LogsUnavailableError):
        LogInsights(logs).run("fields @message", ["none"], 0, time.time())


def test_the_command_asks_the_stack_that_it_is_given(
    logs: Any, aws: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = stack_with_line(logs, json.dumps({"route": "GET /", "duration_ms": 3.5}))
    monkeypatch.setenv("AWS_REGION", aws["AWS_REGION"])
    assert cli.main(["logs", "slowest", "--stack", stack, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1
    assert cli.main(["logs", "slowest", "--stack", "nobody"]) == 1
    assert "is nobody the name of the stack?" in capsys.readouterr().err
