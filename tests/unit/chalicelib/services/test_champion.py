"""The model in memory: loaded whole, replaced whole, kept when the registry fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chalicelib.config import Settings
from chalicelib.domain.training import Champion
from chalicelib.services.champion import RETRY_SECONDS, ChampionCache, in_thread
from chalicelib.services.training import at_once
from chalicelib.wiring import Container
from tests.support.archives import version_files
from tests.support.fakes.services import MemoryRegistry

REFRESH_SECONDS = 30.0


class Registry(MemoryRegistry):
    """Notes which threads read a version, and can be held while one does."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[str] = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()

    def read_version(self, cohort: str, version: str, names: Sequence[str] | None = None) -> dict[str, bytes]:
        self.readers.append(threading.current_thread().name)
        self.entered.set()
        assert self.open.wait(120)
        return super().read_version(cohort, version, names)

    def publish(self, version: str, named: str | None = None, **changed: bytes) -> None:
        """Write a version and make it the champion. Its metadata may name another one, and files may be changed."""
        files = {**version_files(version=version), **changed}
        del files["metadata.json"]
        self.write_version("default", version, files, {})
        self.annotate_version("default", version, {"version": named or version})
        found = self.read_champion("default")
        self.write_champion("default", Champion(version, None, "2026-01-01T00:00:00+00:00", None), found and found[1])


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def champion(registry: Registry, clock: Clock) -> ChampionCache:
    return ChampionCache(registry, "default", REFRESH_SECONDS, clock)


def version_of(champion: ChampionCache, expected: str | None = None) -> str | None:
    predictor = champion.current(expected)
    return predictor.version if predictor else None


def settled(ask: Callable[[], str | None]) -> str | None:
    """What is served once the threads that the question started have ended."""
    ask()
    for thread in threading.enumerate():
        if thread.name == "champion-refresh":
            thread.join(120)
    return ask()


def test_without_a_champion_there_is_no_model_and_the_first_one_is_noticed_by_its_version(
    champion: ChampionCache, registry: Registry
) -> None:
    assert version_of(champion) is None
    registry.publish("v1")
    assert version_of(champion) is None
    assert version_of(champion, "v1") == "v1"


def test_a_new_champion_serves_the_very_request_that_knows_of_it(champion: ChampionCache, registry: Registry) -> None:
    registry.publish("v1")
    assert version_of(champion) == "v1"
    registry.publish("v2")
    assert version_of(champion, "v1") == "v1"
    assert version_of(champion, "v2") == "v2"


def test_an_old_look_is_renewed_beside_the_request(champion: ChampionCache, registry: Registry, clock: Clock) -> None:
    registry.publish("v1")
    assert version_of(champion) == "v1"
    registry.publish("v2")
    registry.readers.clear()
    registry.open.clear()
    clock.now += REFRESH_SECONDS
    assert version_of(champion) == "v1"
    assert registry.entered.wait(120)
    registry.open.set()
    assert settled(lambda: version_of(champion)) == "v2"
    assert registry.readers == ["champion-refresh"]


def test_where_threads_are_frozen_the_request_itself_renews(registry: Registry, clock: Clock) -> None:
    champion = ChampionCache(registry, "default", REFRESH_SECONDS, clock, aside=at_once)
    registry.publish("v1")
    assert version_of(champion) == "v1"
    registry.publish("v2")
    registry.readers.clear()
    clock.now += REFRESH_SECONDS
    assert version_of(champion) == "v2"
    assert registry.readers == [threading.current_thread().name]


def test_only_a_process_that_stays_alive_uses_threads(registry: Registry) -> None:
    settings = Settings(
        database_url="postgresql://h/d",
        registry_bucket="b",
        training_queue_url="q",
        user_pool_id="p",
        user_pool_client_id="c",
        aws_region="r",
    )
    on_lambda, local = Container(settings, registry=registry), Container(settings, registry=registry)
    local.later = lambda work: work()
    assert (on_lambda.champion._aside, local.champion._aside) == (at_once, in_thread)


def test_an_unchanged_pointer_reads_no_files_again(champion: ChampionCache, registry: Registry, clock: Clock) -> None:
    registry.publish("v1")
    first = champion.current()
    clock.now += REFRESH_SECONDS
    assert settled(lambda: version_of(champion)) == "v1"
    assert champion.current() is first
    assert len(registry.readers) == 1


def test_others_are_served_the_old_model_while_one_request_fetches_the_new(
    champion: ChampionCache, registry: Registry
) -> None:
    registry.publish("v1")
    assert version_of(champion) == "v1"
    registry.publish("v2")
    registry.open.clear()
    registry.entered.clear()
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(version_of, champion, "v2")
        assert registry.entered.wait(120)
        assert version_of(champion, "v2") == "v1"
        registry.open.set()
        assert fetching.result(10) == "v2"
    assert version_of(champion) == "v2"


@pytest.mark.parametrize("expected", [None, "v1"], ids=["cold start", "the first model is known"])
def test_many_requests_at_once_load_the_model_once(
    champion: ChampionCache, registry: Registry, expected: str | None
) -> None:
    if expected:
        assert version_of(champion) is None
    registry.publish("v1")
    registry.open.clear()
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(version_of, champion, expected) for _ in range(8)]
        assert registry.entered.wait(120)
        registry.open.set()
        assert [one.result(10) for one in found] == ["v1"] * 8
    assert len(registry.readers) == 1


@pytest.mark.parametrize("name", ["correctness_model.keras", "lnirt.json", "vocabulary.json"])
def test_a_damaged_champion_leaves_the_model_in_memory(
    champion: ChampionCache, registry: Registry, clock: Clock, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    registry.publish("v1")
    assert version_of(champion) == "v1"
    registry.publish("v2")
    registry.damage("default", "v2", name, b"damaged")
    assert version_of(champion, "v2") == "v1"
    assert f"keeping v1: {name}" in caplog.text
    clock.now += RETRY_SECONDS
    assert settled(lambda: version_of(champion, "v2")) == "v1"
    registry.publish("v3")
    clock.now += RETRY_SECONDS
    assert settled(lambda: version_of(champion, "v3")) == "v3"


HOSTILE: dict[str, dict[str, Any]] = {
    "another version's name": {"named": "v3"},
    "absurd numbers": {"lnirt.json": version_files()["lnirt.json"].replace(b'_variance":0.4', b'_variance":1e300')},
    "deep nesting": {"vocabulary.json": b'{"topics":' * 100_000},
    "crowded lists": {"vocabulary.json": b'{"topics":[' + b"[]," * 2_000_000 + b"0]}"},
    "no archive": {"time_model.keras": b"PK"},
}


@pytest.mark.parametrize("changed", HOSTILE.values(), ids=list(HOSTILE))
def test_a_hostile_champion_leaves_the_model_in_memory(
    champion: ChampionCache, registry: Registry, caplog: pytest.LogCaptureFixture, changed: dict[str, Any]
) -> None:
    registry.publish("v1")
    assert version_of(champion) == "v1"
    registry.publish("v2", **changed)
    assert version_of(champion, "v2") == "v1"
    assert "model refresh failed, keeping v1" in caplog.text


def test_after_a_failure_no_request_waits_for_the_next_try(
    champion: ChampionCache, registry: Registry, clock: Clock
) -> None:
    registry.publish("v1")
    registry.available = False
    assert version_of(champion) is None
    registry.available = True
    assert version_of(champion, "v1") is None, "a try straight after a failed one"
    clock.now += RETRY_SECONDS
    assert settled(lambda: version_of(champion, "v1")) == "v1"
    assert registry.readers == ["champion-refresh"]
