"""What service accounts and users of other issuers must not get, at every operation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chalicelib.domain.service_accounts import Scope
from tests.support import forgeries, new_callers
from tests.support.api import Api, World, create
from tests.support.fakes.database import MemoryServiceStore
from tests.support.foreign import Foreign


@pytest.fixture
def world() -> Iterator[World]:
    with forgeries.signing_world() as world:
        yield world


@pytest.fixture
def foreign(world: World) -> Foreign:
    foreign = Foreign()
    foreign.install(world)
    return foreign


def test_a_service_account_stays_within_its_scopes_and_learners(world: World, student: Api) -> None:
    found = new_callers.attack_as_services(world, student)
    assert found.wrong == []
    assert found.n > 200


def test_no_bad_key_lets_anybody_in(url: str, world: World, student: Api) -> None:
    valid = forgeries.signed(forgeries.claims(student.get("/auth/me").json["id"]))
    keys = new_callers.bad_keys(MemoryServiceStore(world.database), valid)
    task_id = create(student)["id"]
    assert forgeries.attack(url, keys, forgeries.protected_operations(), task_id).wrong == []


def test_no_bad_token_of_an_issuer_lets_anybody_in(url: str, foreign: Foreign, student: Api) -> None:
    forged, operations = new_callers.foreign_forgeries(foreign), forgeries.protected_operations()
    assert len(forged) > 25
    by_access = {operation.access: operation for operation in operations}
    assert forgeries.attack(url, forged, by_access.values(), create(student)["id"]).wrong == []


def test_only_a_group_of_the_issuer_makes_an_admin(foreign: Foreign) -> None:
    assert new_callers.attack_as_foreigners(foreign).wrong == []
    assert Api(foreign.school.token(groups=["admins"])).get("/model/versions").status == 200


def test_a_hole_is_noticed(url: str, world: World, foreign: Foreign) -> None:
    key = MemoryServiceStore(world.database).create("school", *Scope)
    status = [one for one in forgeries.protected_operations() if one.path == "/model/status"]
    for name, token in {"key": key, "token": foreign.school.token()}.items():
        valid = forgeries.Forgery(name, [("Authorization", f"Bearer {token}")])
        assert len(forgeries.attack(url, [valid], status, "x").wrong) == 1
