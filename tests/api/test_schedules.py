"""What AWS calls by a schedule."""

from __future__ import annotations

from datetime import timedelta

from chalice.test import Client

from app import app
from chalicelib import wiring
from chalicelib.domain.service_accounts import ServiceAction
from chalicelib.services.versions import successor
from infra.local import schedules
from tests.support.api import World


def test_the_schedule_deletes_versions_beyond_the_retention(world: World) -> None:
    versions = [f"2026010{day}T000000Z-00000000" for day in range(1, 10)] + ["20260110T000000Z-00000000"]
    for version in [*versions, "20260111T000000Z-00000000", "20260112T000000Z-00000000"]:
        world.registry.write_version("default", version, {"lnirt.json": b"{}"}, {})
    world.registry.write_champion("default", successor(None, versions[0], None), None)
    with Client(app) as client:
        client.lambda_.invoke("prune_models", client.events.generate_cw_event("aws.events", "", {}, []))
    left = world.registry.list_versions("default")
    assert len(left) == 11
    assert versions[0] in left
    assert versions[1] not in left


def test_one_machine_forgets_what_aws_does(world: World) -> None:
    world.database.counts["per_hour", "ada"] = (world.database.moment() - timedelta(days=2), 3)
    world.database.service_actions.append(ServiceAction("a", "ssk_", "GET /export", None, 200, None))
    for name, _, work in schedules.SCHEDULES:
        if name in ("prune limits", "prune records"):
            work(wiring.current())
    assert world.database.counts == {}
    assert world.database.service_actions == []
