"""The model's status, and what admins do with its training."""

from __future__ import annotations

import pytest

from tests.api.conftest import Api, World


def test_the_status_has_every_field(student: Api) -> None:
    assert student.get("/model/status").json == {
        "counter": 0,
        "threshold": 5,
        "n_samples_total": 0,
        "n_samples_last_training": 0,
        "last_trained_at": None,
        "model_version": None,
        "training": "idle",
        "progress": None,
        "last_error": None,
    }


@pytest.mark.parametrize(("path", "body"), [("/model/train", None), ("/model/counter", {"value": 3})])
def test_only_admins_steer_the_training(student: Api, path: str, body: object) -> None:
    answer = student.post(path, body)
    assert answer.status == 403
    assert isinstance(answer.json["detail"], str)


def test_an_admin_can_force_one_training(admin: Api, world: World) -> None:
    answer = admin.post("/model/train")
    assert answer.status == 202
    assert answer.json["queued"] is True
    assert [message.request_id for message in world.queue.messages] == [answer.json["request_id"]]
    assert admin.get("/model/status").json["training"] == "queued"
    assert admin.post("/model/train").status == 409


def test_forcing_is_503_while_the_queue_is_away(admin: Api, world: World) -> None:
    world.queue.available = False
    assert admin.post("/model/train").status == 503


def test_an_admin_can_set_the_counter(admin: Api) -> None:
    assert admin.post("/model/counter", {"value": 4}).json["counter"] == 4
    assert admin.get("/model/status").json["counter"] == 4


@pytest.mark.parametrize("value", [-1, 1.5, "3", True, None, 10_000_000])
def test_a_counter_is_a_whole_number_from_0(admin: Api, value: object) -> None:
    assert admin.post("/model/counter", {"value": value}).status == 422
