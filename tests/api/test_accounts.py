"""Registering, signing in, the profile, and who may call what."""

from __future__ import annotations

import msgspec
import pytest

from chalicelib import wiring
from chalicelib.domain.accounts import token_digest
from chalicelib.domain.errors import IdentityUnavailableError, UnauthenticatedError
from chalicelib.services.sessions import Sessions
from tests.support.api import PASSWORD, TASK, Api, World, sign_up

USER_FIELDS = {"id", "email", "full_name", "email_verified", "profile_completed"}


def test_registering_gives_the_user_with_every_field(anyone: Api) -> None:
    answer = anyone.post("/auth/register", {"email": "Ada@Example.org", "password": PASSWORD})
    assert answer.status == 201
    assert answer.json.keys() == USER_FIELDS
    assert answer.json["email"] == "Ada@Example.org"
    assert answer.json["full_name"] is None
    assert answer.json["profile_completed"] is False


def test_a_taken_address_is_refused_in_any_case(anyone: Api) -> None:
    anyone.post("/auth/register", {"email": "ada@example.org", "password": PASSWORD})
    answer = anyone.post("/auth/register", {"email": "ADA@example.org", "password": PASSWORD})
    assert (answer.status, answer.json) == (400, {"detail": "Email already registered"})


def test_signing_in_gives_a_bearer_token(world: World, anyone: Api) -> None:
    sign_up(world)
    answer = anyone.post("/auth/login", {"email": "ADA@example.org", "password": PASSWORD})
    assert answer.status == 200
    assert answer.json.keys() == {"access_token", "token_type", "refresh_token", "expires_in"}
    assert answer.json["token_type"] == "bearer"


@pytest.mark.parametrize(
    ("email", "password"),
    [("ada@example.org", "wrong horse"), ("nobody@example.org", PASSWORD), ("no address", ""), ("", "x" * 5000)],
)
def test_whatever_is_wrong_signing_in_says_the_same(world: World, anyone: Api, email: str, password: str) -> None:
    sign_up(world)
    answer = anyone.post("/auth/login", {"email": email, "password": password})
    assert (answer.status, answer.json) == (401, {"detail": "Incorrect email or password"})


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({}, {("email", "missing"), ("password", "missing")}),
        ({"email": "ada@example.org", "password": "1234567"}, {("password", "string_too_short")}),
        ({"email": "ada@example.org", "password": "x" * 257}, {("password", "string_too_long")}),
        ({"email": "ada@example.org", "password": " 12345678"}, {("password", "value_error")}),
        ({"email": "no address", "password": PASSWORD}, {("email", "value_error")}),
        ({"email": "a@b.c" + "c" * 130, "password": PASSWORD}, {("email", "string_too_long")}),
        (
            {"email": 5, "password": None, "full_name": []},
            {(f, "string_type") for f in ("email", "password", "full_name")},
        ),
    ],
)
def test_a_faulty_registration_names_every_field(anyone: Api, body: object, faults: set[tuple[str, str]]) -> None:
    answer = anyone.post("/auth/register", body)
    assert answer.status == 422
    assert {(fault["loc"][1], fault["type"]) for fault in answer.json["detail"]} == faults


def test_a_refused_password_is_not_echoed(anyone: Api) -> None:
    answer = anyone.post("/auth/register", {"email": "ada@example.org", "password": "hunter2"})
    assert "hunter2" not in answer.body


def test_a_password_needs_eight_characters_and_nothing_else(anyone: Api) -> None:
    assert anyone.post("/auth/register", {"email": "ada@example.org", "password": "aaaaaaaa"}).status == 201


def test_the_profile_is_ones_own(student: Api) -> None:
    me = student.get("/auth/me").json
    assert me.keys() == USER_FIELDS
    assert (me["email"], me["full_name"], me["profile_completed"]) == ("ada@example.org", "Ada", True)


def test_the_name_can_be_changed_and_cleared(student: Api) -> None:
    assert student.put("/auth/me", {"full_name": "Ada Lovelace"}).json["full_name"] == "Ada Lovelace"
    assert student.put("/auth/me", {}).json["full_name"] == "Ada Lovelace"
    assert student.put("/auth/me", {"full_name": None}).json["full_name"] is None


def test_after_a_change_of_password_only_the_new_one_signs_in(student: Api, anyone: Api) -> None:
    changed = student.post("/auth/change-password", {"current_password": PASSWORD, "new_password": "battery staple"})
    assert changed.status == 200
    assert anyone.post("/auth/login", {"email": "ada@example.org", "password": PASSWORD}).status == 401
    assert anyone.post("/auth/login", {"email": "ada@example.org", "password": "battery staple"}).status == 200


def test_a_change_of_password_needs_the_present_one(student: Api) -> None:
    answer = student.post("/auth/change-password", {"current_password": "guess", "new_password": "battery staple"})
    assert (answer.status, answer.json) == (400, {"detail": "Incorrect password"})


def test_faults_of_a_new_password_are_a_text(student: Api) -> None:
    answer = student.post("/auth/change-password", {"current_password": PASSWORD, "new_password": "short"})
    assert (answer.status, answer.json) == (400, {"detail": "new_password: String should have at least 8 characters"})


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"password": "wrong horse"}', "Incorrect password"),
        (b'{"password": ""}', "Incorrect password"),
        (b"{}", "password: Field required"),
        (b'{"password": null}', "password: Input should be a valid string"),
        (b'{"password": ["correct horse"]}', "password: Input should be a valid string"),
        (b"[]", "Input should be an object"),
        (b"", "Field required"),
        (b"{", "JSON decode error: Input data was truncated"),
    ],
)
def test_no_account_is_deleted_without_its_password(student: Api, body: bytes, detail: str) -> None:
    task = student.post("/practice-tasks", TASK).json
    answer = student.call("POST", "/auth/delete-account", raw=body)
    assert (answer.status, answer.json) == (400, {"detail": detail})
    assert student.get("/auth/me").status == 200
    assert student.get(f"/practice-tasks/{task['id']}").status == 200


def test_a_deleted_account_is_gone_and_its_address_is_free(student: Api, anyone: Api) -> None:
    assert student.post("/auth/delete-account", {"password": PASSWORD}).status == 200
    assert student.get("/auth/me").status == 401
    assert student.get("/practice-tasks").status == 401
    assert anyone.post("/auth/login", {"email": "ada@example.org", "password": PASSWORD}).status == 401
    assert anyone.post("/auth/register", {"email": "ada@example.org", "password": PASSWORD}).status == 201


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "Bearer unknown", "Bearer a b", "token", "Bearer \u00e9"]
)
def test_without_a_valid_token_it_is_401_with_a_challenge(anyone: Api, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = anyone.get("/practice-tasks", headers=headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert isinstance(answer.json["detail"], str)


def test_the_scheme_is_read_in_any_case(student: Api) -> None:
    assert student.get("/auth/me", headers={"authorization": f"bearer {student.token}"}).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/auth/me"),
        ("PUT", "/auth/me"),
        ("POST", "/auth/change-password"),
        ("POST", "/auth/sign-out-everywhere"),
        ("POST", "/auth/delete-account"),
        ("POST", "/practice-tasks"),
        ("GET", "/practice-tasks"),
        ("GET", "/practice-tasks/subject/x/latest"),
        ("GET", "/practice-tasks/x"),
        ("PATCH", "/practice-tasks/x"),
        ("DELETE", "/practice-tasks/x"),
        ("GET", "/predictions"),
        ("GET", "/recommendations"),
        ("GET", "/model/status"),
        ("POST", "/model/train"),
        ("POST", "/model/counter"),
    ],
)
def test_a_stranger_is_told_nothing_but_401(anyone: Api, method: str, path: str) -> None:
    assert anyone.call(method, path, raw=b"{").status == 401


def test_signing_in_is_503_while_the_identity_provider_is_away(world: World, anyone: Api) -> None:
    world.identity.available = False
    answer = anyone.post("/auth/login", {"email": "ada@example.org", "password": PASSWORD})
    assert answer.status == 503
    assert "retry-after" in answer.headers


ACCOUNT = {"email": "ada@example.org", "password": PASSWORD, "full_name": "Ada"}


def failing(world: World, step: str, worked: bool, patch: pytest.MonkeyPatch) -> None:
    """Let a step of a registration fail: before its work, or after it, so that its answer is lost."""
    owner = wiring.current().users if step == "add" else world.identity
    work = getattr(owner, step)

    def fail(*arguments: object) -> None:
        if worked:
            work(*arguments)
        raise IdentityUnavailableError("no answer")

    patch.setattr(owner, step, fail)


@pytest.mark.parametrize("worked", [False, True])
@pytest.mark.parametrize("step", ["register", "add", "confirm"])
def test_a_registration_that_failed_is_repeated(
    world: World, anyone: Api, step: str, worked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        failing(world, step, worked, patch)
        assert anyone.post("/auth/register", ACCOUNT).status == 503
    if (step, worked) == ("confirm", True):
        assert anyone.post("/auth/register", ACCOUNT).status == 400  # it is complete, and nobody can know it
    else:
        guess = anyone.post("/auth/register", {**ACCOUNT, "password": "a guess at it"})
        assert guess.status == (201 if (step, worked) == ("register", False) else 400)
        if guess.status == 201:
            return
        assert anyone.post("/auth/register", ACCOUNT).json["full_name"] == "Ada"
        assert anyone.post("/auth/register", ACCOUNT).status == 400
    anyone.token = anyone.post("/auth/login", ACCOUNT).json["access_token"]
    me = anyone.get("/auth/me").json
    assert (me["email"], me["full_name"]) == ("ada@example.org", "Ada")


def test_a_registration_finishes_a_deletion(student: Api, world: World, anyone: Api) -> None:
    world.identity.can_delete = False
    assert student.post("/auth/delete-account", {"password": PASSWORD}).status == 503
    world.identity.can_delete = True
    assert anyone.post("/auth/register", ACCOUNT).status == 201
    anyone.token = anyone.post("/auth/login", ACCOUNT).json["access_token"]
    assert anyone.get("/auth/me").status == 200


def test_an_account_without_a_row_is_completed_by_signing_in(world: World, anyone: Api) -> None:
    world.identity.register("ada@example.org", PASSWORD, None)
    anyone.token = anyone.post("/auth/login", ACCOUNT).json["access_token"]
    assert anyone.get("/auth/me").json["email"] == "ada@example.org"


def signed_in(world: World) -> tuple[Api, str]:
    """Another session of the same student, and its refresh token."""
    answer = Api().post("/auth/login", ACCOUNT).json
    return Api(answer["access_token"]), answer["refresh_token"]


def test_a_refresh_token_gives_a_new_access_token(student: Api, world: World, anyone: Api) -> None:
    _, refresh_token = signed_in(world)
    answer = anyone.post("/auth/refresh", {"refresh_token": refresh_token})
    assert (answer.status, answer.json["token_type"], answer.json["expires_in"]) == (200, "bearer", 3600)
    assert Api(answer.json["access_token"]).get("/auth/me").status == 200
    assert anyone.post("/auth/refresh", {"refresh_token": "unknown"}).status == 401


def test_a_forgotten_password_is_reset_by_a_code(student: Api, world: World, anyone: Api) -> None:
    other, refresh_token = signed_in(world)
    known, unknown = (
        anyone.post("/auth/forgot-password", {"email": email}) for email in ("Ada@example.org", "nobody@example.org")
    )
    assert (known.status, known.body) == (unknown.status, unknown.body) == (200, known.body)
    to, code = world.identity.outbox[-1]
    assert to == "ada@example.org"
    reset = {"email": "ada@example.org", "code": "000000x", "new_password": "battery staple"}
    refused = anyone.post("/auth/reset-password", reset)
    assert (refused.status, refused.json) == (400, {"detail": "The code is wrong or has expired"})
    assert anyone.post("/auth/reset-password", {**reset, "code": code, "new_password": "short"}).status == 422
    assert anyone.post("/auth/reset-password", {**reset, "code": f" {code} "}).status == 200
    assert [api.get("/practice-tasks").status for api in (student, other)] == [401, 401]
    assert anyone.post("/auth/refresh", {"refresh_token": refresh_token}).status == 401
    assert anyone.post("/auth/login", ACCOUNT).status == 401
    assert anyone.post("/auth/login", {**ACCOUNT, "password": "battery staple"}).status == 200


def test_an_address_is_verified_by_its_code(student: Api, world: World) -> None:
    assert len(world.identity.outbox) == 1  # sent by the registration
    assert student.get("/auth/me").json["email_verified"] is False
    assert student.post("/auth/verify-email", {"code": "x"}).status == 400
    assert student.post("/auth/send-verification").status == 200
    assert student.post("/auth/verify-email", {"code": world.identity.outbox[-1][1]}).status == 200
    assert student.get("/auth/me").json["email_verified"] is True


def test_a_registration_does_not_fail_for_its_mail(world: World, anyone: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(world, "send_verification_code", worked=False, patch=monkeypatch)
    assert anyone.post("/auth/register", ACCOUNT).status == 201


@pytest.mark.parametrize("path", ["forgot-password", "reset-password"])
def test_a_malformed_address_is_a_fault(anyone: Api, path: str) -> None:
    answer = anyone.post(f"/auth/{path}", {"email": "nobody", "code": "1", "new_password": PASSWORD})
    assert answer.status == 422
    assert ["body", "email"] in [fault["loc"] for fault in answer.json["detail"]]


def test_a_new_password_ends_the_other_sessions_only(student: Api, world: World, anyone: Api) -> None:
    other, refresh_token = signed_in(world)
    assert other.get("/practice-tasks").status == 200
    changed = student.post("/auth/change-password", {"current_password": PASSWORD, "new_password": "battery staple"})
    assert other.get("/practice-tasks").status == 401
    assert anyone.post("/auth/refresh", {"refresh_token": refresh_token}).status == 401
    assert student.get("/practice-tasks").status == 200
    assert anyone.post("/auth/refresh", {"refresh_token": changed.json["refresh_token"]}).status == 200
    again = anyone.post("/auth/login", {**ACCOUNT, "password": "battery staple"})
    assert Api(again.json["access_token"]).get("/practice-tasks").status == 200


def test_signing_out_everywhere_ends_every_session(student: Api, world: World, anyone: Api) -> None:
    other, refresh_token = signed_in(world)
    assert student.post("/auth/sign-out-everywhere").status == 200
    assert [api.get("/practice-tasks").status for api in (student, other)] == [401, 401]
    assert anyone.post("/auth/refresh", {"refresh_token": refresh_token}).status == 401
    assert signed_in(world)[0].get("/practice-tasks").status == 200


def test_the_tokens_of_a_deleted_account_end(student: Api, world: World, anyone: Api) -> None:
    other, refresh_token = signed_in(world)
    assert other.get("/practice-tasks").status == 200
    student.post("/auth/delete-account", {"password": PASSWORD})
    assert [api.get("/practice-tasks").status for api in (student, other)] == [401, 401]
    assert anyone.post("/auth/refresh", {"refresh_token": refresh_token}).status == 401


def test_another_process_learns_of_an_ended_session_within_a_minute(student: Api, world: World) -> None:
    now = [0.0]
    users, caller = wiring.current().users, world.identity.verify(str(student.token))
    elsewhere = Sessions(users, world.identity, lambda: now[0])
    elsewhere.check(caller, str(student.token))
    users.end_sessions(caller.user_id, [])
    elsewhere.check(caller, str(student.token))
    now[0] = 60.0
    with pytest.raises(UnauthenticatedError):
        elsewhere.check(caller, str(student.token))
    users.keep_token(caller.user_id, token_digest(str(student.token)))
    elsewhere.check(caller, str(student.token))


def test_a_demoted_administrator_is_refused_within_a_minute(admin: Api, world: World) -> None:
    now = [0.0]
    caller = world.identity.verify(str(admin.token))
    elsewhere = Sessions(wiring.current().users, world.identity, lambda: now[0])
    elsewhere.check(caller, str(admin.token))
    world.identity.demote(caller.user_id)
    plain = msgspec.structs.replace(caller, groups=frozenset())
    now[0] = 60.0
    elsewhere.check(plain, str(admin.token))  # the account itself goes on, with tokens that claim nothing
    with pytest.raises(UnauthenticatedError, match="no administrator"):
        elsewhere.check(caller, str(admin.token))


@pytest.mark.parametrize("field", ["email", "role"])
def test_a_profile_refuses_other_fields_by_name(student: Api, field: str) -> None:
    answer = student.put("/auth/me", {"full_name": "Grace", field: "grace@example.org"})
    assert answer.status == 422
    assert [(fault["loc"], fault["type"]) for fault in answer.json["detail"]] == [(["body", field], "extra_forbidden")]
    assert student.get("/auth/me").json["full_name"] == "Ada"


def test_a_deletion_that_broke_off_is_finished_at_the_next_sign_in(student: Api, world: World, anyone: Api) -> None:
    world.identity.can_delete = False
    assert student.post("/auth/delete-account", {"password": PASSWORD}).status == 503
    world.identity.can_delete = True
    account = {"email": "ada@example.org", "password": PASSWORD}
    assert anyone.post("/auth/login", account).status == 401
    assert anyone.post("/auth/register", account).status == 201
