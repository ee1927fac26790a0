"""The registry is away, damaged or moved: serving goes on, and the next training repairs what was broken."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chalicelib.services import versions
from chalicelib.services.champion import RETRY_SECONDS
from tests.support.faults.world import MARKS, World
from tests.support.waiting import wait_for

pytestmark = MARKS


@pytest.fixture
def trained(world: World) -> World:
    """A backend with a champion, which the API has loaded."""
    world.complete(10)
    world.work_until_idle()
    assert world.predict() == ("embedding", world.champion)
    return world


def test_s3_is_down_at_a_cold_start(trained: World) -> None:
    trained.cold_start()
    trained.api_aws.down("GET .*/models/")
    assert trained.predict() == ("default", None)
    task = trained.create()
    assert trained.answer(task["id"]).status == 200
    trained.api_aws.rules.clear()
    wait_for(lambda: trained.predict()[0] == "embedding", RETRY_SECONDS * 12, "the champion")
    trained.check()


def test_s3_is_down_at_a_refresh(trained: World) -> None:
    first = trained.champion
    trained.complete(5)
    trained.work_until_idle()
    (second,) = set(trained.container.registry.list_versions(trained.cohort)) - {first}
    trained.api_aws.down("GET .*/models/")
    # The pointer may have stayed; an operator's move makes sure that there is something to notice.
    other = second if trained.champion == first else str(first)
    trained.move_by_hand(other)
    assert trained.predict() == ("embedding", first)
    trained.api_aws.rules.clear()
    wait_for(lambda: trained.predict() == ("embedding", other), RETRY_SECONDS * 12, "the newer champion")
    trained.check()


def truncated(body: bytes) -> bytes:
    return body[: len(body) // 2]


def flipped(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def damaged(name: str, damage: Callable[[bytes], bytes]) -> Callable[[World], None]:
    """Something that damages a file of the champion."""
    return lambda world: world.put(world.key(name), damage(world.read(world.key(name))))


def missing(name: str) -> Callable[[World], None]:
    return lambda world: world.s3.delete_object(Bucket=world.settings.registry_bucket, Key=world.key(name))


def swap_networks(world: World) -> None:
    keys = [world.key(name) for name in ("correctness_model.keras", "time_model.keras")]
    bodies = [world.read(key) for key in keys]
    for key, body in zip(keys, reversed(bodies), strict=True):
        world.put(key, body)


HARM: dict[str, Callable[[World], None]] = {
    "a truncated network": damaged("correctness_model.keras", truncated),
    "a flipped bit of a network": damaged("correctness_model.keras", flipped),
    "truncated parameters": damaged("lnirt.json", truncated),
    "a flipped bit of the parameters": damaged("lnirt.json", flipped),
    "two swapped files": swap_networks,
    "no time network": missing("time_model.keras"),
    "no metadata": missing("metadata.json"),
    "malformed metadata": damaged("metadata.json", lambda _: b'{"files": [1]}'),
    "a version that is gone": lambda world: world.container.registry.delete_version(world.cohort, str(world.champion)),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_harmed_champion_is_not_served_and_is_replaced(trained: World, harm: str) -> None:
    """A process that has the champion keeps it, a new one has defaults, and the next training is promoted."""
    old, findings = trained.champion, 2 if harm == "two swapped files" else 1
    HARM[harm](trained)
    assert trained.predict() == ("embedding", old)
    trained.cold_start()
    assert trained.predict() == ("default", None)
    assert trained.answer(trained.create()["id"], True, 0.0).status == 200
    trained.check(*["champion-damaged"] * findings)
    trained.complete(4)
    trained.work_until_idle()
    assert trained.champion != old
    trained.cold_start()
    assert trained.predict() == ("embedding", trained.champion)
    # The damaged version is the predecessor now, kept for a rollback, which would refuse it.
    trained.check(*["past-champion-damaged"] * findings)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"version": "../x", "promoted_at": ""}', b""])
def test_a_malformed_pointer(trained: World, content: bytes) -> None:
    old = trained.champion
    trained.put(f"models/{trained.cohort}/champion.json", content)
    assert trained.predict() == ("embedding", old)
    trained.cold_start()
    assert trained.predict() == ("default", None)
    trained.check("pointer-malformed")
    trained.complete(5)
    trained.work_until_idle()
    trained.cold_start()
    assert trained.predict() == ("embedding", trained.champion)
    trained.check()


def test_a_wrong_byte_on_the_way_to_s3_is_refused_there(world: World) -> None:
    world.complete(10)
    world.worker_aws.at("PUT .*/time_model.keras", spoil=flipped)
    assert "Expected checksum" in world.work()
    assert world.champion is None
    world.work_until_idle()
    assert world.predict() == ("embedding", world.champion)
    world.check()


def test_a_wrong_byte_in_s3_is_found_before_the_pointer_moves(world: World) -> None:
    world.complete(10)
    version = world.version_in_the_making()
    key = world.key("time_model.keras", version)
    world.worker_aws.at("PUT .*/metadata.json", act=lambda: world.put(key, flipped(world.read(key))))
    assert f"time_model.keras of version {version} is damaged" in world.work()
    assert world.champion is None
    world.work_until_idle()
    assert world.predict() == ("embedding", version)
    world.check()


def test_the_pointer_is_moved_by_an_operator_at_the_moment_of_a_publish(trained: World) -> None:
    first = trained.champion
    assert first is not None
    trained.complete(5)

    def pin() -> None:
        versions.pin(trained.container.registry, trained.container.tracker, trained.cohort, first)
        trained.ledger.moves_by_hand[first] += 1

    conflict = trained.worker_aws.at("PUT .*/champion.json", act=pin)
    trained.work_until_idle()
    if conflict.met.is_set():
        assert "was moved meanwhile" in trained.said()
        assert trained.champion == first
    trained.check()


def test_a_pruning_that_dies_leaves_no_half_version(trained: World) -> None:
    old = trained.champion
    assert old is not None
    files = trained.container.registry.read_version(trained.cohort, old)
    files.pop("metadata.json")
    worker_s3 = trained.container.registry
    worker_s3.write_version(trained.cohort, "20200101T000000Z-00000000", files, {})
    trained.api_aws.at("DELETE .*/20200101T000000Z-00000000/correctness", cut=True, times=2)
    with pytest.raises(Exception, match="failed"):
        versions.prune(worker_s3, trained.cohort, 1)
    assert trained.container.registry.list_versions(trained.cohort) == [old]
    trained.check()
