"""The table from errors to HTTP statuses, and the bodies that go with them."""

from __future__ import annotations

import logging
import math
from typing import Any

import msgspec

from chalicelib import logs
from chalicelib.domain.errors import (
    BadRequestError,
    ConfigurationError,
    ConflictError,
    DatabaseUnavailableError,
    ForbiddenError,
    IdentityUnavailableError,
    InvalidInputError,
    LimitError,
    NotFoundError,
    PayloadTooLargeError,
    QueueUnavailableError,
    RegistryUnavailableError,
    StudySmartError,
    TooManyRequestsError,
    TooSlowError,
    UnauthenticatedError,
    UnavailableError,
)

log = logging.getLogger("studysmart.api")


class MethodNotAllowedError(StudySmartError):
    """The path exists, but not with this method."""

    def __init__(self, allowed: list[str]) -> None:
        super().__init__("Method Not Allowed")
        self.allowed = allowed


class UnsupportedMediaTypeError(StudySmartError):
    """The body is declared as something other than JSON in UTF-8."""


STATUSES: dict[type[StudySmartError], int] = {
    BadRequestError: 400,
    UnauthenticatedError: 401,
    ForbiddenError: 403,
    NotFoundError: 404,
    MethodNotAllowedError: 405,
    ConflictError: 409,
    PayloadTooLargeError: 413,
    UnsupportedMediaTypeError: 415,
    InvalidInputError: 422,
    TooManyRequestsError: 429,
    ConfigurationError: 503,
    UnavailableError: 503,
}
"""Statuses by error. A subclass that is not listed has the status of its nearest listed base class."""

INTERNAL = "Internal server error"

_OUTAGES: dict[type[UnavailableError], str] = {
    DatabaseUnavailableError: "The database is unavailable, please try again",
    RegistryUnavailableError: "The model registry is unavailable, please try again",
    QueueUnavailableError: "The training queue is unavailable, please try again",
    TooSlowError: "The request took too long and was stopped, please ask for less",
    IdentityUnavailableError: "Signing in is unavailable, please try again",
}
"""Texts that clients see. The errors' own texts may contain names of hosts."""

RETRY_SECONDS = "2"


def status_of(error: BaseException) -> int:
    """Return the HTTP status of an error, 500 for an error that the table does not list."""
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)


def describe(error: Exception) -> tuple[Any, int, dict[str, str]]:
    """Return an error's JSON body, status and extra headers. Errors that an operator must see are logged."""
    status = status_of(error)
    if isinstance(error, InvalidInputError):
        return {"detail": msgspec.to_builtins(error.faults)}, status, {}
    if isinstance(error, UnavailableError):
        name = type(error).__name__
        logs.note(error=name)
        log.warning("%s: %s", name, error, extra=logs.repeats(name))
        detail = _OUTAGES.get(type(error), "The service is unavailable, please try again")
        return {"detail": detail}, status, {"Retry-After": RETRY_SECONDS}
    if isinstance(error, ConfigurationError):
        log.error("%s", error)
    if status == 500:
        log.error("unexpected %s", type(error).__name__, exc_info=error)
        return {"detail": INTERNAL}, status, {}
    return {"detail": str(error) or type(error).__name__}, status, _headers(error)


def _headers(error: Exception) -> dict[str, str]:
    if isinstance(error, UnauthenticatedError):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, MethodNotAllowedError):
        return {"Allow": ", ".join(error.allowed)}
    if isinstance(error, LimitError):
        return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    if isinstance(error, TooManyRequestsError):
        return {"Retry-After": RETRY_SECONDS}
    return {}
