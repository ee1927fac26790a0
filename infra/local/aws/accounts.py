"""Behaviour of Cognito's accounts that moto does not have, for the process of the local cloud.

moto sends no e-mail, accepts nearly every code of a forgotten password, and verifies no address. Here the codes are
real and go to the outbox. moto also keeps the tokens of a sign-in under the name with which the user signed in. A
sign-out by another name of the same user (address or ``sub``) would end nothing, and a refresh for a deleted user would
be an internal error.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import jwt
from moto.cognitoidp.exceptions import CodeMismatchException, NotAuthorizedError
from moto.cognitoidp.models import (
    CognitoIdpBackend,
    CognitoIdpUser,
    CognitoIdpUserPool,
    UserStatus,
    cognitoidp_backends,
)
from moto.cognitoidp.responses import CognitoIdpResponse
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.responses import ActionResult, EmptyResult

from infra.local.aws.outbox import Outbox
from infra.local.aws.resources import REGION

CODE_SECONDS = 3600.0
MAX_ATTEMPTS = 5

_create_refresh_token = CognitoIdpUserPool.create_refresh_token
_create_tokens = CognitoIdpUserPool.create_tokens_from_refresh_token
_sign_out = CognitoIdpUserPool.sign_out


def _refresh_token(pool: CognitoIdpUserPool, client_id: str, username: str) -> Any:
    return _create_refresh_token(pool, client_id, pool._get_user(username).username)


def _tokens(pool: CognitoIdpUserPool, refresh_token: str) -> Any:
    held = pool.refresh_tokens.get(refresh_token)
    if held is None or pool._get_user(held[1]) is None:
        raise NotAuthorizedError("Refresh Token has been revoked")
    return _create_tokens(pool, refresh_token)


def _signed_out(pool: CognitoIdpUserPool, username: str) -> None:
    _sign_out(pool, pool._get_user(username).username)


class Codes:
    """The codes that were sent, by user and purpose. They are lost when the process ends, and can be sent again."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._codes: dict[tuple[str, str], tuple[str, float, int]] = {}

    def send(self, user: CognitoIdpUser, subject: str) -> None:
        """Send a new code, which replaces an earlier one with the same subject."""
        code = f"{secrets.randbelow(1_000_000):06}"
        self._codes[user.id, subject] = code, time.monotonic() + CODE_SECONDS, MAX_ATTEMPTS
        self._outbox.send(user.attribute_lookup["email"], subject, code)

    def check(self, user: CognitoIdpUser | None, subject: str, code: str) -> None:
        """Raise CodeMismatchException unless this is the code; a code has a limited number of attempts."""
        key = (user.id if user is not None else "", subject)
        sent, expires_at, attempts = self._codes.get(key, ("", 0.0, 0))
        if attempts <= 0 or time.monotonic() > expires_at:
            raise CodeMismatchException("Invalid verification code provided, please try again.")
        if not secrets.compare_digest(sent.encode(), code.encode()):
            self._codes[key] = sent, expires_at, attempts - 1
            raise CodeMismatchException("Invalid verification code provided, please try again.")

    def use(self, user: CognitoIdpUser, subject: str) -> None:
        """Make a code invalid after its use. The user has read it, so the address is the user's."""
        del self._codes[user.id, subject]
        user.update_attributes([{"Name": "email_verified", "Value": "true"}])


FORGOTTEN = "Your code to set a new password"
VERIFICATION = "Your code to verify your address"


class _Mailing:
    """The operations of Cognito that send and take codes, as methods of moto's response class."""

    def __init__(self, codes: Codes) -> None:
        self._codes = codes

    def register(self) -> None:
        """Replace moto's operations, and add those that it does not have."""
        for name in (
            "forgot_password",
            "confirm_forgot_password",
            "get_user_attribute_verification_code",
            "verify_user_attribute",
        ):
            operation = getattr(self, name)
            setattr(CognitoIdpResponse, name, lambda response, operation=operation: operation(response))

    def forgot_password(self, response: Any) -> ActionResult:
        user = self._named(response)[1]
        if user is not None:
            self._codes.send(user, FORGOTTEN)
        return ActionResult({"CodeDeliveryDetails": {"DeliveryMedium": "EMAIL", "AttributeName": "email"}})

    def confirm_forgot_password(self, response: Any) -> EmptyResult:
        backend, user = self._named(response)
        self._codes.check(user, FORGOTTEN, response._get_param("ConfirmationCode"))
        password = response._get_param("Password")
        backend._validate_password(user.user_pool_id, password)
        user.password = password
        user.status = UserStatus.CONFIRMED
        self._codes.use(user, FORGOTTEN)
        return EmptyResult()

    def get_user_attribute_verification_code(self, response: Any) -> ActionResult:
        self._codes.send(_user_of_token(response), VERIFICATION)
        return ActionResult({"CodeDeliveryDetails": {"DeliveryMedium": "EMAIL", "AttributeName": "email"}})

    def verify_user_attribute(self, response: Any) -> EmptyResult:
        user = _user_of_token(response)
        self._codes.check(user, VERIFICATION, response._get_param("Code"))
        self._codes.use(user, VERIFICATION)
        return EmptyResult()

    @staticmethod
    def _named(response: Any) -> tuple[CognitoIdpBackend, Any]:
        """Return the backend of the request's client, and the user that the request names, None if there is none."""
        client_id, backend = response._get_param("ClientId"), _backend()
        pool = next((pool for pool in backend.user_pools.values() if client_id in pool.clients), None)
        return backend, pool._get_user(response._get_param("Username")) if pool is not None else None


def _backend() -> CognitoIdpBackend:
    return cognitoidp_backends[DEFAULT_ACCOUNT_ID][REGION]


def _user_of_token(response: Any) -> CognitoIdpUser:
    """Return the user of the request's access token. moto's own list of tokens is lost at a restart."""
    claims = jwt.decode(response._get_param("AccessToken"), options={"verify_signature": False})
    for pool in _backend().user_pools.values():
        for user in pool.users.values():
            if user.id == claims["sub"]:
                return user
    raise NotAuthorizedError("Access Token has been revoked")


def register(outbox: Outbox) -> None:
    """Make moto behave like Cognito, in this process."""
    _Mailing(Codes(outbox)).register()
    CognitoIdpUserPool.create_refresh_token = _refresh_token
    CognitoIdpUserPool.create_tokens_from_refresh_token = _tokens
    CognitoIdpUserPool.sign_out = _signed_out
