"""Accounts: register, sign in, profile, password, deletion."""

from __future__ import annotations

from msgspec import UNSET

from chalicelib.api.account_schemas import (
    DeletionBody,
    LoginBody,
    PasswordBody,
    ProfileBody,
    RegisterBody,
    TokenAnswer,
)
from chalicelib.api.routing import Access, Routes
from chalicelib.api.schemas import MessageAnswer
from chalicelib.domain.accounts import Caller, User
from chalicelib.services import accounts
from chalicelib.wiring import Container

routes = Routes(__name__, "accounts")


@routes.route(
    "POST", "/auth/register", "Make an account", access=Access.PUBLIC, status=201, body=RegisterBody, answer=User
)
def register(container: Container, body: RegisterBody) -> User:
    """Make an account."""
    return accounts.register(container.users, container.identity, body.email.strip(), body.password, body.full_name)


@routes.route("POST", "/auth/login", "Get a token", access=Access.PUBLIC, body=LoginBody, answer=TokenAnswer)
def login(container: Container, body: LoginBody) -> TokenAnswer:
    """Exchange e-mail address and password for a token."""
    return TokenAnswer(accounts.login(container.users, container.identity, body.email, body.password))


@routes.route("GET", "/auth/me", "Read one's profile", answer=User)
def read_profile(container: Container, caller: Caller) -> User:
    """The caller's profile."""
    return accounts.profile(container.users, container.identity, caller.user_id)


@routes.route("PUT", "/auth/me", "Change one's profile", body=ProfileBody, answer=User)
def update_profile(container: Container, caller: Caller, body: ProfileBody) -> User:
    """Change the caller's name, or nothing."""
    if body.full_name is UNSET:
        return accounts.profile(container.users, container.identity, caller.user_id)
    return accounts.update_profile(container.users, container.identity, caller.user_id, body.full_name)


@routes.route(
    "POST",
    "/auth/change-password",
    "Change one's password",
    body=PasswordBody,
    faults_as_text=True,
    answer=MessageAnswer,
)
def change_password(container: Container, caller: Caller, body: PasswordBody) -> MessageAnswer:
    """Change the caller's password."""
    accounts.change_password(
        container.users, container.identity, caller.user_id, body.current_password, body.new_password
    )
    return MessageAnswer("Password changed")


@routes.route(
    "POST",
    "/auth/delete-account",
    "Delete one's account and all its data",
    body=DeletionBody,
    faults_as_text=True,
    answer=MessageAnswer,
)
def delete_account(container: Container, caller: Caller, body: DeletionBody) -> MessageAnswer:
    """Delete the caller's account, tasks and practice state."""
    accounts.delete_account(container.users, container.identity, caller.user_id, body.password)
    return MessageAnswer("Account deleted")
