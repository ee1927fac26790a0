"""The line of each request, what is in it, and what never is."""

from __future__ import annotations

import io
import json
import logging
import threading
import time
from collections.abc import Iterator

import pytest

from chalicelib import logs, metrics
from tests.support.api import PASSWORD, TASK, Api, World


@pytest.fixture
def requests(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="studysmart")
    return caplog


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield io.StringIO()
    root.handlers[:] = before
    root.setLevel(level)


def test_each_request_has_a_line_with_its_route_and_no_name(student: Api, requests: pytest.LogCaptureFixture) -> None:
    task_id = student.post("/practice-tasks", TASK).json["id"]
    student.patch(f"/practice-tasks/{task_id}", {"is_correct": True, "actual_time_seconds": 3})
    student.get("/practice-tasks?limit=1")
    student.get("/nothing")
    assert "POST /practice-tasks - 201" in requests.messages
    assert f"PATCH /practice-tasks/{task_id} - 200" in requests.messages
    assert "counter: 1/5" in requests.messages
    assert "GET /practice-tasks - 200" in requests.messages
    student.get("/practice-tasks/subject/ada%40example.com/latest")
    assert "GET (unknown path) - 404" in requests.messages
    assert "GET /practice-tasks/subject/{subject}/latest - 404" in requests.messages
    assert not any("ada" in message or "nothing" in message for message in requests.messages)


def test_the_line_of_a_creation_says_where_the_prediction_came_from(
    student: Api, requests: pytest.LogCaptureFixture
) -> None:
    student.post("/practice-tasks", TASK)
    line = vars(next(record for record in requests.records if record.getMessage() == "POST /practice-tasks - 201"))
    assert (line["route"], line["status"], line["source"]) == ("POST /practice-tasks", 201, "default")
    assert (line["fallback_reason"], line["Predictions"], line["FallbackRate"]) == ("no model", 1, 1)
    assert line["duration_ms"] == line["PredictionLatency"] > 0


def test_the_line_of_a_completion_counts_it_once_and_names_the_training_that_it_asked_for(
    student: Api, world: World, requests: pytest.LogCaptureFixture
) -> None:
    ids = [student.post("/practice-tasks", TASK).json["id"] for _ in range(5)]
    for task_id in [*ids, ids[-1]]:
        student.patch(f"/practice-tasks/{task_id}", {"is_correct": True, "actual_time_seconds": 3})
    lines = [vars(record) for record in requests.records if record.getMessage().startswith("PATCH")]
    assert {line["route"] for line in lines} == {"PATCH /practice-tasks/{task_id}"}
    assert [line.get("Completions") for line in lines] == [1, 1, 1, 1, 1, None]
    assert [line.get("TrainingTriggers") for line in lines] == [None, None, None, None, 1, None]
    assert lines[4]["training_request_id"] == world.container().tracker.read("default").training_request_id


def test_a_path_cannot_forge_a_line(anyone: Api, requests: pytest.LogCaptureFixture) -> None:
    anyone.get("/a\nPOST /practice-tasks - 201\x1b[2J")
    assert all(message.isprintable() for message in requests.messages)


def test_an_unexpected_error_is_logged_with_its_traceback_and_answered_without(
    student: Api, world: World, requests: pytest.LogCaptureFixture
) -> None:
    world.database.tasks = None  # type: ignore[assignment]  # a bug, as the application would see it
    answer = student.get("/practice-tasks")
    assert (answer.status, answer.json) == (500, {"detail": "Internal server error"})
    record = next(record for record in requests.records if record.levelno == logging.ERROR)
    assert record.exc_info is not None
    assert "GET /practice-tasks - 500" in requests.messages


def test_neither_addresses_nor_passwords_nor_tokens_are_logged(
    student: Api, requests: pytest.LogCaptureFixture
) -> None:
    student.post("/auth/login", {"email": "ada@example.org", "password": PASSWORD})
    student.post("/auth/register", {"email": "ada@example.org", "password": PASSWORD})
    student.get("/auth/me")
    assert student.token is not None
    assert not any(secret in requests.text for secret in ("ada@", PASSWORD, student.token))


def test_the_answer_carries_the_request_id(anyone: Api) -> None:
    first, second = anyone.get("/"), anyone.get("/")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


def test_text_lines_have_time_level_and_logger(stream: io.StringIO) -> None:
    logs.configure("text", "INFO", stream)
    logging.getLogger("studysmart.api").info("POST /practice-tasks - 201")
    assert stream.getvalue().endswith("INFO studysmart.api: POST /practice-tasks - 201\n")


def test_json_lines_carry_request_and_user(stream: io.StringIO) -> None:
    logs.configure("json", "INFO", stream)
    with logs.request("request-7"):
        logs.set_user("user-7")
        logging.getLogger("studysmart.tasks").info("counter: %d/%d", 3, 5)
    logging.getLogger("studysmart.tasks").info("afterwards")
    inside, outside = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (inside["message"], inside["level"], inside["logger"]) == ("counter: 3/5", "INFO", "studysmart.tasks")
    assert (inside["request_id"], inside["user_id"]) == ("request-7", "user-7")
    assert "user_id" not in outside


def test_json_lines_carry_the_traceback(stream: io.StringIO) -> None:
    logs.configure("json", "INFO", stream)
    try:
        raise ValueError("broken")
    except ValueError as error:
        logging.getLogger("studysmart.api").error("unexpected", exc_info=error)
    line = json.loads(stream.getvalue())
    assert line["exception_name"] == "ValueError"
    assert "Traceback" in line["exception"]


def test_configuring_twice_writes_each_line_once(stream: io.StringIO) -> None:
    logs.configure("text", "INFO", stream)
    logs.configure("text", "INFO", stream)
    logging.getLogger("studysmart").info("once")
    assert stream.getvalue().count("once") == 1


def test_threads_do_not_see_each_others_request(stream: io.StringIO) -> None:
    logs.configure("json", "INFO", stream)
    start = threading.Barrier(4)

    def work(number: int) -> None:
        with logs.request(f"request-{number}"):
            start.wait()
            logging.getLogger("studysmart").info("%d", number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {line["request_id"] for line in lines} == {f"request-{n}" for n in range(4)}
    assert all(line["request_id"] == f"request-{line['message']}" for line in lines)


def test_json_lines_carry_what_is_true_of_the_process_when_they_are_written(stream: io.StringIO) -> None:
    fields: dict[str, str | None] = {"cohort": "default", "version": None}
    logs.configure("json", "INFO", stream, lambda: fields)
    logging.getLogger("studysmart").info("cold")
    fields["version"] = "20260101T000000Z-0"
    logging.getLogger("studysmart").info("warm")
    cold, warm = (json.loads(line) for line in stream.getvalue().splitlines())
    assert cold["cohort"] == warm["cohort"] == "default"
    assert "version" not in cold
    assert warm["version"] == "20260101T000000Z-0"


def test_the_process_says_its_cohort_and_the_version_it_serves(world: World) -> None:
    assert world.container().log_fields() == {"cohort": "default", "version": None}


def test_lines_with_metrics_are_written_at_every_level(stream: io.StringIO) -> None:
    logs.configure("json", "ERROR", stream, stack="school")
    log = logging.getLogger("studysmart.api")
    with logs.request("request-7"):
        logs.info(log, "counted %d", 1, extra=metrics.fields({metrics.COMPLETIONS: 1}))
        logs.info(log, "not counted", extra={"status": 200})
    (line,) = (json.loads(text) for text in stream.getvalue().splitlines())
    assert (line["message"], line["level"], line["logger"]) == ("counted 1", "INFO", "studysmart.api")
    assert (line["stack"], line["Completions"], line["request_id"]) == ("school", 1, "request-7")


def test_times_in_a_service_add_up_within_a_request() -> None:
    with logs.timed("database"):
        pass
    with logs.request("request-7") as noted:
        for _ in range(2):
            with logs.timed("database"):
                wait_until(time.perf_counter() + 0.002)
        with pytest.raises(ValueError, match="broken"), logs.timed("s3"):
            raise ValueError("broken")
    assert noted["database_ms"] >= 4
    assert noted["s3_ms"] >= 0


def wait_until(moment: float) -> None:
    while time.perf_counter() < moment:
        pass
