"""Service accounts over the API: scopes, learners, keys, and the record of what they did."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib import wiring
from chalicelib.api import root
from chalicelib.api.routing import Access
from chalicelib.domain.accounts import Caller
from chalicelib.domain.service_accounts import DEFAULT_SCOPES, Scope, ServiceAccount
from chalicelib.services.learners import accounts_of
from chalicelib.services.service_accounts import KEPT_SECONDS, ServiceAccounts
from tests.support.api import DONE, TASK, Answer, Api, World
from tests.support.fakes.database import MemoryServiceStore

ALL = tuple(Scope)


@pytest.fixture
def store(world: World) -> MemoryServiceStore:
    return MemoryServiceStore(world.database)


class App(Api):
    """The server of an app, which acts for its learners."""

    def for_learner(self, learner_id: str, method: str, path: str, body: Any = None) -> Answer:
        return self.call(method, path, body, headers={"X-Learner-Id": learner_id})


@pytest.fixture
def server(store: MemoryServiceStore) -> App:
    """A server with all scopes."""
    return App(store.create("school", *ALL))


def test_a_server_creates_and_completes_a_task(world: World, server: App) -> None:
    made = server.for_learner("pupil-1", "POST", "/practice-tasks", TASK)
    assert made.status == 201, made.body
    done = server.for_learner("pupil-1", "PATCH", f"/practice-tasks/{made.json['id']}", DONE)
    assert (done.status, done.json["completed"], done.json["training"]["counter"]) == (200, True, 1)
    assert [task["id"] for task in server.for_learner("pupil-1", "GET", "/practice-tasks").json] == [made.json["id"]]
    assert server.for_learner("pupil-1", "GET", "/predictions?topic=Fractions&difficulty=medium").status == 200
    profile = server.for_learner("pupil-1", "GET", "/auth/me").json
    assert profile["id"] == made.json["user_id"]
    assert (profile["email"], profile["email_verified"]) == (None, False)


def test_learners_and_accounts_are_isolated(store: MemoryServiceStore, server: App, student: Api) -> None:
    task_id = server.for_learner("pupil-1", "POST", "/practice-tasks", TASK).json["id"]
    other = App(store.create("tutor", *ALL))
    seen = [
        server.for_learner("pupil-2", "GET", f"/practice-tasks/{task_id}").status,
        server.for_learner("Pupil-1", "GET", f"/practice-tasks/{task_id}").status,
        other.for_learner("pupil-1", "GET", f"/practice-tasks/{task_id}").status,
        other.for_learner("pupil-1", "DELETE", f"/practice-tasks/{task_id}").status,
        student.get(f"/practice-tasks/{task_id}").status,
    ]
    assert seen == [404] * 5
    assert other.for_learner("pupil-1", "GET", "/practice-tasks").json == []


def test_a_server_cannot_name_the_account_of_a_student(server: App, student: Api) -> None:
    user_id = student.get("/auth/me").json["id"]
    assert server.for_learner(user_id, "GET", "/auth/me").json["id"] != user_id
    path = f"/predictions?topic=Fractions&difficulty=medium&user_id={user_id}"
    assert server.for_learner("pupil-1", "GET", path).status == 403


@pytest.mark.parametrize("scope", ALL)
def test_every_operation_needs_its_scope(store: MemoryServiceStore, scope: Scope) -> None:
    without = App(store.create("without", *(set(Scope) - {scope})))
    with_it = App(store.create("with", scope))
    for operation in root.documented:
        if operation.access is Access.PUBLIC:
            continue
        path = operation.path.replace("{task_id}", "x").replace("{subject}", "x")
        refused = without.for_learner("pupil-1", operation.method, path, {})
        admitted = with_it.for_learner("pupil-1", operation.method, path, {})
        needed = operation.scope is scope
        assert (admitted.status == 403) != needed, operation
        if needed:
            assert refused.status == 403, operation
            assert refused.json["detail"] == f"The service account has no scope {scope.value}"


def test_operations_of_people_and_admins_are_closed(server: App) -> None:
    paths = ("/auth/change-password", "/auth/sign-out-everywhere", "/auth/send-verification", "/model/train")
    answers = [server.for_learner("pupil-1", "POST", path, {}) for path in paths]
    assert [(one.status, one.json["detail"]) for one in answers] == [(403, "Service accounts may not do this")] * 4


def test_a_server_has_to_name_a_learner(server: App) -> None:
    missing = server.get("/practice-tasks")
    assert (missing.status, missing.json["detail"][0]["loc"]) == (422, ["header", "X-Learner-Id"])
    for odd in ("", "a b", "x" * 129, "a, b"):
        assert server.for_learner(odd, "GET", "/practice-tasks").status == 422, odd
    assert server.get("/model/status").status == 200


def test_a_student_cannot_act_for_a_learner(student: Api) -> None:
    answer = student.call("GET", "/practice-tasks", headers={"X-Learner-Id": "pupil-1"})
    assert (answer.status, answer.json["detail"]) == (403, "Only service accounts may act for a learner (X-Learner-Id)")


def test_a_deleted_learner_stays_deleted(world: World, server: App) -> None:
    server.for_learner("pupil-1", "POST", "/practice-tasks", TASK)
    assert server.for_learner("pupil-1", "POST", "/auth/delete-account", {}).status == 200
    assert world.database.tasks == {}
    again = server.for_learner("pupil-1", "POST", "/practice-tasks", TASK)
    assert (again.status, again.json["detail"]) == (404, "The learner pupil-1 was deleted")
    assert server.for_learner("pupil-2", "POST", "/practice-tasks", TASK).status == 201


def test_reading_makes_no_rows(world: World, server: App) -> None:
    paths = ["practice-tasks", "auth/me", "export", "recommendations", "analytics/summary", "practice-tasks/x"]
    paths += ["predictions?topic=Fractions&difficulty=medium", "practice-tasks/subject/Maths/latest"]
    found = [server.for_learner("pupil-1", "GET", f"/{path}").status for path in paths]
    assert found == [200] * 5 + [404, 200, 404]
    assert world.database.users == {}
    assert server.for_learner("pupil-1", "PUT", "/auth/me", {"full_name": "Ada"}).status == 200
    assert server.for_learner("pupil-1", "GET", "/auth/me").json["full_name"] == "Ada"
    assert len(world.database.users) == 1


def test_a_deleted_learner_cannot_be_read(server: App) -> None:
    server.for_learner("pupil-1", "POST", "/practice-tasks", TASK)
    assert server.for_learner("pupil-1", "POST", "/auth/delete-account", {}).status == 200
    read = server.for_learner("pupil-1", "GET", "/practice-tasks")
    assert (read.status, read.json["detail"]) == (404, "The learner pupil-1 was deleted")


def test_a_student_still_needs_the_password_to_delete(student: Api) -> None:
    for body in ({}, {"password": None}, {"password": "wrong"}):
        assert student.post("/auth/delete-account", body).status == 400, body
    assert student.get("/auth/me").status == 200


@pytest.mark.parametrize("key", ["ssk_", "ssk_x", "ssk_" + "a" * 43, "SSK_x", "ssk_\u00e9"])
def test_an_unknown_key_is_refused(server: App, key: str) -> None:
    assert Api(key).get("/model/status").status == 401
    assert Api((server.token or "").upper()).get("/model/status").status == 401


def test_a_new_key_works_before_the_old_one_ends(store: MemoryServiceStore) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    old, new = store.create("school", *ALL, expires_at=soon), store.create("school", *ALL)
    made = App(old).for_learner("pupil-1", "POST", "/practice-tasks", TASK).json
    assert [App(key).for_learner("pupil-1", "GET", "/practice-tasks").json[0]["id"] for key in (old, new)] == [
        made["id"]
    ] * 2
    past = store.create("school", *ALL, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert App(past).get("/model/status").status == 401


def test_a_revoked_key_is_refused_within_a_minute(store: MemoryServiceStore) -> None:
    now = [0.0]
    accounts = ServiceAccounts(store, clock=lambda: now[0])
    key = store.create("school", *ALL)
    assert accounts.account(key).name == "school"
    store.revoke(key)
    now[0] = KEPT_SECONDS - 1
    assert accounts.account(key).name == "school"
    now[0] = KEPT_SECONDS
    with pytest.raises(Exception, match="was revoked"):
        accounts.account(key)
    assert KEPT_SECONDS < 60


def test_an_expired_key_is_refused_at_once(store: MemoryServiceStore) -> None:
    now = datetime.now(UTC)
    moment = [now]
    accounts = ServiceAccounts(store, now=lambda: moment[0])
    key = store.create("school", *ALL, expires_at=now + timedelta(seconds=5))
    assert accounts.account(key).name == "school"
    moment[0] = now + timedelta(seconds=5)
    with pytest.raises(Exception, match="has expired"):
        accounts.account(key)


def test_every_request_is_on_record(world: World, server: App, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "studysmart.api")
    made = server.for_learner("pupil-1", "POST", "/practice-tasks", TASK)
    server.for_learner("pupil-1", "GET", "/practice-tasks/x")
    server.for_learner("pupil-1", "POST", "/model/train")
    server.get("/model/status")
    found = [(one.operation, one.user_id, one.status) for one in world.database.service_actions]
    user_id = made.json["user_id"]
    assert found == [
        ("POST /practice-tasks", user_id, 201),
        ("GET /practice-tasks/{task_id}", user_id, 404),
        ("POST /model/train", None, 403),
        ("GET /model/status", None, 200),
    ]
    assert world.database.service_actions[0].request_id == made.headers["x-request-id"]
    lines = [record for record in caplog.records if getattr(record, "service_account", None) == "school"]
    assert len(lines) == 4
    assert {record.service_key for record in lines} == {(server.token or "")[:10]}  # type: ignore[attr-defined]
    assert not [record for record in caplog.records if (server.token or "") in str(vars(record))]


def test_a_request_whose_record_fails_is_answered(
    server: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from chalicelib.domain.errors import DatabaseUnavailableError

    def fail(_: object) -> None:
        raise DatabaseUnavailableError("away")

    monkeypatch.setattr(wiring.current().service_store, "record", fail)
    assert server.get("/model/status").status == 200
    assert "an action of a service account was not stored" in caplog.text


def test_many_learners_are_made_at_once(world: World, store: MemoryServiceStore) -> None:
    accounts = ServiceAccounts(store)
    account = accounts.account(store.create("school", *ALL))
    ids = accounts.learners(account, [f"pupil-{n}" for n in range(100)])
    assert len(set(ids.values())) == 100
    assert set(ids.values()) <= set(world.database.users)
    assert ids["pupil-7"] == account.user_id("pupil-7")


def test_an_account_makes_a_limited_number_of_learners(world: World, store: MemoryServiceStore) -> None:
    world.settings |= {"SERVICE_LEARNERS": "2"}
    container = world.container()
    wiring.install(container)
    key, other = store.create("school", *ALL), store.create("another", *ALL)
    api = App(key)
    for learner in ("pupil-1", "pupil-2", "pupil-1"):
        assert api.for_learner(learner, "POST", "/practice-tasks", TASK).status == 201
    refused = api.for_learner("pupil-3", "POST", "/practice-tasks", TASK)
    assert (refused.status, refused.headers["retry-after"]) == (429, "60")
    assert refused.json["detail"] == "At most 2 learners may be made by one service account (SERVICE_LEARNERS)"
    assert api.for_learner("pupil-3", "GET", "/practice-tasks").json == [], "reading makes nobody"
    assert App(other).for_learner("pupil-3", "POST", "/practice-tasks", TASK).status == 201
    assert len(world.database.users) == 3


def test_an_id_of_a_learner_belongs_to_its_account() -> None:
    first, second = (ServiceAccount(name, name, DEFAULT_SCOPES, "ssk_") for name in ("a", "b"))
    caller = Caller(first.id, frozenset(), service=first)
    assert accounts_of(caller, {"x"}) == {"x": first.user_id("x")}
    assert first.user_id("x") == first.user_id("x")
    assert len({one.user_id(name) for one in (first, second) for name in ("x", "X", "b:x")}) == 6


def test_a_batch_is_for_learners_of_the_server(server: App) -> None:
    asked = [{"topic": "Fractions", "difficulty": "medium", "learner_id": f"pupil-{n}"} for n in (1, 2)]
    answer = server.post("/predictions:batch", {"predictions": asked})
    assert answer.status == 200, answer.body
    assert [one["learner_id"] for one in answer.json["predictions"]] == ["pupil-1", "pupil-2"]
    assert server.post("/predictions:batch", {"predictions": [{"topic": "F", "difficulty": "easy"}]}).status == 422
