"""Accounts in Cognito. Its errors are translated into ours.

Users sign in with their e-mail address, in any case. Cognito stores it in lower case, and ``users`` stores it as typed.
The id of an account is its ``sub``, which Cognito also accepts as a user name. A registration takes two calls (sign up,
confirm). If a crash prevented the second call, the next login with the right password makes it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import logs
from chalicelib.domain.accounts import ADMIN_GROUP, Caller, Session
from chalicelib.domain.errors import (
    BadRequestError,
    EmailTakenError,
    Fault,
    IdentityUnavailableError,
    InvalidInputError,
    NotFoundError,
    StudySmartError,
    TooManyRequestsError,
    UnauthenticatedError,
)
from chalicelib.storage.aws import error_code
from chalicelib.storage.token_cache import CachingVerifier
from chalicelib.storage.tokens import KeyCache, TokenVerifier, fetch_document, issuer_of, jwks_url_of

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient
    from mypy_boto3_cognito_idp.literals import AuthFlowTypeType

log = logging.getLogger("studysmart.identity")

TAKEN = "Email already registered"
WRONG = "Incorrect email or password"
ENDED = "The session has ended, please sign in again"
WRONG_CODE = "The code is wrong or has expired"
WRONG_PASSWORD = "Incorrect password"  # noqa: S105 - no secret

_THROTTLED = frozenset({"TooManyRequestsException", "LimitExceededException", "TooManyFailedAttemptsException"})
_WRONG_CODE = frozenset(
    {"CodeMismatchException", "ExpiredCodeException", "UserNotFoundException", "UserNotConfirmedException"}
)
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
        keys = KeyCache(partial(fetch_document, jwks_url or jwks_url_of(region, pool_id)))
        self._verifier = CachingVerifier(TokenVerifier(keys, issuer_of(region, pool_id), client_id).verify)

    @cached_property
    def _cognito(self) -> CognitoIdentityProviderClient:
        """The client, created on demand, because most requests only verify a token."""
        return self._connect()

    def register(self, email: str, password: str, full_name: str | None) -> str:
        """Create an unconfirmed account and return its ``sub``.

        Raises EmailTakenError, InvalidInputError if Cognito refuses the password or address.
        """
        name = username_of(email)
        attributes = [{"Name": "email", "Value": name}]
        if full_name:
            attributes.append({"Name": "name", "Value": full_name})
        with _translated("password"):
            created = self._cognito.sign_up(
                ClientId=self._client_id,
                Username=name,
                Password=password,
                UserAttributes=attributes,  # type: ignore[arg-type]  # the stubs want their own TypedDict
            )
        return created["UserSub"]

    def confirm(self, email: str) -> None:
        """Finish a registration."""
        with _translated():
            self._confirm(username_of(email))

    def account_of(self, email: str, password: str) -> tuple[str, bool] | None:
        """Return id of the account with this password, and if it is confirmed. None if there is no such account."""
        name = username_of(email)
        try:
            with _translated():
                try:
                    return self.verify(self._tokens(name, password).access_token).user_id, True
                except ClientError as error:
                    # Cognito says so only if the password is right.
                    if error_code(error) != "UserNotConfirmedException":
                        raise
                return self._attributes(name)["sub"], False
        except UnauthenticatedError:
            return None

    def login(self, email: str, password: str) -> Session:
        """Return new tokens. Raises UnauthenticatedError if the address or the password is wrong."""
        name = username_of(email)
        with _translated():
            try:
                return self._tokens(name, password)
            except ClientError as error:
                if error_code(error) != "UserNotConfirmedException":
                    raise
            log.info("finishing a registration that was left unconfirmed")
            self._confirm(name)
            return self._tokens(name, password)

    def refresh(self, refresh_token: str) -> Session:
        """Return a new access token for a refresh token. Raises UnauthenticatedError if it is no longer valid."""
        with _translated():
            try:
                return self._authenticate("REFRESH_TOKEN_AUTH", {"REFRESH_TOKEN": refresh_token}, refresh_token)
            except ClientError as error:
                if error_code(error) in _REFUSED:
                    raise UnauthenticatedError(ENDED) from error
                raise

    def sign_out(self, user_id: str) -> None:
        """End all refresh tokens of an account. A missing account is not an error."""
        with _translated():
            try:
                self._cognito.admin_user_global_sign_out(UserPoolId=self._pool_id, Username=user_id)
            except ClientError as error:
                if error_code(error) != "UserNotFoundException":
                    raise

    def verify(self, token: str) -> Caller:
        """Return the caller of a valid access token. Raises UnauthenticatedError."""
        return self._verifier.verify(token)

    def email_verified(self, user_id: str) -> bool:
        """Return whether the account's address is verified. Raises UnauthenticatedError for a missing account."""
        with _translated():
            return self._attributes(user_id).get("email_verified") == "true"

    def is_admin(self, user_id: str, group: str = ADMIN_GROUP) -> bool:
        """Return whether the account exists, is enabled and is in a group of administrators."""
        with _translated():
            try:
                if not self._cognito.admin_get_user(UserPoolId=self._pool_id, Username=user_id).get("Enabled", True):
                    return False
                found = self._cognito.admin_list_groups_for_user(UserPoolId=self._pool_id, Username=user_id)
            except ClientError as error:
                if error_code(error) != "UserNotFoundException":
                    raise
                return False
        return any(one.get("GroupName") == group for one in found.get("Groups", []))

    def check_password(self, email: str, password: str) -> None:
        """Raise BadRequestError unless this is the account's password."""
        self._token_for_password(email, password)

    def change_password(self, email: str, old: str, new: str) -> None:
        """Change the password. Raises BadRequestError if the old one is wrong."""
        token = self._token_for_password(email, old)
        with _translated("new_password"):
            self._cognito.change_password(PreviousPassword=old, ProposedPassword=new, AccessToken=token)

    def send_reset_code(self, email: str) -> None:
        """Send a code for a new password to an address, if it has an account. The caller cannot see if it has.

        Cognito sends nothing to an address that is not verified, and limits the number of messages.
        """
        with _translated():
            try:
                self._cognito.forgot_password(ClientId=self._client_id, Username=username_of(email))
            except ClientError as error:
                if error_code(error) not in _REFUSED | _THROTTLED:
                    raise
                log.warning("no code for a new password was sent: %s", error_code(error))

    def reset_password(self, email: str, code: str, new: str) -> None:
        """Set a new password with a code.

        Raises BadRequestError if the code is wrong or has expired, InvalidInputError if Cognito refuses the password.
        """
        with _translated("new_password"), _checked_code():
            self._cognito.confirm_forgot_password(
                ClientId=self._client_id, Username=username_of(email), ConfirmationCode=code, Password=new
            )

    def send_verification_code(self, token: str) -> None:
        """Send a code to the address of the access token's account. Raises UnauthenticatedError."""
        with _translated():
            self._cognito.get_user_attribute_verification_code(AccessToken=token, AttributeName="email")

    def verify_email(self, token: str, code: str) -> None:
        """Mark the address as verified. Raises BadRequestError if the code is wrong or has expired."""
        with _translated(), _checked_code():
            self._cognito.verify_user_attribute(AccessToken=token, AttributeName="email", Code=code)

    def delete(self, user_id: str) -> None:
        """Delete the account. A missing account is not an error."""
        with _translated():
            try:
                self._cognito.admin_delete_user(UserPoolId=self._pool_id, Username=user_id)
            except ClientError as error:
                if error_code(error) != "UserNotFoundException":
                    raise

    def add_to_admins(self, email: str, group: str = ADMIN_GROUP) -> None:
        """Put an account into a group of administrators. Its tokens name the group from the next login on.

        Raises NotFoundError if no account has the address.
        """
        with _translated(), _existing(email):
            self._cognito.admin_add_user_to_group(
                UserPoolId=self._pool_id, Username=username_of(email), GroupName=group
            )

    def id_of(self, email: str) -> str:
        """Return the id of the account with this address. Raises NotFoundError."""
        with _translated(), _existing(email):
            return self._attributes(username_of(email))["sub"]

    def set_password(self, email: str, new: str) -> None:
        """Set the password of an account without its present one.

        Raises NotFoundError, InvalidInputError if Cognito refuses the password.
        """
        with _translated("password"), _existing(email):
            self._cognito.admin_set_user_password(
                UserPoolId=self._pool_id, Username=username_of(email), Password=new, Permanent=True
            )

    def set_enabled(self, email: str, enabled: bool) -> None:
        """Let an account sign in, or refuse it. Raises NotFoundError."""
        change = self._cognito.admin_enable_user if enabled else self._cognito.admin_disable_user
        with _translated(), _existing(email):
            change(UserPoolId=self._pool_id, Username=username_of(email))

    def _token_for_password(self, email: str, password: str) -> str:
        try:
            return self.login(email, password).access_token
        except UnauthenticatedError as error:
            raise BadRequestError(WRONG_PASSWORD) from error

    def _confirm(self, name: str) -> None:
        try:
            self._cognito.admin_confirm_sign_up(UserPoolId=self._pool_id, Username=name)
        except ClientError as error:
            # Cognito answers so if another request has confirmed the user meanwhile.
            if error_code(error) != "NotAuthorizedException":
                raise

    def _attributes(self, name: str) -> dict[str, str]:
        user = self._cognito.admin_get_user(UserPoolId=self._pool_id, Username=name)
        return {attribute["Name"]: attribute.get("Value", "") for attribute in user.get("UserAttributes", [])}

    def _tokens(self, name: str, password: str) -> Session:
        return self._authenticate("USER_PASSWORD_AUTH", {"USERNAME": name, "PASSWORD": password})

    def _authenticate(self, flow: AuthFlowTypeType, parameters: dict[str, str], refresh_token: str = "") -> Session:
        answer = self._cognito.initiate_auth(ClientId=self._client_id, AuthFlow=flow, AuthParameters=parameters)
        result = answer.get("AuthenticationResult", {})
        token = result.get("AccessToken")
        if token is None:  # a challenge, such as a password that an administrator made temporary
            raise UnauthenticatedError(WRONG)
        # A refresh gives a new refresh token only if the client rotates them.
        return Session(token, result.get("RefreshToken", refresh_token), result.get("ExpiresIn", 3600))


@contextmanager
def _existing(email: str) -> Iterator[None]:
    """Raise NotFoundError if Cognito does not know the user."""
    try:
        yield
    except ClientError as error:
        if error_code(error) == "UserNotFoundException":
            raise NotFoundError(f"no account has the e-mail {email}") from error
        raise


@contextmanager
def _checked_code() -> Iterator[None]:
    """Raise BadRequestError for a refused code. A missing account is not distinguished from a wrong code."""
    try:
        yield
    except ClientError as error:
        if error_code(error) in _WRONG_CODE:
            raise BadRequestError(WRONG_CODE) from error
        raise


def username_of(email: str) -> str:
    """Return an address as Cognito's user name."""
    return email.strip().lower()


@contextmanager
def _translated(password_field: str | None = None) -> Iterator[None]:
    """Raise our error for an error of botocore inside. See :func:`_refusal` for ``password_field``."""
    try:
        with logs.timed("cognito"):
            yield
    except (ClientError, BotoCoreError) as error:
        raise _refusal(error, password_field) from error


def _refusal(error: ClientError | BotoCoreError, password_field: str | None) -> StudySmartError:
    """Return our error for an error of botocore.

    ``password_field`` is the field of the request's body that holds a new password, which Cognito may refuse.
    """
    code = error_code(error)
    message = error.response.get("Error", {}).get("Message", "") if isinstance(error, ClientError) else ""
    if code in _THROTTLED:
        return TooManyRequestsError("Too many attempts, please wait a moment")
    if password_field is not None:
        if code == "UsernameExistsException":
            return EmailTakenError(TAKEN)
        if code in ("InvalidPasswordException", "InvalidParameterException"):
            field = "email" if "email" in message.lower() else password_field
            return InvalidInputError([Fault(("body", field), message or "Input was refused", "value_error")])
    if code in _REFUSED:
        return UnauthenticatedError(WRONG)
    return IdentityUnavailableError(f"Cognito failed: {error}")
