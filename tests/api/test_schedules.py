"""What AWS calls by a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest
from chalice.test import Client

from app import app
from chalicelib import wiring
from chalicelib.domain.errors import DatasetError
from chalicelib.domain.service_accounts import ServiceAction
from chalicelib.services.versions import successor
from chalicelib.storage import dataset_store
from infra.local import schedules
from tests.support.api import World

pytestmark = pytest.mark.slow


@pytest.fixture
def world(world: World, aws: Mapping[str, str]) -> World:
    """The fakes, with a real bucket for the copies of answers."""
    world.settings["REGISTRY_BUCKET"] = aws["REGISTRY_BUCKET"]
    wiring.install(world.container())
    return world


def prune_models() -> None:
    """Call the function as EventBridge does."""
    with Client(app) as client:
        client.lambda_.invoke("prune_models", client.events.generate_cw_event("aws.events", "", {}, []))


def test_the_schedule_deletes_versions_beyond_the_retention(world: World) -> None:
    versions = [f"2026010{day}T000000Z-00000000" for day in range(1, 10)] + ["20260110T000000Z-00000000"]
    for version in [*versions, "20260111T000000Z-00000000", "20260112T000000Z-00000000"]:
        world.registry.write_version("default", version, {"lnirt.json": b"{}"}, {})
    world.registry.write_champion("default", successor(None, versions[0], None), None)
    prune_models()
    left = world.registry.list_versions("default")
    assert len(left) == 11
    assert versions[0] in left
    assert versions[1] not in left


def test_the_schedule_deletes_the_files_of_died_trainings(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    store = wiring.current().datasets
    abandoned = store.write("default", b"", rows=0, students=0, fingerprint="")
    prune_models()
    assert store.read("default", abandoned) == b"", "a file of a training that runs was deleted"
    monkeypatch.setattr(dataset_store, "ABANDONED_AFTER", -timedelta(minutes=1))
    prune_models()
    with pytest.raises(DatasetError, match="lost"):
        store.read("default", abandoned)


def test_one_machine_forgets_what_aws_does(world: World) -> None:
    world.database.counts["per_hour", "ada"] = (world.database.moment() - timedelta(days=2), 3)
    world.database.service_actions.append(ServiceAction("a", "ssk_", "GET /export", None, 200, None))
    for name, _, work in schedules.SCHEDULES:
        if name in ("prune limits", "prune records"):
            work(wiring.current())
    assert world.database.counts == {}
    assert world.database.service_actions == []
