"""Accounts: one suite for the fake and for Cognito (moto's, made from the template that is deployed)."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chalicelib.domain.errors import (
    BadRequestError,
    IdentityUnavailableError,
    InvalidInputError,
    NotFoundError,
    StudySmartError,
    UnauthenticatedError,
)
from chalicelib.ports import Identity
from chalicelib.storage.identity import CognitoIdentity
from tests.support.fakes.services import MemoryIdentity

PASSWORD = "correct horse"


@dataclass(frozen=True)
class Pool:
    """A user pool of a moto server."""

    client: Any
    pool_id: str
    client_id: str
    jwks_url: str

    def identity(self) -> CognitoIdentity:
        """The adapter for this pool, with an empty cache of keys."""
        return CognitoIdentity(
            lambda: self.client,
            pool_id=self.pool_id,
            client_id=self.client_id,
            region=self.client.meta.region_name,
            jwks_url=self.jwks_url,
        )

    def make_admin(self, user_id: str) -> None:
        """Put an account into the group of admins."""
        self.client.admin_add_user_to_group(UserPoolId=self.pool_id, Username=user_id, GroupName="admins")


@pytest.fixture(scope="module")
def pool(aws_endpoint: str) -> Pool:
    import boto3

    from infra.local.aws.resources import client_environment, create_stack, program_environment

    outputs = create_stack(aws_endpoint, f"identity-{uuid.uuid4().hex[:8]}", {})
    environment = client_environment(aws_endpoint) | program_environment(aws_endpoint, outputs)
    client = boto3.client(
        "cognito-idp",
        endpoint_url=aws_endpoint,
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    return Pool(
        client, environment["USER_POOL_ID"], environment["USER_POOL_CLIENT_ID"], environment["COGNITO_JWKS_URL"]
    )


@pytest.fixture(params=["memory", pytest.param("cognito", marks=pytest.mark.slow)])
def identity(request: pytest.FixtureRequest) -> Identity:
    return MemoryIdentity() if request.param == "memory" else request.getfixturevalue("pool").identity()


@pytest.fixture
def make_admin(identity: Identity, request: pytest.FixtureRequest) -> Callable[[str], None]:
    if isinstance(identity, MemoryIdentity):
        return identity.make_admin
    return request.getfixturevalue("pool").make_admin  # type: ignore[no-any-return]


@pytest.fixture
def email() -> str:
    return f"Ada-{uuid.uuid4().hex[:12]}@Example.org"


def test_a_registered_account_signs_in_and_its_token_names_it(identity: Identity, email: str) -> None:
    user_id = identity.register(email, PASSWORD, "Ada")
    caller = identity.verify(identity.login(email, PASSWORD).access_token)
    assert (caller.user_id, caller.is_admin) == (user_id, False)


def test_whether_an_account_is_an_administrator_now(
    identity: Identity, email: str, make_admin: Callable[[str], None]
) -> None:
    user_id = identity.register(email, PASSWORD, None)
    identity.confirm(email)
    assert not identity.is_admin(user_id)
    make_admin(user_id)
    assert identity.is_admin(user_id)
    identity.delete(user_id)
    assert not identity.is_admin(user_id)
    assert not identity.is_admin("nobody")


@pytest.mark.slow
@pytest.mark.parametrize("end", ["admin_disable_user", "admin_remove_user_from_group"])
def test_a_disabled_or_removed_administrator_is_none(pool: Pool, email: str, end: str) -> None:
    user_id = pool.identity().register(email, PASSWORD, None)
    pool.identity().confirm(email)
    pool.make_admin(user_id)
    assert pool.identity().is_admin(user_id)
    group = {"GroupName": "admins"} if end == "admin_remove_user_from_group" else {}
    getattr(pool.client, end)(UserPoolId=pool.pool_id, Username=user_id, **group)
    assert not pool.identity().is_admin(user_id)


def test_an_account_becomes_an_administrator_with_its_next_login(identity: Identity, email: str) -> None:
    identity.register(email, PASSWORD, None)
    identity.add_to_admins(email.upper())
    assert identity.verify(identity.login(email, PASSWORD).access_token).is_admin


def test_nobody_can_be_made_administrator_without_an_account(identity: Identity, email: str) -> None:
    with pytest.raises(NotFoundError, match="no account has the e-mail"):
        identity.add_to_admins(email)


def test_addresses_differ_by_more_than_case(identity: Identity, email: str) -> None:
    user_id = identity.register(email, PASSWORD, None)
    with pytest.raises(BadRequestError, match=r"^Email already registered$"):
        identity.register(email.upper(), PASSWORD, None)
    assert identity.verify(identity.login(f" {email.lower()}", PASSWORD).access_token).user_id == user_id


def test_of_many_registrations_of_one_address_one_succeeds(identity: Identity, email: str) -> None:
    def work(_: int) -> StudySmartError | None:
        try:
            identity.register(email, PASSWORD, None)
        except BadRequestError as error:
            return error
        return None

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(work, range(6))).count(None) == 1
    identity.login(email, PASSWORD)


@pytest.mark.parametrize("password", ["aaaaaaaa", "12345678", "p\u00e4ssw\u00f6rter", "a b c d e", "x" * 256])
def test_eight_characters_of_any_kind_are_a_password(identity: Identity, email: str, password: str) -> None:
    identity.register(email, password, None)
    identity.verify(identity.login(email, password).access_token)


@pytest.mark.parametrize(
    ("address", "password"),
    [(None, "wrong horse"), (None, ""), ("nobody@example.org", PASSWORD), ("no address", PASSWORD), ("", "")],
)
def test_whatever_is_wrong_signing_in_says_the_same(
    identity: Identity, email: str, address: str | None, password: str
) -> None:
    identity.register(email, PASSWORD, None)
    with pytest.raises(UnauthenticatedError, match=r"^Incorrect email or password$"):
        identity.login(email if address is None else address, password)


def test_a_new_account_is_no_admin_and_becomes_one_by_its_group(
    identity: Identity, email: str, make_admin: Callable[[str], None]
) -> None:
    user_id = identity.register(email, PASSWORD, None)
    make_admin(user_id)
    assert identity.verify(identity.login(email, PASSWORD).access_token).is_admin


def test_a_new_address_is_not_verified(identity: Identity, email: str) -> None:
    assert identity.email_verified(identity.register(email, PASSWORD, None)) is False
    with pytest.raises(UnauthenticatedError):
        identity.email_verified(str(uuid.uuid4()))


def test_after_a_change_only_the_new_password_signs_in(identity: Identity, email: str) -> None:
    identity.register(email, PASSWORD, None)
    identity.change_password(email, PASSWORD, "battery staple")
    identity.login(email, "battery staple")
    with pytest.raises(UnauthenticatedError):
        identity.login(email, PASSWORD)


def test_a_change_needs_the_present_password(identity: Identity, email: str) -> None:
    identity.register(email, PASSWORD, None)
    with pytest.raises(BadRequestError):
        identity.change_password(email, "a guess", "battery staple")


def test_only_the_account_s_own_password_passes(identity: Identity, email: str) -> None:
    identity.register(email, PASSWORD, None)
    identity.check_password(email.upper(), PASSWORD)
    for address, password in ((email, "a guess"), (email, ""), ("nobody@example.org", PASSWORD)):
        with pytest.raises(BadRequestError):
            identity.check_password(address, password)


def test_a_deleted_account_is_gone_and_its_address_is_free(identity: Identity, email: str) -> None:
    user_id = identity.register(email, PASSWORD, None)
    identity.delete(user_id)
    identity.delete(user_id)
    with pytest.raises(UnauthenticatedError):
        identity.login(email, PASSWORD)
    assert identity.register(email, PASSWORD, None) != user_id


def test_an_account_is_found_by_its_password(identity: Identity, email: str) -> None:
    user_id = identity.register(email, PASSWORD, None)
    assert identity.account_of(email, PASSWORD) == (user_id, False)
    identity.confirm(email)
    identity.confirm(email)
    assert identity.account_of(email.upper(), PASSWORD) == (user_id, True)
    assert identity.account_of(email, "a guess") is identity.account_of("nobody@example.org", PASSWORD) is None


def test_a_refresh_token_works_until_its_sessions_end(identity: Identity, email: str) -> None:
    user_id = identity.register(email, PASSWORD, None)
    first, second = identity.login(email, PASSWORD), identity.login(email, PASSWORD)
    assert first.expires_in == 3600
    assert identity.verify(identity.refresh(first.refresh_token).access_token).user_id == user_id
    identity.sign_out(user_id)
    for token in (first.refresh_token, second.refresh_token, "unknown"):
        with pytest.raises(UnauthenticatedError):
            identity.refresh(token)
    assert identity.refresh(identity.login(email, PASSWORD).refresh_token)


def test_a_deleted_account_refreshes_nothing(identity: Identity, email: str) -> None:
    user_id = identity.register(email, PASSWORD, None)
    session = identity.login(email, PASSWORD)
    identity.delete(user_id)
    identity.sign_out(user_id)
    with pytest.raises(UnauthenticatedError):
        identity.refresh(session.refresh_token)


def test_a_token_says_when_it_was_issued(identity: Identity, email: str) -> None:
    identity.register(email, PASSWORD, None)
    issued_at = identity.verify(identity.login(email, PASSWORD).access_token).issued_at
    assert abs(issued_at - time.time()) < 60


@pytest.fixture
def last_code(identity: Identity, outbox: Path, email: str) -> Callable[[], str]:
    """The newest code that was sent to the address, empty if there is none."""

    def read() -> str:
        if isinstance(identity, MemoryIdentity):
            sent = identity.outbox
        else:
            lines = [json.loads(line) for line in outbox.read_text().splitlines()] if outbox.exists() else []
            sent = [(line["to"], line["code"]) for line in lines]
        return next((code for to, code in reversed(sent) if to == email.lower()), "")

    return read


def test_a_forgotten_password_is_set_with_a_code_once(
    identity: Identity, email: str, last_code: Callable[[], str]
) -> None:
    user_id = identity.register(email, PASSWORD, None)
    identity.confirm(email)
    identity.send_reset_code(email.upper())
    code = last_code()
    for address, guess in ((email, "nonsense"), (email, ""), ("nobody@example.org", code)):
        with pytest.raises(BadRequestError, match="wrong or has expired"):
            identity.reset_password(address, guess or "0", "battery staple")
    identity.reset_password(email, code, "battery staple")
    assert identity.account_of(email, "battery staple") == (user_id, True)
    assert identity.account_of(email, PASSWORD) is None
    with pytest.raises(BadRequestError):
        identity.reset_password(email, code, "another password")


def test_no_code_is_sent_to_an_address_without_account(
    identity: Identity, email: str, last_code: Callable[[], str]
) -> None:
    identity.send_reset_code(email)
    assert last_code() == ""


def test_a_code_verifies_the_address(identity: Identity, email: str, last_code: Callable[[], str]) -> None:
    user_id = identity.register(email, PASSWORD, None)
    token = identity.login(email, PASSWORD).access_token
    identity.send_verification_code(token)
    with pytest.raises(BadRequestError, match="wrong or has expired"):
        identity.verify_email(token, "nonsense")
    assert not identity.email_verified(user_id)
    identity.verify_email(token, last_code())
    assert identity.email_verified(user_id)


def test_an_operator_disables_and_enables_an_account(identity: Identity, email: str) -> None:
    identity.register(email, PASSWORD, None)
    identity.set_enabled(email.upper(), False)
    assert identity.account_of(email, PASSWORD) is None
    with pytest.raises(UnauthenticatedError):
        identity.login(email, PASSWORD)
    identity.set_enabled(email, True)
    identity.login(email, PASSWORD)
    with pytest.raises(NotFoundError):
        identity.set_enabled("nobody@example.org", False)


def test_an_operator_sets_a_password(identity: Identity, email: str) -> None:
    user_id = identity.register(email, PASSWORD, None)
    assert identity.id_of(email.upper()) == user_id
    identity.set_password(email, "battery staple")
    assert identity.verify(identity.login(email, "battery staple").access_token).user_id == user_id
    for call in (identity.id_of, lambda name: identity.set_password(name, PASSWORD)):
        with pytest.raises(NotFoundError):
            call("nobody@example.org")


@pytest.mark.slow
def test_a_code_has_a_limited_number_of_attempts(pool: Pool, email: str, outbox: Path) -> None:
    identity = pool.identity()
    identity.register(email, PASSWORD, None)
    identity.send_reset_code(email)
    code = json.loads(outbox.read_text().splitlines()[-1])["code"]
    for guess in ["nonsense"] * 5 + [code]:
        with pytest.raises(BadRequestError):
            identity.reset_password(email, guess, "battery staple")


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c"])
def test_what_is_no_token_is_refused(identity: Identity, token: str) -> None:
    with pytest.raises(UnauthenticatedError):
        identity.verify(token)


@pytest.mark.slow
def test_signing_in_finishes_a_registration_that_broke_off(pool: Pool, email: str) -> None:
    made = pool.client.sign_up(ClientId=pool.client_id, Username=email.lower(), Password=PASSWORD)
    identity = pool.identity()
    with pytest.raises(BadRequestError):
        identity.register(email, PASSWORD, None)
    with pytest.raises(UnauthenticatedError):
        identity.login(email, "wrong horse")
    assert identity.verify(identity.login(email, PASSWORD).access_token).user_id == made["UserSub"]


@pytest.mark.slow
def test_a_password_that_cognito_refuses_is_a_fault_of_that_field(pool: Pool, email: str) -> None:
    identity = pool.identity()
    with pytest.raises(InvalidInputError) as refused:
        identity.register(email, "short", None)
    assert [fault.loc for fault in refused.value.faults] == [("body", "password")]
    identity.register(email, PASSWORD, None)
    with pytest.raises(InvalidInputError) as refused:
        identity.change_password(email, PASSWORD, "short")
    assert [fault.loc for fault in refused.value.faults] == [("body", "new_password")]


@pytest.mark.slow
def test_a_password_that_a_student_did_not_choose_does_not_sign_in(pool: Pool, email: str) -> None:
    pool.client.admin_create_user(
        UserPoolId=pool.pool_id, Username=email.lower(), TemporaryPassword=PASSWORD, MessageAction="SUPPRESS"
    )
    with pytest.raises(UnauthenticatedError):
        pool.identity().login(email, PASSWORD)


@pytest.mark.slow
def test_an_id_token_is_no_access_token(pool: Pool, email: str) -> None:
    identity = pool.identity()
    identity.register(email, PASSWORD, None)
    identity.confirm(email)
    tokens = pool.client.initiate_auth(
        ClientId=pool.client_id,
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": email.lower(), "PASSWORD": PASSWORD},
    )["AuthenticationResult"]
    with pytest.raises(UnauthenticatedError):
        identity.verify(tokens["IdToken"])


@pytest.mark.slow
def test_no_answer_is_an_outage_and_no_refusal(pool: Pool, email: str) -> None:
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "cognito-idp",
        endpoint_url="http://127.0.0.1:9",
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=1),
    )
    identity = Pool(client, pool.pool_id, pool.client_id, pool.jwks_url).identity()
    for call in (
        lambda: identity.register(email, PASSWORD, None),
        lambda: identity.login(email, PASSWORD),
        lambda: identity.email_verified("x"),
        lambda: identity.delete("x"),
    ):
        with pytest.raises(IdentityUnavailableError):
            call()
