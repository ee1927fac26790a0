"""Items: the name of an exercise, and tasks with the same text."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from uuid import UUID

import numpy as np
import pytest

from chalicelib.domain.items import item_key, key_of_id
from chalicelib.domain.tasks import Difficulty
from chalicelib.features.item_effects import ItemTable
from chalicelib.features.items import ItemRecord
from tests.support.api import DONE, TASK, Api, World, create
from tests.support.archives import publish


def test_an_item_id_is_returned_as_sent(student: Api) -> None:
    task = create(student, item_id=" Q-17 ")
    assert task["item_id"] == " Q-17 "
    assert create(student)["item_id"] is None
    assert student.get(f"/practice-tasks/{task['id']}").json["item_id"] == " Q-17 "
    assert [one["item_id"] for one in student.get("/practice-tasks").json] == [None, " Q-17 "]
    assert student.patch(f"/practice-tasks/{task['id']}", DONE).json["item_id"] == " Q-17 "


@pytest.mark.parametrize("bad", ["", " ", "\u200b", "x" * 201, 17])
def test_a_bad_item_id_is_named(student: Api, bad: Any) -> None:
    task = create(student)
    answers = [
        student.post("/practice-tasks", {**TASK, "item_id": bad}),
        student.patch(f"/practice-tasks/{task['id']}", {"item_id": bad}),
    ]
    for answer in answers:
        assert (answer.status, [fault["loc"] for fault in answer.json["detail"]]) == (422, [["body", "item_id"]])


def test_the_item_of_an_open_task_can_be_changed(student: Api) -> None:
    task = create(student)
    path = f"/practice-tasks/{task['id']}"
    assert student.patch(path, {"item_id": "q-1"}).json["item_id"] == "q-1"
    assert student.patch(path, {"item_id": None}).json["item_id"] == "q-1"
    assert student.patch(path, DONE).status == 200
    assert student.patch(path, {"item_id": "q-1"}).status == 200
    assert student.patch(path, {"item_id": "q-2"}).status == 409


def test_what_is_known_of_an_item_moves_its_predictions(student: Api, world: World) -> None:
    keys = sorted((key_of_id(name), name) for name in ("easy", "hard"))
    effects = np.array([2.0 if name == "easy" else -2.0 for _, name in keys])
    items = ItemTable(np.array([key for key, _ in keys]), effects, -0.5 * effects)
    publish(world.registry, "v1", items=items)
    easy, plain, hard = (create(student, topic="topic 1", item_id=name) for name in ("easy", "other", "hard"))
    chances = [task["predicted_correct"] for task in (easy, plain, hard)]
    assert chances == sorted(chances, reverse=True)
    assert len(set(chances)) == 3
    assert easy["predicted_time_seconds"] < hard["predicted_time_seconds"]
    changed = student.patch(f"/practice-tasks/{plain['id']}", {"item_id": "hard"}).json
    assert changed["predicted_correct"] == hard["predicted_correct"]
    query = f"subject={quote(easy['subject'])}&topic=topic+1&difficulty=medium&item_id=easy"
    asked = student.get(f"/predictions?{query}").json
    assert asked["predicted_correct"] == easy["predicted_correct"]
    assert "item" in [influence["group"] for influence in asked["explanation"]]


def record(world: World, api: Api, key: int | None) -> ItemRecord:
    user_id = str(UUID(api.get("/auth/me").json["id"]))
    return world.container().tasks.prediction_context(user_id, key).item


def test_tasks_with_the_same_text_are_one_item(student: Api, world: World) -> None:
    for text in (TASK["task_content"], f" {TASK['task_content'].upper()}\u200b "):
        assert student.patch(f"/practice-tasks/{create(student, task_content=text)['id']}", DONE).status == 200
    create(student)
    key = item_key(TASK["subject"], TASK["topic"], Difficulty.MEDIUM, TASK["task_content"], None)
    found = record(world, student, key)
    assert (found.key, found.attempts, found.correct, found.last_correct, found.last_index) == (key, 2, 2, True, 1)
    assert record(world, student, None) == ItemRecord()


def test_an_edited_text_is_another_item(student: Api, world: World) -> None:
    task = create(student)
    path = f"/practice-tasks/{task['id']}"
    assert student.patch(path, {"task_content": "2 + 2 = ?"}).status == 200
    assert student.patch(path, DONE).status == 200
    assert student.patch(path, {"task_content": "3 + 3 = ?"}).status == 200
    keys = [item_key("Mathematics", "Fractions", Difficulty.MEDIUM, f"{n} + {n} = ?", None) for n in (2, 3)]
    assert [record(world, student, key).attempts for key in keys] == [0, 1]


def test_a_prediction_may_name_an_item(student: Api, world: World) -> None:
    task = create(student, item_id="q-1")
    assert student.patch(f"/practice-tasks/{task['id']}", {**DONE, "is_correct": False}).status == 200
    assert student.get("/predictions?topic=Fractions&difficulty=easy&item_id=Q-1").status == 200
    answer = student.get("/predictions?topic=Fractions&difficulty=easy&item_id=%20")
    assert (answer.status, answer.json["detail"][0]["loc"]) == (422, ["query", "item_id"])
    assert record(world, student, key_of_id("q-1")).correct == 0


def test_the_export_has_the_items(student: Api) -> None:
    student.patch(f"/practice-tasks/{create(student, item_id='q-1')['id']}", DONE)
    header, line, *_ = student.get("/export").body.splitlines()
    assert line.split(",")[header.split(",").index("item_id")] == "q-1"
