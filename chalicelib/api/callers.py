"""The caller of a request: a user with an access token, or a service account that acts for a learner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from chalice.app import Request

from chalicelib import logs
from chalicelib.api import errors
from chalicelib.domain.accounts import ADMIN_GROUP, Caller
from chalicelib.domain.errors import Fault, ForbiddenError, InvalidInputError, NotFoundError, UnauthenticatedError
from chalicelib.domain.service_accounts import LEARNER_HEADER, Scope, ServiceAccount, ServiceAction
from chalicelib.wiring import Container

COHORT_PARAMETER = "cohort"
"""The parameter of a query by which an admin names another cohort."""


def bearer_token(request: Request) -> str:
    """Return the access token or the key of a request. Raises UnauthenticatedError."""
    # If a key could be sent in two headers, a proxy and the API might check different ones.
    if _is_repeated(request, "authorization"):
        raise UnauthenticatedError("Not authenticated")
    scheme, _, token = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise UnauthenticatedError("Not authenticated")
    return str(token.strip())


def person(
    request: Request, token: str, container: Container, *, for_admins: bool, of_cohort: bool
) -> tuple[Caller, Container]:
    """Return the user of an access token, and the container of the user's cohort, or of the one that an admin names.

    Raises UnauthenticatedError, ForbiddenError, NotFoundError.
    """
    caller = container.foreign.verify(token) or container.identity.verify(token)
    logs.set_user(caller.user_id)
    cohort = container.sessions.check(caller, token)
    caller = caller.within(cohort)
    logs.set_cohort(container.in_cohort(cohort).log_fields)
    if for_admins and not caller.is_admin:
        raise ForbiddenError("Only admins may do this")
    if LEARNER_HEADER.lower() in request.headers:
        raise ForbiddenError(f"Only service accounts may act for a learner ({LEARNER_HEADER})")
    if of_cohort and caller.is_admin:
        cohort = _named_cohort(request, container, caller, cohort)
    return caller, container.in_cohort(cohort)


def _named_cohort(request: Request, container: Container, caller: Caller, own: str | None) -> str | None:
    """Return the cohort that an admin's request names, by default the admin's own."""
    named = (request.query_params or {}).get(COHORT_PARAMETER)
    if not named or named == (own or container.settings.cohort):
        return own
    if caller.admin_group != ADMIN_GROUP:
        raise ForbiddenError(f"Only members of {ADMIN_GROUP} may name another cohort ({COHORT_PARAMETER})")
    if not container.cohorts.exists(named):
        raise NotFoundError(f"There is no cohort {named}")
    return str(named)


def service(
    request: Request, account: ServiceAccount, container: Container, scope: Scope | None, needs_learner: bool
) -> Caller:
    """Return the caller of a service account's request. Raises ForbiddenError, InvalidInputError, NotFoundError."""
    learner_id = None
    if needs_learner and scope in account.scopes:  # else it is refused, with or without a learner
        if _is_repeated(request, LEARNER_HEADER.lower()):
            raise InvalidInputError([Fault(("header", LEARNER_HEADER), "was sent twice", "value_error")])
        learner_id = request.headers.get(LEARNER_HEADER.lower())
        if learner_id is None:
            raise InvalidInputError([Fault(("header", LEARNER_HEADER), "Field required", "missing")])
    caller = container.service_accounts.caller(account, scope, learner_id, writes=request.method != "GET")
    logs.set_user(caller.user_id)
    return caller


def _is_repeated(request: Request, name: str) -> bool:
    sent = request.to_original_event().get("multiValueHeaders") or {}
    return any(len(values) > 1 for header, values in sent.items() if header.lower() == name)


class Record:
    """The facts about a service account's request that become known during it."""

    user_id: str | None = None
    status: int = 500


@contextmanager
def recorded(account: ServiceAccount, container: Container, operation: str) -> Iterator[Record]:
    """Put the request of a service account on record, in the log and in the database, however it ends."""
    record = Record()
    logs.note(service_account=account.name, service_key=account.hint)
    try:
        yield record
    except Exception as error:
        record.status = errors.status_of(error)
        raise
    finally:
        done = account.id, account.hint, operation, record.user_id, record.status, logs.request_id()
        container.service_accounts.record(ServiceAction(*done))
