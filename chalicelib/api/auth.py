"""Accounts: register, sign in, profile, password, deletion."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from chalicelib.api.routing import Access, Routes
from chalicelib.domain.accounts import Caller, User
from chalicelib.services import accounts
from chalicelib.wiring import Container

routes = Routes(__name__, "accounts")

# Cognito limits user names to 128 characters, and the address is the user name.
Email = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=128,
        pattern=r"^\s*[^@\s]+@[^@\s]+\.[^@\s]+\s*$",
        extra={"fault": ("value_error", "value is not a valid email address")},
    ),
]
Password = Annotated[
    str,
    Meta(
        min_length=8,
        max_length=256,
        pattern=r"^\S[\s\S]*\S(?![\s\S])",
        extra={"fault": ("value_error", "Password should not begin or end with a space")},
    ),
]
FullName = Annotated[str, Meta(max_length=200)]


class RegisterBody(Struct):
    """A new account."""

    email: Email
    password: Password
    full_name: FullName | None = None


class LoginBody(Struct):
    """E-mail address and password of an account."""

    email: str
    password: str


class TokenAnswer(Struct):
    """An access token, to be sent as ``Authorization: Bearer …``."""

    access_token: str
    token_type: str = "bearer"


class ProfileBody(Struct):
    """A change of your profile. Absent fields stay as they are."""

    full_name: FullName | UnsetType | None = UNSET


class DeletionBody(Struct):
    """The password of the account to delete."""

    password: str


class PasswordBody(Struct):
    """A change of your password."""

    current_password: str
    new_password: Password


class MessageAnswer(Struct):
    """A message for the user."""

    message: str


@routes.route(
    "POST", "/auth/register", "Register an account", access=Access.PUBLIC, status=201, body=RegisterBody, answer=User
)
def register(container: Container, body: RegisterBody) -> User:
    """Create an account. Sign in with it to get a token."""
    return accounts.register(container.users, container.identity, body.email.strip(), body.password, body.full_name)


@routes.route("POST", "/auth/login", "Sign in", access=Access.PUBLIC, body=LoginBody, answer=TokenAnswer)
def login(container: Container, body: LoginBody) -> TokenAnswer:
    """Exchange e-mail address and password for an access token."""
    return TokenAnswer(accounts.login(container.users, container.identity, body.email, body.password))


@routes.route("GET", "/auth/me", "Get your profile", answer=User)
def read_profile(container: Container, caller: Caller) -> User:
    """Return the profile of the caller."""
    return accounts.profile(container.users, container.identity, caller.user_id)


@routes.route("PUT", "/auth/me", "Update your profile", body=ProfileBody, answer=User)
def update_profile(container: Container, caller: Caller, body: ProfileBody) -> User:
    """Change the caller's name and return the profile."""
    if body.full_name is not UNSET:
        container.users.set_full_name(caller.user_id, body.full_name)
    return accounts.profile(container.users, container.identity, caller.user_id)


@routes.route(
    "POST",
    "/auth/change-password",
    "Change your password",
    body=PasswordBody,
    faults_as_text=True,
    answer=MessageAnswer,
)
def change_password(container: Container, caller: Caller, body: PasswordBody) -> MessageAnswer:
    """Change the caller's password. The current password is required."""
    accounts.change_password(
        container.users, container.identity, caller.user_id, body.current_password, body.new_password
    )
    return MessageAnswer("Password changed")


@routes.route(
    "POST", "/auth/delete-account", "Delete your account", body=DeletionBody, faults_as_text=True, answer=MessageAnswer
)
def delete_account(container: Container, caller: Caller, body: DeletionBody) -> MessageAnswer:
    """Delete the caller's account with all tasks and the practice state. The password is required."""
    accounts.delete_account(container.users, container.identity, caller.user_id, body.password)
    return MessageAnswer("Account deleted")
