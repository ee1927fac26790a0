"""What comes in and goes out of accounts: see :mod:`chalicelib.api.schemas`."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

# 128 is what Cognito takes as a user name, and the address is one.
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
    """A change of one's profile; what is absent stays as it is."""

    full_name: FullName | UnsetType | None = UNSET


class DeletionBody(Struct):
    """The password of the account to delete."""

    password: str


class PasswordBody(Struct):
    """A change of one's password."""

    current_password: str
    new_password: Password
