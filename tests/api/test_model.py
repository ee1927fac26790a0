"""The model's status, and what admins do with its training."""

from __future__ import annotations

import math

import pytest

from tests.support.api import TASK, Api, World
from tests.support.archives import publish


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
        "minimum_samples": 5,
        "last_training_seconds": None,
        "training_failures": 0,
        "next_training_at": None,
        "wait_reason": None,
    }


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/model/train", None),
        ("/model/counter", {"value": 3}),
        ("/model/rollback", {"version": "v1"}),
        ("/model/pin", {"version": "v1"}),
        ("/model/unpin", None),
    ],
)
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


def test_only_admins_list_the_versions(student: Api) -> None:
    assert student.get("/model/versions").status == 403


def test_the_versions_are_listed_newest_first_with_what_they_are(admin: Api, world: World) -> None:
    assert admin.get("/model/versions").json == {
        "champion": None,
        "promoted_at": None,
        "pinned": False,
        "fault": None,
        "versions": [],
        "total": 0,
    }
    publish(world.registry, "v1")
    publish(world.registry, "v2")
    world.registry.write_version("default", "v3", {"a": b"xy"}, {"promotion": {"promoted": False, "reason": "worse"}})
    found = admin.get("/model/versions").json
    assert (found["champion"], found["pinned"]) == ("v2", False)
    assert [(each["version"], each["role"]) for each in found["versions"]] == [
        ("v3", "other"),
        ("v2", "champion"),
        ("v1", "previous"),
    ]
    assert found["versions"][2]["until"] == found["versions"][1]["from"]
    assert found["versions"][0] == {
        "from": None,
        "until": None,
        "version": "v3",
        "role": "other",
        "trained_at": None,
        "n_samples": None,
        "size_bytes": 2,
        "promoted": False,
        "reason": "worse",
        "trained_seconds": None,
        "training_reason": None,
        "metrics": None,
        "served_n": 0,
        "served_log_loss": None,
        "fault": None,
    }
    assert found["versions"][1]["n_samples"] == 10


def test_the_versions_are_listed_page_by_page(admin: Api, world: World) -> None:
    for n in range(5):
        publish(world.registry, f"v{n}")
    address, seen = "/model/versions?limit=2", []
    while address:
        page = admin.get(address)
        seen += [version["version"] for version in page.json["versions"]]
        assert (page.json["total"], page.json["champion"]) == (5, "v4")
        link = page.headers.get("link", "")
        address = f"/model/{link[1 : link.index('>')]}" if link else ""
    assert seen == ["v4", "v3", "v2", "v1", "v0"]
    assert admin.get("/model/versions?limit=0").status == 422


def test_a_malformed_pointer_still_lets_the_versions_be_listed(admin: Api, world: World) -> None:
    publish(world.registry, "v1")
    world.registry.damage_pointer("default")
    found = admin.get("/model/versions").json
    assert found["fault"] == "champion.json is malformed"
    assert [each["version"] for each in found["versions"]] == ["v1"]


def test_after_a_rollback_the_next_task_is_predicted_by_the_older_version(
    admin: Api, student: Api, world: World
) -> None:
    publish(world.registry, "v1")
    publish(world.registry, "v2")
    body = {**TASK, "topic": "topic 0"}
    assert student.post("/practice-tasks", body).json["model_version"] == "v2"
    answer = admin.post("/model/rollback", {"version": "v1"}).json
    assert (answer["model_version"], answer["next_training_may_replace"]) == ("v1", True)
    assert student.post("/practice-tasks", body).json["model_version"] == "v1"
    assert admin.post("/model/rollback", {"version": "v1"}).status == 200


@pytest.mark.parametrize("version", ["v9", "../v1", "a/b"])
def test_a_rollback_to_what_is_not_there_is_404_and_moves_nothing(admin: Api, world: World, version: str) -> None:
    publish(world.registry, "v1")
    before = world.registry.read_champion("default")
    answer = admin.post("/model/rollback", {"version": version})
    assert (answer.status, answer.json["detail"]) == (
        404,
        f"version {version} is not in the registry of the cohort default",
    )
    assert world.registry.read_champion("default") == before


def test_a_rollback_to_a_damaged_version_is_409_and_moves_nothing(admin: Api, world: World) -> None:
    publish(world.registry, "v1")
    publish(world.registry, "v2")
    before = world.registry.read_champion("default")
    world.registry.damage("default", "v1", "lnirt.json", b"{}")
    answer = admin.post("/model/rollback", {"version": "v1"})
    assert answer.status == 409
    assert "lnirt.json of version v1 is damaged" in answer.json["detail"]
    assert world.registry.read_champion("default") == before


@pytest.mark.parametrize("body", [{}, {"version": ""}, {"version": 3}, {"version": "v" * 201}])
def test_a_rollback_names_a_version(admin: Api, body: object) -> None:
    assert admin.post("/model/rollback", body).status == 422


def test_a_rollback_is_503_while_the_registry_is_away(admin: Api, world: World) -> None:
    world.registry.available = False
    assert admin.post("/model/rollback", {"version": "v1"}).status == 503
    assert admin.get("/model/versions").status == 503


def test_a_version_tells_what_was_measured_and_why_it_was_trained(admin: Api, world: World) -> None:
    validation = {"n": 136, "auc": 0.81, "ece": math.nan, "note": "text", "timed": True}
    metadata = {"validation": validation, "trained_seconds": 6, "reason": "threshold"}
    world.registry.write_version("default", "v1", {"a": b"xy"}, metadata)
    (version,) = admin.get("/model/versions").json["versions"]
    assert version["metrics"] == {"n": 136, "auc": 0.81}
    assert (version["trained_seconds"], version["training_reason"]) == (6, "threshold")


def test_pinning_lets_a_version_serve_and_keeps_it_until_it_is_unpinned(admin: Api, student: Api, world: World) -> None:
    publish(world.registry, "v1")
    publish(world.registry, "v2")
    pinned = admin.post("/model/pin", {"version": "v1"})
    assert (pinned.status, pinned.json["champion"], pinned.json["pinned"]) == (200, "v1", True)
    assert admin.get("/model/versions").json["pinned"] is True
    assert student.post("/practice-tasks", {**TASK, "topic": "topic 0"}).json["model_version"] == "v1"
    unpinned = admin.post("/model/unpin").json
    assert (unpinned["champion"], unpinned["pinned"]) == ("v1", False)
    assert unpinned["promoted_at"] == pinned.json["promoted_at"]
    assert admin.post("/model/unpin").status == 200


def test_there_is_nothing_to_unpin_before_the_first_version(admin: Api) -> None:
    answer = admin.post("/model/unpin")
    assert (answer.status, answer.json["detail"]) == (404, "there is no champion to unpin")


def test_a_damaged_version_cannot_be_pinned(admin: Api, world: World) -> None:
    publish(world.registry, "v1")
    world.registry.damage("default", "v1", "lnirt.json", b"{}")
    assert admin.post("/model/pin", {"version": "v1"}).status == 409
    assert admin.post("/model/pin", {"version": "v9"}).status == 404
    assert admin.post("/model/pin", {}).status == 422
    assert admin.get("/model/versions").json["pinned"] is False
