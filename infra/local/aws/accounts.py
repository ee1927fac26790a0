"""Behaviour of Cognito's accounts that moto does not have, for the process of the local cloud.

moto keeps the tokens of a sign-in under the name with which the user signed in. A sign-out by another name of the same
user (address or ``sub``) would end nothing, and a refresh for a deleted user would be an internal error.
"""

from __future__ import annotations

from typing import Any

from moto.cognitoidp.exceptions import NotAuthorizedError
from moto.cognitoidp.models import CognitoIdpUserPool

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


def register() -> None:
    """Make moto behave like Cognito, in this process."""
    CognitoIdpUserPool.create_refresh_token = _refresh_token
    CognitoIdpUserPool.create_tokens_from_refresh_token = _tokens
    CognitoIdpUserPool.sign_out = _signed_out
