"""Batches: predictions and answers of many learners in one request."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest

from chalicelib import wiring
from chalicelib.domain.items import key_of_id
from chalicelib.domain.service_accounts import Scope
from chalicelib.features.item_effects import ItemTable
from tests.support.api import DONE, Api, World, create, sign_up
from tests.support.archives import publish
from tests.support.fakes.database import MemoryServiceStore

ASKED = {"subject": "", "topic": "topic 1", "difficulty": "medium"}
SHOWN = ["predicted_correct", "predicted_time_seconds", "prediction_source", "model_version"]


def id_of(api: Api) -> str:
    return str(api.get("/auth/me").json["id"])


def asked(topic: str = "topic 1", **more: Any) -> dict[str, Any]:
    return {"subject": "Maths", "topic": topic, "difficulty": "medium", **more}


def alone(api: Api, one: dict[str, Any], user_id: str) -> dict[str, Any]:
    query = {("user_id" if name == "learner_id" else name): value for name, value in one.items()}
    return api.get("/predictions?" + urlencode({**query, "user_id": user_id})).json  # type: ignore[no-any-return]


def practise(api: Api, *results: bool, topic: str = "topic 1", item: str | None = None) -> None:
    for result in results:
        task = create(api, subject="Maths", topic=topic, item_id=item)
        assert api.patch(f"/practice-tasks/{task['id']}", {**DONE, "is_correct": result}).status == 200


def test_a_batch_predicts_what_single_requests_do(student: Api, other: Api, admin: Api, world: World) -> None:
    keys = sorted(map(key_of_id, ("q-1", "q-2")))
    publish(world.registry, "v1", items=ItemTable(np.array(keys), np.array([1.0, -1.0]), np.array([0.1, -0.1])))
    practise(student, True, False, True, item="q-1")
    practise(student, False, topic="topic 2", item="q-2")
    practise(other, False, False, topic="topic 2")
    learners = [id_of(student), id_of(other), id_of(admin)]
    batch = [
        asked(topic, learner_id=learner, **({"item_id": item} if item else {}))
        for item in (None, "q-1", "q-2", "q-3")
        for learner in learners
        for topic in ("topic 1", "topic 2", "never seen")
    ]
    answer = admin.post("/predictions:batch", {"predictions": batch})
    assert answer.status == 200, answer.body
    found = answer.json["predictions"]
    assert len(found) == len(batch)
    assert len({one["predicted_correct"] for one in found}) > 10
    for one, sent in zip(found, batch, strict=True):
        single = alone(admin, sent, sent["learner_id"])
        assert {name: one[name] for name in sent} == sent
        assert one["predicted_correct"] == pytest.approx(single["predicted_correct"], abs=1e-5)
        assert one["predicted_time_seconds"] == pytest.approx(single["predicted_time_seconds"], abs=1)
        assert [one[name] for name in SHOWN[2:]] == [single[name] for name in SHOWN[2:]]


def test_an_admin_predicts_for_existing_accounts_only(student: Api, other: Api, admin: Api) -> None:
    deleted = id_of(other)
    assert other.post("/auth/delete-account", {"password": "correct horse"}).status == 200
    batch = [asked(learner_id=learner) for learner in (id_of(student), "nobody", deleted, "no one")]
    found = admin.post("/predictions:batch", {"predictions": batch})
    names = ", ".join(sorted(["nobody", deleted, "no one"]))
    assert (found.status, found.json["detail"]) == (404, f"There is no account {names} in the cohort default")


def test_without_a_learner_a_batch_is_for_the_caller(student: Api, world: World) -> None:
    publish(world.registry, "v1")
    practise(student, True, True, True)
    body = {"predictions": [asked(), {"topic": "topic 1", "difficulty": "easy"}, asked(learner_id=id_of(student))]}
    first, by_name, named = student.post("/predictions:batch", body).json["predictions"]
    assert first["predicted_correct"] == pytest.approx(alone(student, asked(), id_of(student))["predicted_correct"])
    assert (first["learner_id"], named["learner_id"]) == (None, id_of(student))
    assert named["predicted_correct"] == first["predicted_correct"]
    assert by_name["subject"] is None
    assert by_name["prediction_source"] == "embedding"


def test_a_student_may_not_ask_for_others(student: Api, other: Api) -> None:
    body = {"predictions": [asked(), asked(learner_id=id_of(other))]}
    assert student.post("/predictions:batch", body).status == 403


def test_each_fault_of_a_batch_is_named(student: Api) -> None:
    entries = [asked(), {"topic": "", "difficulty": "medium"}, 3, asked(difficulty="odd", learner_id="x" * 201)]
    answer = student.post("/predictions:batch", {"predictions": entries})
    assert answer.status == 422
    assert [(fault["loc"], fault["type"]) for fault in answer.json["detail"]] == [
        (["body", "predictions", 1, "topic"], "string_too_short"),
        (["body", "predictions", 2], "model_attributes_type"),
        (["body", "predictions", 3, "difficulty"], "enum"),
        (["body", "predictions", 3, "learner_id"], "string_too_long"),
    ]


@pytest.mark.parametrize(
    ("entries", "kind"), [([], "too_short"), ([ASKED] * 1_001, "too_long"), ({}, "list_type"), (None, "list_type")]
)
def test_a_batch_has_one_to_a_thousand_entries(student: Api, entries: Any, kind: str) -> None:
    answer = student.post("/predictions:batch", {"predictions": entries})
    assert (answer.status, [fault["type"] for fault in answer.json["detail"]]) == (422, [kind])
    assert answer.json["detail"][0]["loc"] == ["body", "predictions"]


def test_an_answer_names_at_most_a_hundred_faults(student: Api) -> None:
    answer = student.post("/predictions:batch", {"predictions": [{}] * 1_000})
    assert (answer.status, len(answer.json["detail"])) == (422, 100)


def answered(n: int = 1, **more: Any) -> dict[str, Any]:
    given = {"subject": "Maths", "topic": "topic 1", "difficulty": "medium", "is_correct": n % 2 == 0}
    return {"id": f"attempt-{n}", **given, "actual_time_seconds": 30 + n, **more}


def test_answers_are_stored_once_and_counted(student: Api, world: World) -> None:
    batch = {"answers": [answered(n) for n in range(4)]}
    first = student.post("/answers", batch)
    assert first.status == 200, first.body
    assert (first.json["stored"], [one["stored"] for one in first.json["answers"]]) == (4, [True] * 4)
    assert first.json["training"] == {"counter": 4, "threshold": 5, "queued": False}
    again = student.post("/answers", {"answers": [*batch["answers"], answered(4), answered(4)]}).json
    assert (again["stored"], [one["stored"] for one in again["answers"]]) == (1, [False] * 4 + [True, False])
    assert again["training"] == {"counter": 5, "threshold": 5, "queued": True}
    assert [one["task_id"] for one in again["answers"][:4]] == [one["task_id"] for one in first.json["answers"]]
    assert len(world.queue.messages) == 1
    assert student.post("/answers", batch).json["training"] == {"counter": 5, "threshold": 5, "queued": True}
    assert len(world.queue.messages) == 1


def test_a_stored_answer_is_a_task_that_can_be_corrected(student: Api) -> None:
    (one,) = student.post("/answers", {"answers": [answered(completed_at="2026-01-02T10:00:00Z")]}).json["answers"]
    path = f"/practice-tasks/{one['task_id']}"
    task = student.get(path).json
    assert (task["completed"], task["is_correct"], task["completed_at"]) == (True, False, "2026-01-02T10:00:00Z")
    assert task["task_content"] == "Imported answer"
    assert student.patch(path, {"is_correct": True}).json["is_correct"] is True
    assert student.get("/analytics/summary").json["completed"] == 1


def test_an_admin_stores_answers_of_many_learners(student: Api, other: Api, admin: Api) -> None:
    learners = [id_of(student), id_of(other), id_of(admin)]
    batch = [answered(n, learner_id=learner) for learner in learners for n in range(2)]
    found = admin.post("/answers", {"answers": batch})
    assert (found.status, found.json["stored"]) == (200, 6)
    assert [one["learner_id"] for one in found.json["answers"]] == [one["learner_id"] for one in batch]
    assert [len(api.get("/practice-tasks").json) for api in (student, other, admin)] == [2, 2, 2]


def test_an_admin_names_existing_accounts_only(student: Api, admin: Api, world: World) -> None:
    batch = [answered(1, learner_id=id_of(student)), answered(2, learner_id="no account")]
    found = admin.post("/answers", {"answers": batch})
    assert (found.status, found.json["detail"]) == (404, "There is no account no account")
    assert student.get("/practice-tasks").json == []
    assert "no account" not in world.database.users


def test_a_student_may_not_send_answers_of_others(student: Api, other: Api) -> None:
    batch = [answered(1), answered(2, learner_id=id_of(other))]
    assert student.post("/answers", {"answers": batch}).status == 403
    assert student.get("/practice-tasks").json == []


def test_answers_of_a_deleted_account_are_refused(other: Api, admin: Api) -> None:
    learner = id_of(other)
    assert other.post("/auth/delete-account", {"password": "correct horse"}).status == 200
    assert admin.post("/answers", {"answers": [answered(), answered(learner_id=learner)]}).status == 404
    assert admin.get("/practice-tasks").json == []


def test_impossible_times_of_answers_are_named(student: Api) -> None:
    batch = [
        answered(1, actual_time_seconds=0.0001),
        answered(2, completed_at="2999-01-01T00:00:00Z"),
        answered(3, completed_at="1980-01-01T00:00:00"),
        answered(4, actual_time_seconds=0, completed_at="1999-01-01T00:00:00+02:00"),
    ]
    found = student.post("/answers", {"answers": batch})
    assert found.status == 422
    assert [fault["loc"] for fault in found.json["detail"]] == [
        ["body", "answers", 0, "actual_time_seconds"],
        ["body", "answers", 1, "completed_at"],
        ["body", "answers", 2, "completed_at"],
    ]
    assert student.get("/practice-tasks").json == []


def test_answers_of_a_batch_count_towards_the_limit(world: World) -> None:
    world.settings |= {"COMPLETIONS_PER_HOUR": "10"}
    wiring.install(world.container())
    student = sign_up(world)
    assert student.post("/answers", {"answers": [answered(n) for n in range(10)]}).status == 200
    refused = student.post("/answers", {"answers": [answered(11)]})
    assert refused.status == 429
    assert "COMPLETIONS_PER_HOUR" in refused.json["detail"]


def test_answers_do_not_exceed_the_bounds_of_a_student(world: World) -> None:
    world.settings |= {"TOPICS": "3"}
    wiring.install(world.container())
    student = sign_up(world)
    assert student.post("/answers", {"answers": [answered(n, topic=f"topic {n}") for n in range(4)]}).status == 429
    assert student.post("/answers", {"answers": [answered(n, topic=f"topic {n}") for n in range(3)]}).status == 200
    assert student.post("/answers", {"answers": [answered(9, topic="topic 2")]}).status == 200
    assert student.post("/answers", {"answers": [answered(10, topic="topic 10")]}).status == 429


def service_of(world: World, *scopes: Scope) -> Api:
    return Api(MemoryServiceStore(world.database).create("app", *scopes))


def test_a_service_sends_answers_of_its_learners(world: World) -> None:
    app = service_of(world, Scope.ANSWERS, Scope.LEARNERS_READ)
    batch = [answered(n, learner_id=learner) for learner in ("ada@app", "eve") for n in range(2)]
    found = app.post("/answers", {"answers": batch})
    assert (found.status, found.json["stored"]) == (200, 4)
    assert app.post("/answers", {"answers": batch}).json["stored"] == 0
    listed = app.get("/practice-tasks", headers={"X-Learner-Id": "ada@app"})
    assert {task["id"] for task in listed.json} == {one["task_id"] for one in found.json["answers"][:2]}


def test_the_room_of_each_learner_is_checked(world: World) -> None:
    world.settings |= {"TOPICS": "2", "STORED_BYTES": "100"}
    wiring.install(world.container())
    app = service_of(world, Scope.ANSWERS, Scope.LEARNERS_READ)

    def send(*answers: dict[str, Any]) -> tuple[int, str]:
        found = app.post("/answers", {"answers": [answered(0, learner_id="ada"), *answers]})
        return found.status, str(found.json.get("detail", ""))

    topics = [answered(n, learner_id="eve", topic=f"topic {n}") for n in range(3)]
    assert send(*topics[:2]) == (200, "")
    assert send(*topics) == (429, "Learner eve: At most 2 topics may be practised (TOPICS)")
    long = [answered(n, learner_id="eve", task_content="x" * 40) for n in range(5, 8)]
    assert send(long[0]) == (200, "")
    status, text = send(*long)
    assert (status, text[:37]) == (429, "Learner eve: At most 100 bytes of tex")
    assert send(*topics[:2], long[0]) == (200, "")
    assert len(app.get("/practice-tasks", headers={"X-Learner-Id": "eve"}).json) == 3


def test_only_new_answers_of_a_valid_batch_are_counted(world: World) -> None:
    world.settings |= {"COMPLETIONS_PER_HOUR": "10"}
    wiring.install(world.container())
    app = service_of(world, Scope.ANSWERS)

    def send(learner: str, *numbers: int, **more: Any) -> Any:
        return app.post("/answers", {"answers": [answered(n, learner_id=learner, **more) for n in numbers]})

    assert send("ada", *range(10), completed_at="2999-01-01T00:00:00Z").status == 422
    for _ in range(3):
        assert send("ada", *range(6)).status == 200
    assert send("ada", *range(10)).status == 200
    refused = send("ada", 11)
    assert (refused.status, refused.json["detail"].partition(": ")[0]) == (429, "Learner ada")


def test_a_learner_who_has_to_wait_costs_others_nothing(world: World) -> None:
    world.settings |= {"COMPLETIONS_PER_HOUR": "10"}
    wiring.install(world.container())
    app = service_of(world, Scope.ANSWERS)
    eve = [answered(n, learner_id="eve") for n in range(11)]
    assert app.post("/answers", {"answers": eve}).status == 429
    for _ in range(3):
        ada = [answered(n, learner_id="ada") for n in range(10)]
        assert app.post("/answers", {"answers": [*ada, eve[0]]}).status == 429
    assert app.post("/answers", {"answers": ada}).status == 200


def test_a_service_names_the_learner_of_each_answer(world: World) -> None:
    app = service_of(world, Scope.ANSWERS)
    assert app.post("/answers", {"answers": [answered(1)]}).status == 422
    bad = app.post("/answers", {"answers": [answered(1, learner_id="ada"), answered(2, learner_id="two words")]})
    assert (bad.status, [one["loc"] for one in bad.json["detail"]]) == (422, [["body", "answers", 1, "learner_id"]])
    assert service_of(world, Scope.PREDICTIONS).post("/answers", {"answers": [answered(1)]}).status == 403
