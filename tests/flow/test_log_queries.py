"""Every named query answered from the lines of a real run: API and worker as processes, a real training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.client import ApiClient, ApiError
from benchmarks.local_stack import temporary_stack
from chalicelib.storage.aws import aws_client
from infra.log_queries import QUERIES
from ops import cli
from ops.stack import connect
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

SUBJECT, TOPIC = "Math", "Fractions"


@dataclass(frozen=True)
class Run:
    """The facts of a run that the queries must find in the log."""

    state: Path
    version: str
    n_answers: int

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.state / "logs" / "backend.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Ten answers, the training that they trigger, predictions by the new version, and a malformed message."""
    with pytest.MonkeyPatch.context() as patch, temporary_stack() as stack:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        client = ApiClient(stack.url)
        client.register_and_login("Ada")
        for n in range(10):
            task = client.create(SUBJECT, TOPIC, "medium")
            client.complete(task["id"], n % 3 != 0, 20 + n)
        wait_for(lambda: client.status()["last_trained_at"], 120, "the end of the training")
        client.create(SUBJECT, TOPIC, "medium")
        client.create(SUBJECT, "a topic that nobody tried", "medium")
        with pytest.raises(ApiError):
            client.request("GET", "/practice-tasks/none")
        container = connect(str(stack.state_dir))
        queue = aws_client("sqs", container.settings.aws_region)
        queue.send_message(
            QueueUrl=container.settings.training_queue_url,
            MessageBody="no request",
            MessageGroupId="x",
            MessageDeduplicationId="x",
        )
        run = Run(stack.state_dir, client.status()["model_version"], 10)

        def all_said() -> bool:
            said = {line["logger"] for line in run.lines if line["level"] == "ERROR"}
            return "studysmart.worker" in said and any(line["logger"] == "studysmart.watch" for line in run.lines)

        wait_for(all_said, 60, "the worker's error and the watch")
        yield run


@pytest.fixture
def ask(run: Run, capsys: pytest.CaptureFixture[str]) -> Any:
    def answered(*arguments: str) -> list[dict[str, Any]]:
        assert cli.main(["--state-dir", str(run.state), "logs", "--json", *arguments]) == 0
        return list(json.loads(capsys.readouterr().out))

    return answered


@pytest.mark.parametrize("query", [query.name for query in QUERIES if not query.needs_ids])
def test_every_query_has_an_answer(ask: Any, query: str) -> None:
    assert ask(query)


def test_predictions_are_counted_by_source_and_version(ask: Any, run: Run) -> None:
    rows = {(row["source"], row["version"]): row["predictions"] for row in ask("predictions")}
    assert rows == {("default", None): 10, ("embedding", run.version): 1, ("lnirt", run.version): 1}


def test_fallbacks_have_their_reasons(ask: Any) -> None:
    rows = ask("fallbacks")
    assert sum(row["predictions"] for row in rows) == 12
    counts = {name: sum(row[name] * row["predictions"] for row in rows) for name in ("no_model", "new_topic")}
    assert counts == pytest.approx({"no_model": 10, "new_topic": 1})


def test_completions_and_triggers_agree(ask: Any, run: Run) -> None:
    rows = ask("completions")
    assert sum(row["completions"] for row in rows) == run.n_answers
    assert sum(row["triggers"] for row in rows) == 1 == len(ask("triggers"))


def test_a_training_is_traced_from_trigger_to_version(ask: Any, run: Run) -> None:
    (trigger,) = ask("triggers")
    (training,) = ask("trainings")
    (version,) = ask("versions")
    (day,) = ask("training-durations")
    assert trigger["training"] == training["training"] == version["training"]
    assert trigger["counter"] == training["n_samples"] == day["samples"] == run.n_answers
    assert (training["outcome"], training["champion"]) == ("complete", run.version)
    assert trigger["cohort"] == training["cohort"] == "default"
    assert (version["version"], version["promoted"]) == (run.version, True)
    assert day["p50_seconds"] == day["max_seconds"] == training["seconds"] > 0


def test_a_trace_leads_from_the_request_to_the_version(ask: Any, run: Run) -> None:
    (trigger,) = ask("triggers")
    rows = ask("trace", "--id", trigger["request_id"])
    messages = [row["message"] for row in rows]
    assert f"counter: {run.n_answers}/5" in messages
    assert "EMBEDDING MODEL AUTO-TRAINING TRIGGERED" in messages
    assert messages.index("Background training started") > messages.index("EMBEDDING MODEL AUTO-TRAINING TRIGGERED")
    assert {row["version"] for row in rows if row["training"]} >= {run.version}


def test_requests_are_counted_by_route(ask: Any, run: Run) -> None:
    rows = {row["route"]: row["requests"] for row in ask("requests")}
    assert rows["POST /practice-tasks"] == 12
    assert rows["PATCH /practice-tasks/{task_id}"] == run.n_answers
    assert rows["GET /practice-tasks/{task_id}"] == 1
    assert {row["failed"] for row in ask("requests")} == {0}


def test_requests_say_how_long_they_waited_for_each_service(run: Run) -> None:
    lines = [line for line in run.lines if "duration_ms" in line]
    stored = [line for line in lines if line["route"] == "POST /practice-tasks"]
    assert all(0 < line["database_ms"] <= line["duration_ms"] for line in stored)
    assert any("s3_ms" in line for line in stored)
    assert all(line["cognito_ms"] > 0 for line in lines if line["route"] == "POST /auth/register")


def test_the_slowest_request_is_the_slowest_line(ask: Any, run: Run) -> None:
    slowest = max((line for line in run.lines if "duration_ms" in line), key=lambda line: line["duration_ms"])
    assert ask("slowest")[0]["request_id"] == slowest["request_id"]


def test_errors_are_listed_with_their_cause(ask: Any) -> None:
    assert any("the message is no training request" in row["what"] for row in ask("errors"))


def test_the_watch_measures_the_newest_completions(ask: Any) -> None:
    (hour, *_) = ask("calibration")
    assert hour["counter_over_threshold"] in (0, 10)  # 10 if it looked before a worker took the training
    assert 0 <= hour["fallbacks"] <= 1


def test_the_text_log_has_the_lines_that_people_grep(run: Run) -> None:
    text = (run.state / "logs" / "backend.log").read_text()
    assert "INFO studysmart.tasks: counter: 10/5" in text
    assert "INFO studysmart.worker: Background training complete" in text
    assert "_aws" not in text
