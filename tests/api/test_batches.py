"""Predictions of many learners in one request."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest

from chalicelib.domain.items import key_of_id
from chalicelib.features.item_effects import ItemTable
from tests.support.api import DONE, Api, World, create
from tests.support.archives import publish

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
    learners = [id_of(student), id_of(other), "unknown"]
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
