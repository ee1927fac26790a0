"""One table from errors to HTTP statuses, and the bodies that go with them."""

from __future__ import annotations

import logging
from typing import Any

from chalicelib.domain.errors import (
    BadRequestError,
    ConflictError,
    DatabaseUnavailableError,
    Fault,
    ForbiddenError,
    IdentityUnavailableError,
    InvalidInputError,
    NotFoundError,
    PayloadTooLargeError,
    QueueUnavailableError,
    RegistryUnavailableError,
    StudySmartError,
    TooManyRequestsError,
    UnauthenticatedError,
    UnavailableError,
)

log = logging.getLogger("studysmart.api")


class MethodNotAllowedError(StudySmartError):
    """The path exists, and not with this method."""

    def __init__(self, allowed: list[str]) -> None:
        super().__init__("Method Not Allowed")
        self.allowed = allowed


class UnsupportedMediaTypeError(StudySmartError):
    """The body says that it is something else than JSON in UTF-8."""


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
    UnavailableError: 503,
}
"""Statuses by error; a subclass that is not named has the status of its nearest base that is."""

INTERNAL = "Internal server error"

_OUTAGES: dict[type[UnavailableError], str] = {
    DatabaseUnavailableError: "The database is unavailable, please try again",
    RegistryUnavailableError: "The model registry is unavailable, please try again",
    QueueUnavailableError: "The training queue is unavailable, please try again",
    IdentityUnavailableError: "Signing in is unavailable, please try again",
}
"""What a client is told of an outage: the error's own text may hold hosts and names."""

RETRY_SECONDS = "2"


def status_of(error: BaseException) -> int:
    """The HTTP status of an error; 500 for whatever the table does not know."""
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)


def describe(error: Exception) -> tuple[Any, int, dict[str, str]]:
    """JSON body, status and extra headers of an error; logs those that an operator must see."""
    status = status_of(error)
    if isinstance(error, InvalidInputError):
        return {"detail": [_fault(fault) for fault in error.faults]}, status, {}
    if isinstance(error, UnavailableError):
        log.warning("%s: %s", type(error).__name__, error)
        detail = _OUTAGES.get(type(error), "The service is unavailable, please try again")
        return {"detail": detail}, status, {"Retry-After": RETRY_SECONDS}
    if status == 500:
        log.error("unexpected %s", type(error).__name__, exc_info=error)
        return {"detail": INTERNAL}, status, {}
    return {"detail": str(error) or type(error).__name__}, status, _headers(error)


def _headers(error: Exception) -> dict[str, str]:
    if isinstance(error, UnauthenticatedError):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, MethodNotAllowedError):
        return {"Allow": ", ".join(error.allowed)}
    if isinstance(error, TooManyRequestsError):
        return {"Retry-After": RETRY_SECONDS}
    return {}


def _fault(fault: Fault) -> dict[str, Any]:
    return {"loc": list(fault.loc), "msg": fault.msg, "type": fault.type}
