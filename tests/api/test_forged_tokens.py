"""Forged and broken tokens at every operation, over HTTP and with the verification of Cognito's tokens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chalicelib.api.routing import Access
from tests.support import forgeries
from tests.support.api import Api, World, create


@pytest.fixture
def world() -> Iterator[World]:
    with forgeries.signing_world() as world:
        yield world


@pytest.fixture
def user_id(student: Api) -> str:
    return str(student.get("/auth/me").json["id"])


def test_a_signed_token_of_an_account_is_valid(anyone: Api, user_id: str) -> None:
    token = forgeries.signed(forgeries.claims(user_id))
    assert anyone.get("/auth/me", token=token).json["id"] == user_id
    assert anyone.get("/model/versions", token=token).status == 200
    student = forgeries.signed(forgeries.claims(user_id, **{"cognito:groups": ...}))
    assert [anyone.get(path, token=student).status for path in ("/auth/me", "/model/versions")] == [200, 403]


def test_no_forgery_lets_anybody_in(url: str, student: Api, user_id: str) -> None:
    task_id, operations = create(student)["id"], forgeries.protected_operations()
    by_access = {operation.access: operation for operation in operations}
    forged = forgeries.forgeries(user_id)
    assert len(forged) > 250
    assert set(by_access) == {Access.STUDENT, Access.ADMIN}
    assert forgeries.attack(url, forged, by_access.values(), task_id).wrong == []


def test_every_operation_refuses_a_forgery(url: str, student: Api, user_id: str) -> None:
    names = {"no header", "another key", "no exp", "two forged headers", "sub 'unknown'", "algorithm 'none'"}
    forged = [forgery for forgery in forgeries.forgeries(user_id) if forgery.name in names]
    assert {forgery.name for forgery in forged} == names
    operations = forgeries.protected_operations()
    assert forgeries.attack(url, forged, operations, create(student)["id"]).wrong == []


def test_a_student_gets_nothing_of_others_and_of_admins(student: Api, other: Api) -> None:
    assert forgeries.attack_as(other, forgeries.task_of(student)).wrong == []
    assert len(forgeries.attack_as(student, forgeries.task_of(student)).wrong) >= 4


def test_a_forgery_is_noticed_where_it_is_let_in(url: str, student: Api, user_id: str) -> None:
    valid = forgeries.Forgery("valid", [("Authorization", f"Bearer {forgeries.signed(forgeries.claims(user_id))}")])
    operation = next(one for one in forgeries.protected_operations() if one.path == "/auth/me" and one.method == "GET")
    assert len(forgeries.attack(url, [valid], [operation], "x").wrong) == 1
