"""Accounts in Cognito: the one door to it, which turns its errors into ours.

The pool signs people in by e-mail address. Addresses are compared without regard to case: Cognito is told the lower
case, and the address as it was typed is kept in ``users``. An account's id is its ``sub``, which Cognito takes as a
user name too. Registering takes two calls (sign up, confirm); when the second was never made, the next sign-in with
the right password makes it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.domain.accounts import ADMIN_GROUP, Caller
from chalicelib.domain.errors import (
    BadRequestError,
    Fault,
    IdentityUnavailableError,
    InvalidInputError,
    NotFoundError,
    StudySmartError,
    TooManyRequestsError,
    UnauthenticatedError,
)
from chalicelib.storage.aws import error_code
from chalicelib.storage.token_cache import RememberingVerifier
from chalicelib.storage.tokens import KeyCache, TokenVerifier, fetch_from, issuer_of, jwks_url_of

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

log = logging.getLogger("studysmart.identity")

TAKEN = "Email already registered"
WRONG = "Incorrect email or password"
WRONG_PASSWORD = "Incorrect password"

_THROTTLED = frozenset({"TooManyRequestsException", "LimitExceededException", "TooManyFailedAttemptsException"})
_REFUSED = frozenset(
    {"NotAuthorizedException", "UserNotFoundException", "InvalidParameterException", "PasswordResetRequiredException"}
)


class CognitoIdentity:
    """Implements :class:`chalicelib.ports.Identity`."""

    def __init__(
        self,
        connect: Callable[[], CognitoIdentityProviderClient],
        *,
        pool_id: str,
        client_id: str,
        region: str,
        jwks_url: str | None = None,
    ) -> None:
        self._connect = connect
        self._pool_id = pool_id
        self._client_id = client_id
        keys = KeyCache(fetch_from(jwks_url or jwks_url_of(region, pool_id)))
        self._verifier = RememberingVerifier(TokenVerifier(keys, issuer_of(region, pool_id), client_id))

    @cached_property
    def _cognito(self) -> CognitoIdentityProviderClient:
        """Made at the first account request: most requests only verify a token, and need no client."""
        return self._connect()

    def register(self, email: str, password: str, full_name: str | None) -> str:
        """Make a confirmed account and return its ``sub``.

        BadRequestError when the address is taken, InvalidInputError when Cognito refuses the password or address.
        """
        name = username_of(email)
        attributes = [{"Name": "email", "Value": name}]
        if full_name:
            attributes.append({"Name": "name", "Value": full_name})
        try:
            made = self._cognito.sign_up(
                ClientId=self._client_id,
                Username=name,
                Password=password,
                UserAttributes=attributes,  # type: ignore[arg-type]  # the stubs want their own TypedDict
            )
            self._confirm(name)
        except (ClientError, BotoCoreError) as error:
            raise _refusal(error, "password") from error
        return made["UserSub"]

    def login(self, email: str, password: str) -> str:
        """An access token; UnauthenticatedError for whatever is wrong with address or password."""
        name = username_of(email)
        try:
            return self._token(name, password)
        except ClientError as error:
            if error_code(error) != "UserNotConfirmedException":
                raise _refusal(error) from error
        except BotoCoreError as error:
            raise _refusal(error) from error
        log.info("finishing a registration that was left unconfirmed")
        try:
            self._confirm(name)
            return self._token(name, password)
        except (ClientError, BotoCoreError) as error:
            raise _refusal(error) from error

    def verify(self, token: str) -> Caller:
        """The caller of a valid access token; UnauthenticatedError otherwise."""
        return self._verifier.verify(token)

    def email_verified(self, user_id: str) -> bool:
        """Whether the account's address was verified; UnauthenticatedError when there is no such account."""
        try:
            user = self._cognito.admin_get_user(UserPoolId=self._pool_id, Username=user_id)
        except (ClientError, BotoCoreError) as error:
            raise _refusal(error) from error
        values = {attribute["Name"]: attribute.get("Value") for attribute in user.get("UserAttributes", [])}
        return values.get("email_verified") == "true"

    def check_password(self, email: str, password: str) -> None:
        """Raise BadRequestError unless this is the account's password."""
        self._token_for_password(email, password)

    def change_password(self, email: str, old: str, new: str) -> None:
        """Change the password; BadRequestError when the old one is wrong."""
        token = self._token_for_password(email, old)
        try:
            self._cognito.change_password(PreviousPassword=old, ProposedPassword=new, AccessToken=token)
        except (ClientError, BotoCoreError) as error:
            raise _refusal(error, "new_password") from error

    def delete(self, user_id: str) -> None:
        """Delete the account; one that is gone already is no error."""
        try:
            self._cognito.admin_delete_user(UserPoolId=self._pool_id, Username=user_id)
        except ClientError as error:
            if error_code(error) != "UserNotFoundException":
                raise _refusal(error) from error
        except BotoCoreError as error:
            raise _refusal(error) from error

    def add_to_admins(self, email: str) -> None:
        """Put an account into the group ``admins``; its tokens say so from the next login on.

        NotFoundError when no account has the address.
        """
        try:
            self._cognito.admin_add_user_to_group(
                UserPoolId=self._pool_id, Username=username_of(email), GroupName=ADMIN_GROUP
            )
        except ClientError as error:
            if error_code(error) == "UserNotFoundException":
                raise NotFoundError(f"no account has the e-mail {email}") from error
            raise _refusal(error) from error
        except BotoCoreError as error:
            raise _refusal(error) from error

    def _token_for_password(self, email: str, password: str) -> str:
        try:
            return self.login(email, password)
        except UnauthenticatedError as error:
            raise BadRequestError(WRONG_PASSWORD) from error

    def _confirm(self, name: str) -> None:
        try:
            self._cognito.admin_confirm_sign_up(UserPoolId=self._pool_id, Username=name)
        except ClientError as error:
            # Somebody confirmed it in between: Cognito says NotAuthorized of a user whose status is CONFIRMED.
            if error_code(error) != "NotAuthorizedException":
                raise

    def _token(self, name: str, password: str) -> str:
        answer = self._cognito.initiate_auth(
            ClientId=self._client_id,
            AuthFlow="USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": name, "PASSWORD": password},
        )
        token = answer.get("AuthenticationResult", {}).get("AccessToken")
        if token is None:  # a challenge, such as a password that an administrator made temporary
            raise UnauthenticatedError(WRONG)
        return token


def username_of(email: str) -> str:
    """The form in which an address is Cognito's user name."""
    return email.strip().lower()


def _refusal(error: ClientError | BotoCoreError, password_field: str | None = None) -> StudySmartError:
    """Our error for one of boto3's. ``password_field`` names the body's field that Cognito may dislike."""
    code = error_code(error) if isinstance(error, ClientError) else ""
    message = error.response.get("Error", {}).get("Message", "") if isinstance(error, ClientError) else ""
    if code in _THROTTLED:
        return TooManyRequestsError("Too many attempts, please wait a moment")
    if password_field is not None:
        if code == "UsernameExistsException":
            return BadRequestError(TAKEN)
        if code in ("InvalidPasswordException", "InvalidParameterException"):
            field = "email" if "email" in message.lower() else password_field
            return InvalidInputError([Fault(("body", field), message or "Input was refused", "value_error")])
    if code in _REFUSED:
        return UnauthenticatedError(WRONG)
    return IdentityUnavailableError(f"Cognito failed: {error}")
