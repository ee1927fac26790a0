"""PATCH: completing, repeating and correcting a task, and the trigger of a training."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.support.api import DONE, TASK_FIELDS, Api, World, create


def complete(api: Api, **result: Any) -> Any:
    task = create(api)
    return api.patch(f"/practice-tasks/{task['id']}", {**DONE, **result}).json


def counter(api: Api) -> int:
    return int(api.get("/model/status").json["counter"])


def test_a_result_completes_the_task_and_tells_the_counter(student: Api) -> None:
    task = complete(student)
    assert list(task) == [*TASK_FIELDS, "training"]
    assert (task["completed"], task["is_correct"], task["actual_time_seconds"]) == (True, True, 42)
    assert task["completed_at"].endswith("Z")
    assert task["training"] == {"counter": 1, "threshold": 5, "queued": False}


@pytest.mark.parametrize("completed", [{}, {"completed": True}, {"completed": None}])
def test_completed_may_be_sent_along_or_not(student: Api, completed: dict[str, Any]) -> None:
    assert complete(student, **completed)["completed"] is True


@pytest.mark.parametrize(("sent", "shown"), [(0, "0"), (86400, "86400"), (12.0, "12"), (12.5, "12.5")])
def test_seconds_are_kept_and_whole_ones_are_integers(student: Api, sent: float, shown: str) -> None:
    task = create(student)
    answer = student.patch(f"/practice-tasks/{task['id']}", {**DONE, "actual_time_seconds": sent})
    assert f'"actual_time_seconds":{shown},' in answer.body


def test_the_same_completion_again_counts_once_and_changes_nothing(student: Api) -> None:
    first = complete(student)
    again = student.patch(f"/practice-tasks/{first['id']}", DONE).json
    assert counter(student) == 1
    assert {**again, "training": None} == {**first, "training": None}


def test_a_different_result_is_a_correction_and_does_not_count(student: Api) -> None:
    first = complete(student)
    corrected = student.patch(f"/practice-tasks/{first['id']}", {"is_correct": False, "actual_time_seconds": 7}).json
    assert (corrected["is_correct"], corrected["actual_time_seconds"]) == (False, 7)
    assert corrected["completed_at"] == first["completed_at"]
    assert counter(student) == 1


def test_an_empty_patch_changes_nothing(student: Api) -> None:
    task = create(student)
    answer = student.patch(f"/practice-tasks/{task['id']}", {})
    assert (answer.status, answer.json) == (200, task)


def test_a_study_session_alone_does_not_complete(student: Api) -> None:
    task, session = create(student), str(uuid.uuid4())
    answer = student.patch(f"/practice-tasks/{task['id']}", {"study_session_id": session}).json
    assert (answer["study_session_id"], answer["completed"]) == (session, False)
    assert "training" not in answer


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        ({"is_correct": True}, ["actual_time_seconds"]),
        ({"actual_time_seconds": 5}, ["is_correct"]),
        ({"completed": True}, ["is_correct", "actual_time_seconds"]),
    ],
)
def test_half_a_result_completes_nothing(student: Api, body: object, missing: list[str]) -> None:
    task = create(student)
    answer = student.patch(f"/practice-tasks/{task['id']}", body)
    assert answer.status == 422
    assert [fault["loc"] for fault in answer.json["detail"]] == [["body", name] for name in missing]
    assert student.get(f"/practice-tasks/{task['id']}").json == task


@pytest.mark.parametrize(
    ("body", "field", "kind"),
    [
        ({"actual_time_seconds": -1}, "actual_time_seconds", "greater_than_equal"),
        ({"actual_time_seconds": 86401}, "actual_time_seconds", "less_than_equal"),
        ({"actual_time_seconds": 10**400}, "actual_time_seconds", "less_than_equal"),
        ({"actual_time_seconds": "5"}, "actual_time_seconds", "float_type"),
        ({"actual_time_seconds": True}, "actual_time_seconds", "float_type"),
        ({"is_correct": 1}, "is_correct", "bool_type"),
        ({"is_correct": "true"}, "is_correct", "bool_type"),
        ({"completed": "yes"}, "completed", "bool_type"),
        ({"study_session_id": "first"}, "study_session_id", "uuid_parsing"),
        ({"study_session_id": 5}, "study_session_id", "uuid_parsing"),
    ],
)
def test_a_faulty_result_names_its_field(student: Api, body: dict[str, Any], field: str, kind: str) -> None:
    task = create(student)
    answer = student.patch(f"/practice-tasks/{task['id']}", {**DONE, **body})
    assert answer.status == 422
    assert [(fault["loc"], fault["type"]) for fault in answer.json["detail"]] == [(["body", field], kind)]
    assert counter(student) == 0


def test_the_fifth_completion_queues_one_training(student: Api, world: World) -> None:
    notes = [complete(student)["training"] for _ in range(6)]
    assert [note["counter"] for note in notes] == [1, 2, 3, 4, 5, 6]
    assert [note["queued"] for note in notes][:5] == [False, False, False, False, True]
    assert len(world.queue.messages) == 1
    assert student.get("/model/status").json["training"] == "queued"


def test_a_completion_succeeds_while_the_queue_is_away(student: Api, world: World) -> None:
    world.queue.available = False
    assert [complete(student)["training"]["counter"] for _ in range(5)] == [1, 2, 3, 4, 5]


def test_the_schedule_sends_what_was_not_sent(student: Api, world: World) -> None:
    from datetime import UTC, datetime, timedelta

    from chalice.test import Client

    from app import app

    world.queue.available = False
    for _ in range(5):
        complete(student)
    world.queue.available = True
    world.database.change_tracker("default", training_requested_at=datetime.now(UTC) - timedelta(minutes=2))
    with Client(app) as client:
        client.lambda_.invoke("sweep_training_requests", client.events.generate_cw_event("aws.events", "", {}, []))
    assert len(world.queue.messages) == 1


def test_a_result_that_says_it_is_none_is_refused_by_the_field(student: Api) -> None:
    task_id = create(student)["id"]
    body = {"completed": False, "is_correct": True, "actual_time_seconds": 3}
    answer = student.patch(f"/practice-tasks/{task_id}", body)
    assert answer.status == 422
    assert [fault["loc"] for fault in answer.json["detail"]] == [["body", "completed"]]
    assert not student.get(f"/practice-tasks/{task_id}").json["completed"]
