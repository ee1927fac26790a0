"""Changing a task: edits, offline completions, repeated requests, and fields that cannot be changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urljoin

import pytest

from chalicelib.domain.training import Champion
from tests.support.api import TASK, Api, World, create
from tests.support.archives import version_files


def patched(api: Api, task: dict[str, Any], **body: Any) -> dict[str, Any]:
    answer = api.patch(f"/practice-tasks/{task['id']}", body)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found


def refusal(api: Api, task: dict[str, Any], **body: Any) -> tuple[int, list[str]]:
    answer = api.patch(f"/practice-tasks/{task['id']}", body)
    detail = answer.json["detail"]
    return answer.status, [fault["loc"][-1] for fault in detail] if isinstance(detail, list) else [detail]


def test_texts_can_be_edited_always(student: Api) -> None:
    task = create(student)
    texts = {"task_content": "new", "solution_content": "s", "answer_content": "a", "estimated_time_minutes": 3}
    assert patched(student, task, **texts).items() >= texts.items()
    done = patched(student, task, is_correct=True, actual_time_seconds=9, answer_content="b")
    assert (done["answer_content"], done["completed"]) == ("b", True)
    edited = patched(student, task, solution_content="after")
    assert (edited["solution_content"], edited["is_correct"], "training" in edited) == ("after", True, False)


def test_the_first_look_at_a_solution_is_recorded(student: Api) -> None:
    task = create(student, solution_content="5/6")
    assert task["solution_viewed_at"] is None
    now = datetime.now(UTC)
    first = patched(student, task, solution_viewed_at=now.isoformat())
    assert datetime.fromisoformat(first["solution_viewed_at"]) >= datetime.fromisoformat(task["created_at"])
    again = patched(student, task, solution_viewed_at=(now + timedelta(seconds=9)).isoformat())
    assert again["solution_viewed_at"] == first["solution_viewed_at"]
    later = (now + timedelta(hours=1)).isoformat()
    assert refusal(student, task, solution_viewed_at=later) == (422, ["solution_viewed_at"])
    done = patched(student, task, is_correct=True, actual_time_seconds=9)
    assert done["solution_viewed_at"] == first["solution_viewed_at"]
    assert refusal(student, task, solution_viewed_at=task["created_at"])[0] == 409
    assert patched(student, task, solution_viewed_at=first["solution_viewed_at"])["is_correct"] is True


def test_an_open_task_gets_another_topic_and_is_predicted_again(student: Api) -> None:
    task = create(student)
    edited = patched(student, task, subject="History", topic="Rome", difficulty="expert")
    assert (edited["subject"], edited["topic"], edited["difficulty_numeric"]) == ("History", "Rome", 4)
    assert student.get("/practice-tasks?topic=rome").json == [edited]
    patched(student, task, is_correct=True, actual_time_seconds=9)
    assert refusal(student, task, topic="Greece") == (
        409,
        ["Subject, topic, difficulty and item of a completed task cannot be changed"],
    )
    assert patched(student, task, topic="Rome")["topic"] == "Rome"


def test_another_topic_is_predicted_by_the_champion_of_now(student: Api, world: World) -> None:
    files = {name: body for name, body in version_files().items() if name != "metadata.json"}
    world.registry.write_version("default", "v1", files, {})
    world.registry.write_champion("default", Champion("v1", None, "2026-01-31T00:00:00+00:00", None), None)
    task = create(student, difficulty="easy")
    edited = patched(student, task, topic="topic 0", difficulty="expert")
    asked = student.get("/predictions?topic=topic%200&difficulty=expert").json
    assert edited["predicted_correct"] == pytest.approx(asked["predicted_correct"], abs=1e-3)
    assert edited["predicted_correct"] != task["predicted_correct"]


@pytest.mark.parametrize(
    "body", [{"foo": 1}, {"predicted_correct": 0.9}, {"user_id": "x"}, {"created_at": "2020-01-01T00:00:00Z"}]
)
def test_a_field_that_cannot_be_changed_is_refused_by_name(student: Api, body: dict[str, Any]) -> None:
    assert refusal(student, create(student), **body) == (422, list(body))


def test_a_whole_task_can_be_sent_back(student: Api) -> None:
    task = create(student)
    done = patched(student, task, **{**task, "is_correct": False, "actual_time_seconds": 5, "completed": True})
    assert (done["is_correct"], done["predicted_correct"]) == (False, task["predicted_correct"])
    done.pop("training")
    assert patched(student, task, **done)["updated_at"] == done["updated_at"]


def test_a_read_only_field_may_hold_anything_json_can(student: Api) -> None:
    task = create(student)
    for raw in (b'{"id": 1e999}', b'{"user_id": {"a": [1]}}', b'{"model_version": "\\u0000"}', b'{"created_at": -1}'):
        assert student.call("PATCH", f"/practice-tasks/{task['id']}", raw=raw).status == 422, raw


@pytest.mark.parametrize("seconds", [5e-324, 0.0009, -0.0001])
def test_a_time_below_a_millisecond_is_refused(student: Api, seconds: float) -> None:
    task = create(student)
    assert refusal(student, task, is_correct=True, actual_time_seconds=seconds) == (422, ["actual_time_seconds"])
    assert patched(student, task, is_correct=True, actual_time_seconds=0.001)["actual_time_seconds"] == 0.001


def test_an_offline_client_says_when_a_task_was_completed(student: Api) -> None:
    first, second = create(student), create(student)
    patched(student, second, is_correct=True, actual_time_seconds=5)
    at = first["created_at"].replace("Z", "+00:00")
    done = patched(student, first, is_correct=False, actual_time_seconds=5, completed_at=at)
    assert abs(moment(done["completed_at"]) - moment(at)) <= timedelta(microseconds=1)
    assert done["training"]["counter"] == 2
    later = datetime.now(UTC).isoformat()
    assert moment(patched(student, first, completed_at=later)["completed_at"]) > moment(done["completed_at"])


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize("days", [-1, 1])
def test_a_completion_is_between_creation_and_now(student: Api, days: int) -> None:
    task = create(student)
    at = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    assert refusal(student, task, is_correct=True, actual_time_seconds=5, completed_at=at) == (422, ["completed_at"])
    assert refusal(student, task, completed_at="yesterday") == (422, ["completed_at"])
    assert refusal(student, task, completed_at=task["created_at"]) == (422, ["is_correct", "actual_time_seconds"])


def test_a_request_with_a_key_can_be_sent_again(student: Api, other: Api) -> None:
    headers = {"Idempotency-Key": "7f3a"}
    first = student.call("POST", "/practice-tasks", TASK, headers=headers)
    again = student.call("POST", "/practice-tasks", TASK, headers=headers)
    assert (again.status, again.json) == (201, first.json)
    assert len(student.get("/practice-tasks").json) == 1
    changed = student.call("POST", "/practice-tasks", {**TASK, "topic": "Other"}, headers=headers)
    assert (changed.status, changed.json["detail"][0]["loc"]) == (422, ["header", "Idempotency-Key"])
    assert other.call("POST", "/practice-tasks", TASK, headers=headers).json["id"] != first.json["id"]
    assert student.call("POST", "/practice-tasks", TASK, headers={"Idempotency-Key": "x" * 256}).status == 422


def test_a_list_of_long_texts_is_sent_in_parts(student: Api) -> None:
    text = "x" * 100_000
    ids = [create(student, task_content=text, solution_content=text, answer_content=text)["id"] for _ in range(16)]
    path, seen = "/practice-tasks", []
    while path:
        page = student.get(path)
        assert len(page.body.encode()) < 4_100_000
        seen += [task["id"] for task in page.json]
        link = page.headers.get("link", "")
        path = urljoin("/practice-tasks", link.partition(">")[0].removeprefix("<")) if link else ""
    assert seen == ids[::-1]
    assert student.post("/practice-tasks", {**TASK, "task_content": "x" * 100_001}).status == 422


def test_the_next_page_is_found_from_an_address_with_a_slash(student: Api) -> None:
    ids = [create(student)["id"] for _ in range(2)]
    page = student.get("/practice-tasks/?limit=1")
    link = page.headers["link"].partition(">")[0].removeprefix("<")
    assert [task["id"] for task in student.get(urljoin("/practice-tasks/?limit=1", link)).json] == ids[:1]


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip"])
def test_an_encoded_body_is_refused_by_name(student: Api, encoding: str) -> None:
    answer = student.call("POST", "/practice-tasks", TASK, headers={"Content-Encoding": encoding})
    assert answer.status == 415
    assert encoding in answer.json["detail"]
    assert student.call("POST", "/practice-tasks", TASK, headers={"Content-Encoding": "identity"}).status == 201


def test_subjects_and_topics_have_one_key_each(world: World, student: Api) -> None:
    for topic in (
        "Linear equations",
        "Linear  equations",
        "Linear\u00a0equations",
        "LINEAR\u200b equations",
        "\uff2cinear equations",
    ):
        create(student, topic=topic)
    create(student, topic="Ma\u00dfe")
    create(student, topic="Masse")
    assert len(student.get("/practice-tasks?topic=linear%20equations").json) == 5
    assert len(student.get("/practice-tasks?topic=masse").json) == 1
