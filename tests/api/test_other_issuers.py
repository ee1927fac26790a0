"""Users of other issuers over the API: their first request, what they may do, and signing in with Google."""

from __future__ import annotations

import time

import pytest

from chalicelib.domain.service_accounts import user_id_of
from tests.support.api import DONE, TASK, Api, World
from tests.support.foreign import Foreign


@pytest.fixture
def foreign(world: World) -> Foreign:
    foreign = Foreign()
    foreign.install(world)
    return foreign


def test_a_user_of_another_issuer_practises(foreign: Foreign, world: World) -> None:
    api = Api(foreign.school.token())
    profile = api.get("/auth/me").json
    user_id = user_id_of(foreign.school.issuer, "auth0|123")
    assert profile == {
        "id": user_id,
        "email": "ada@example.org",
        "full_name": "Ada Lovelace",
        "email_verified": True,
        "profile_completed": True,
    }
    task = api.post("/practice-tasks", TASK).json
    assert api.patch(f"/practice-tasks/{task['id']}", DONE).json["training"]["counter"] == 1
    other = Api(foreign.school.token(sub="another"))
    assert other.get(f"/practice-tasks/{task['id']}").status == 404
    assert user_id in world.database.users


def test_the_same_address_is_not_the_same_account(foreign: Foreign, student: Api) -> None:
    task = student.post("/practice-tasks", TASK).json
    same = Api(foreign.school.token(email=student.get("/auth/me").json["email"]))
    assert same.get("/practice-tasks").json == []
    assert same.get(f"/practice-tasks/{task['id']}").status == 404
    google = Api(foreign.google.token())
    assert google.get("/auth/me").json["id"] != same.get("/auth/me").json["id"]


def test_groups_decide_about_admins(foreign: Foreign) -> None:
    seen = [
        Api(foreign.school.token(groups=["admins"])).get("/model/versions").status,
        Api(foreign.school.token(groups=["staff"])).get("/model/versions").status,
        Api(foreign.google.token(groups=["admins"])).get("/model/versions").status,
    ]
    assert seen == [200, 403, 403]


def test_refusals_and_outages_have_their_statuses(foreign: Foreign) -> None:
    school = foreign.school
    now = int(time.time())
    tokens = {
        "wrong audience": school.token(aud="another"),
        "expired": school.token(exp=now - 300),
        "not yet": school.token(nbf=now + 300),
        "unknown issuer": school.token(iss="https://other.example.org"),
        "unknown key": school.token("two", school.keys["one"]),
    }
    assert {name: Api(token).get("/auth/me").status for name, token in tokens.items()} == dict.fromkeys(tokens, 401)
    foreign.google.available = False
    away = Api(foreign.google.token()).get("/auth/me")
    assert (away.status, away.json["detail"]) == (503, "Signing in is unavailable, please try again")
    assert Api(school.token()).get("/auth/me").status == 200


def test_ending_all_sessions_ends_those_of_the_issuer(foreign: Foreign) -> None:
    now = int(time.time())
    old, new = (Api(foreign.school.token(iat=at)) for at in (now - 60, now + 30))
    assert old.post("/auth/sign-out-everywhere").status == 200
    assert [old.get("/auth/me").status, new.get("/auth/me").status] == [401, 200]


def test_passwords_and_addresses_are_the_issuers(foreign: Foreign) -> None:
    api = Api(foreign.school.token())
    password = {"current_password": "staple battery", "new_password": "battery staple"}
    for path, body in {
        "/auth/change-password": password,
        "/auth/send-verification": None,
        "/auth/verify-email": {"code": "123456"},
    }.items():
        answer = api.post(path, body)
        assert (answer.status, foreign.school.issuer in answer.json["detail"]) == (400, True), path


def test_an_account_is_deleted_with_a_recent_token(foreign: Foreign, world: World) -> None:
    now = int(time.time())
    old, new = (Api(foreign.school.token(iat=at)) for at in (now - 1_000, now - 10))
    new.post("/practice-tasks", TASK)
    assert old.post("/auth/delete-account", {}).status == 400
    assert new.post("/auth/delete-account", {}).status == 200
    assert world.database.tasks == {}
    assert [api.get("/practice-tasks").status for api in (old, new)] == [401, 401]
    again = Api(foreign.school.token(iat=now + 30))
    assert again.get("/practice-tasks").json == []
    assert again.get("/auth/me").json["email"] == "ada@example.org"


def test_google_signs_in(foreign: Foreign, anyone: Api) -> None:
    answer = anyone.post("/auth/google", {"token": foreign.google.token()})
    assert answer.status == 200, answer.body
    assert answer.json["token_type"] == "bearer"
    assert 500 < answer.json["expires_in"] <= 600
    api = Api(answer.json["access_token"])
    assert api.get("/auth/me").json["full_name"] == "Ada Lovelace"


def test_google_takes_only_its_own_tokens(foreign: Foreign, anyone: Api, student: Api) -> None:
    for token in (foreign.school.token(), foreign.google.token(aud="another"), "x", student.token):
        assert anyone.post("/auth/google", {"token": token}).status == 401


def test_google_has_to_be_set_up(anyone: Api) -> None:
    answer = anyone.post("/auth/google", {"token": "x"})
    assert (answer.status, "GOOGLE_CLIENT_ID" in answer.json["detail"]) == (404, True)
