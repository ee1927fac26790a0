"""Accounts: register, sign in, profile, password, deletion."""

from __future__ import annotations

import time
from typing import Annotated

from chalice.app import Request
from msgspec import UNSET, Meta, Struct, UnsetType

from chalicelib.api.callers import bearer_token
from chalicelib.api.routing import Access, Routes
from chalicelib.domain.accounts import Caller, Session, User
from chalicelib.domain.fields import about
from chalicelib.domain.issuers import GOOGLE
from chalicelib.domain.limits import SIGN_UPS
from chalicelib.domain.service_accounts import Scope
from chalicelib.services import accounts
from chalicelib.wiring import Container

routes = Routes(__name__, "accounts")

# Cognito limits user names to 128 characters, and the address is the user name.
Email = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=128,
        # Control characters are named, because which of them are white space differs between programming languages.
        pattern=r"^[ \t\r\n]*[^@\s\x00-\x1f\x7f-\x9f]+@[^@\s\x00-\x1f\x7f-\x9f]+\.[^@\s\x00-\x1f\x7f-\x9f]+[ \t\r\n]*$",
        extra={"fault": ("value_error", "value is not a valid email address")},
        description="E-mail address of the account",
        examples=["ada@example.org"],
    ),
]
Password = Annotated[
    str,
    Meta(
        min_length=8,
        max_length=256,
        pattern=r"^\S[\s\S]*\S(?![\s\S])",
        extra={"fault": ("value_error", "Password should not begin or end with a space")},
        description="New password",
        examples=["staple battery"],
        extra_json_schema={"format": "password"},
    ),
]
FullName = Annotated[str, about("Name of the student", "Ada Lovelace", max_length=200)]
PresentPassword = Annotated[str, about("Password of the account", "staple battery", "password")]
AccessToken = Annotated[str, about("Token to be sent as `Authorization: Bearer <token>`", "header.claims.signature")]
RefreshToken = Annotated[str, about("Token to get the next access token with", "eyJjdHkiOiJKV1QifQ")]
Lifetime = Annotated[int, about("Seconds for which the access token is valid", 3_600)]
Message = Annotated[str, about("A message for the user", "Password changed")]


class RegisterBody(Struct):
    """A new account."""

    email: Email
    password: Password
    full_name: FullName | None = None
    invitation_code: (
        Annotated[str, about("Code with which the student joins a cohort", None, min_length=1, max_length=100)] | None
    ) = None


class LoginBody(Struct):
    """E-mail address and password of an account."""

    email: Annotated[str, about("E-mail address of the account", "ada@example.org")]
    password: PresentPassword


class TokenAnswer(Struct):
    """An access token, to be sent as ``Authorization: Bearer …``, and a refresh token to get the next one."""

    access_token: AccessToken
    refresh_token: RefreshToken
    expires_in: Lifetime
    token_type: Annotated[str, about("Kind of the token", "bearer")] = "bearer"  # noqa: S105 - no secret


class RefreshBody(Struct, forbid_unknown_fields=True):
    """The refresh token of a sign-in."""

    refresh_token: Annotated[
        str, about("Refresh token of the session", "eyJjdHkiOiJKV1QifQ", min_length=1, max_length=10_000)
    ]


class GoogleBody(Struct, forbid_unknown_fields=True):
    """A sign-in with Google."""

    token: Annotated[
        str, about("ID token of Google, the `credential` of its button", "header.claims.signature", max_length=10_000)
    ]


class ForeignTokenAnswer(Struct):
    """An access token of another issuer, which renews it itself."""

    access_token: AccessToken
    expires_in: Lifetime
    token_type: Annotated[str, about("Kind of the token", "bearer")] = "bearer"  # noqa: S105 - no secret


Code = Annotated[
    str, about("Code from the e-mail", "123456", min_length=1, max_length=100, pattern=r"^[ \t\r\n]*[!-~]+[ \t\r\n]*$")
]


class ForgotBody(Struct, forbid_unknown_fields=True):
    """The address whose password was forgotten."""

    email: Email


class ResetBody(Struct, forbid_unknown_fields=True):
    """A new password with the code that was sent to the address."""

    email: Email
    code: Code
    new_password: Password


class CodeBody(Struct, forbid_unknown_fields=True):
    """The code that was sent to your address."""

    code: Code


class ProfileBody(Struct, forbid_unknown_fields=True):
    """A change of your profile. Absent fields stay as they are."""

    full_name: FullName | UnsetType | None = UNSET


class DeletionBody(Struct):
    """The password of the account to delete. Service accounts and users of other issuers need none."""

    password: PresentPassword | UnsetType = UNSET


class PasswordBody(Struct):
    """A change of your password."""

    current_password: PresentPassword
    new_password: Password


class MessageAnswer(Struct):
    """A message for the user."""

    message: Message


class PasswordAnswer(Struct):
    """A message for the user, and new tokens of the session."""

    message: Message
    access_token: AccessToken
    refresh_token: RefreshToken
    expires_in: Lifetime


@routes.route(
    "POST",
    "/auth/register",
    "Register an account",
    access=Access.PUBLIC,
    status=201,
    body=RegisterBody,
    answer=User,
    limit=SIGN_UPS,
    errors=(400,),
)
def register(container: Container, body: RegisterBody) -> User:
    """Create an account. Sign in with it to get a token."""
    services = container.users, container.identity, container.cohorts
    return accounts.register(*services, body.email.strip(), body.password, body.full_name, body.invitation_code)


@routes.route("POST", "/auth/login", "Sign in", access=Access.PUBLIC, body=LoginBody, answer=TokenAnswer, errors=(401,))
def login(container: Container, body: LoginBody, address: str) -> TokenAnswer:
    """Exchange e-mail address and password for an access token."""
    with container.limiter.attempt(body.email, address):
        return _answer(accounts.login(container.users, container.identity, body.email, body.password))


@routes.route(
    "POST",
    "/auth/refresh",
    "Get a new access token",
    access=Access.PUBLIC,
    body=RefreshBody,
    answer=TokenAnswer,
    errors=(401,),
)
def refresh(container: Container, body: RefreshBody) -> TokenAnswer:
    """Exchange a refresh token for a new access token."""
    return _answer(accounts.refresh(container.users, container.identity, body.refresh_token))


@routes.route(
    "POST",
    "/auth/google",
    "Sign in with Google",
    access=Access.PUBLIC,
    body=GoogleBody,
    answer=ForeignTokenAnswer,
    errors=(401, 404),
)
def google(container: Container, body: GoogleBody) -> ForeignTokenAnswer:
    """Exchange an ID token of Google for an access token. The account is made at the first time.

    The access token is valid as long as the ID token, usually an hour. Then the page asks Google for another one.
    """
    user = accounts.sign_in_with(GOOGLE, container.foreign, container.sessions, body.token)
    return ForeignTokenAnswer(body.token, max(0, user.expires_at - int(time.time())))


@routes.route(
    "POST",
    "/auth/forgot-password",
    "Send a code for a new password",
    access=Access.PUBLIC,
    body=ForgotBody,
    answer=MessageAnswer,
)
def forgot_password(container: Container, body: ForgotBody, address: str) -> MessageAnswer:
    """Send a code to the address, if it has an account. The answer does not say if it has."""
    container.limiter.mail(body.email, address)
    container.identity.send_reset_code(body.email)
    return MessageAnswer("If this address has an account, a code was sent to it")


@routes.route(
    "POST",
    "/auth/reset-password",
    "Set a new password",
    access=Access.PUBLIC,
    body=ResetBody,
    answer=MessageAnswer,
    errors=(400,),
)
def reset_password(container: Container, body: ResetBody, address: str) -> MessageAnswer:
    """Set a new password with the code, and end all sessions of the account."""
    email, code = body.email, body.code.strip()
    with container.limiter.attempt(email, address):
        user_id = accounts.reset_password(container.users, container.identity, email, code, body.new_password)
    if user_id is not None:
        container.sessions.forget(user_id)
    return MessageAnswer("Password changed")


@routes.route("POST", "/auth/send-verification", "Send a code to your address", answer=MessageAnswer, errors=(400,))
def send_verification(container: Container, caller: Caller, request: Request, address: str) -> MessageAnswer:
    """Send a new code to verify the caller's address. The first one is sent by the registration."""
    accounts.check_own(caller)
    container.limiter.mail(caller.user_id, address)
    container.identity.send_verification_code(bearer_token(request))
    return MessageAnswer("A code was sent")


@routes.route("POST", "/auth/verify-email", "Verify your address", body=CodeBody, answer=MessageAnswer, errors=(400,))
def verify_email(container: Container, caller: Caller, request: Request, body: CodeBody, address: str) -> MessageAnswer:
    """Verify the caller's address with the code that was sent to it."""
    accounts.check_own(caller)
    services = container.users, container.identity, container.cohorts
    with container.limiter.attempt(caller.user_id, address):
        moved = accounts.verify_email(*services, caller, bearer_token(request), body.code.strip())
    if moved:
        container.sessions.forget(caller.user_id)
    return MessageAnswer("Address verified")


@routes.route("POST", "/auth/sign-out-everywhere", "Sign out everywhere", answer=MessageAnswer)
def sign_out_everywhere(container: Container, caller: Caller) -> MessageAnswer:
    """End the sessions of the caller on all devices, this one too. Other devices notice within a minute."""
    if caller.foreign is None:
        accounts.end_sessions(container.users, container.identity, caller.user_id)
    else:
        container.users.end_sessions(caller.user_id, [])
    container.sessions.forget(caller.user_id)
    return MessageAnswer("Signed out everywhere")


def _answer(session: Session) -> TokenAnswer:
    return TokenAnswer(session.access_token, session.refresh_token, session.expires_in)


@routes.route("GET", "/auth/me", "Get your profile", answer=User, scope=Scope.LEARNERS_READ)
def read_profile(container: Container, caller: Caller) -> User:
    """Return the profile of the caller."""
    return accounts.profile(container.users, container.identity, caller)


@routes.route("PUT", "/auth/me", "Update your profile", body=ProfileBody, answer=User, scope=Scope.LEARNERS_WRITE)
def update_profile(container: Container, caller: Caller, body: ProfileBody) -> User:
    """Change the caller's name and return the profile."""
    if body.full_name is not UNSET:
        container.users.set_full_name(caller.user_id, body.full_name)
    return accounts.profile(container.users, container.identity, caller)


@routes.route(
    "POST",
    "/auth/change-password",
    "Change your password",
    body=PasswordBody,
    faults_as_text=True,
    answer=PasswordAnswer,
)
def change_password(
    container: Container, caller: Caller, request: Request, body: PasswordBody, address: str
) -> PasswordAnswer:
    """Change the caller's password. The current password is required.

    All other sessions end within a minute. The refresh token of this one ends too, and the answer has a new one.
    """
    accounts.check_own(caller)
    token, users, identity = bearer_token(request), container.users, container.identity
    old, new = body.current_password, body.new_password
    with container.limiter.attempt(caller.user_id, address):
        session = accounts.change_password(users, identity, caller.user_id, token, old, new)
    container.sessions.forget(caller.user_id)
    return PasswordAnswer("Password changed", session.access_token, session.refresh_token, session.expires_in)


@routes.route(
    "POST",
    "/auth/delete-account",
    "Delete your account",
    body=DeletionBody,
    faults_as_text=True,
    answer=MessageAnswer,
    scope=Scope.LEARNERS_DELETE,
)
def delete_account(container: Container, caller: Caller, body: DeletionBody, address: str) -> MessageAnswer:
    """Delete the caller's account with all tasks and the practice state. The password is required.

    A service account deletes its learner without a password. Users of other issuers need a token of the last ten
    minutes.
    """
    password = None if isinstance(body.password, UnsetType) else body.password
    with container.limiter.attempt(caller.user_id, address):
        accounts.delete_account(container.users, container.identity, caller, password)
    container.sessions.forget(caller.user_id)
    container.service_accounts.forget(caller.user_id)
    return MessageAnswer("Account deleted")
