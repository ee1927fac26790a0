"""Statements of the Experience API (xAPI 1.0.3) about answers: a small part of its statement resource."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from chalice.app import Request
from msgspec import Struct

from chalicelib.api import statements, validation
from chalicelib.api.answers import store
from chalicelib.api.callers import Record
from chalicelib.api.routing import Reply, Routes
from chalicelib.api.statements import XAPI_THROUGH, XAPI_VERSION, ShownStatement, Statement
from chalicelib.domain.accounts import Caller
from chalicelib.domain.answers import MAX_BATCH, CompletedAnswer
from chalicelib.domain.errors import BadRequestError, ForbiddenError, InvalidInputError
from chalicelib.domain.fields import about
from chalicelib.domain.service_accounts import Scope, ServiceAccount
from chalicelib.services import answers
from chalicelib.wiring import Container

routes = Routes(__name__, "xapi", Scope.LEARNERS_READ)

PAGE = 100
_FIELDS = {"completed_at": "timestamp", "actual_time_seconds": "result.duration"}
"""The parts of a statement by the fields of an answer."""

_VERSION_HEADER = {XAPI_VERSION: "Version of xAPI of the request, 1.0 or 1.0.x"}

StatementIds = Annotated[
    list[str], about("Ids of the statements, in their order", ["12345678-1234-4678-9234-567812345678"])
]


class StatementQuery(Struct, forbid_unknown_fields=True):
    """The learner, and the part of the statements to return. Other parameters of xAPI are refused."""

    agent: Annotated[
        str,
        about(
            "The learner, as an agent in JSON",
            '{"account": {"homePage": "urn:studysmart:learners", "name": "pupil-4711"}}',
            min_length=1,
            max_length=1_000,
        ),
    ]
    since: Annotated[datetime, about("Only statements whose `timestamp` is later", "2026-03-01T00:00:00Z")] | None = (
        None
    )
    until: (
        Annotated[datetime, about("Only statements whose `timestamp` is not later", "2026-04-01T00:00:00Z")] | None
    ) = None
    limit: Annotated[int, about("Maximum number of statements; 0 for the most, which is 100", ge=0, le=PAGE)] = 0
    ascending: Annotated[bool, about("Oldest first instead of newest first")] = False
    place: Annotated[int, about("Place from the address in `more`", ge=0, le=2**31 - 1)] | None = None


class StatementResult(Struct):
    """A page of statements."""

    statements: Annotated[list[ShownStatement], about("The statements")]
    more: Annotated[str, about("Path and query of the next page, relative to the server; empty on the last page", "")]


def read_statements(_: Any, raw: bytes, content_type: str, encoding: str) -> list[Statement]:
    """Return the statements of a body, which is one statement or a list. Raises BadRequestError and others."""
    value = validation.read_json(raw, content_type, encoding)
    if isinstance(value, list) and not 1 <= len(value) <= MAX_BATCH:
        raise BadRequestError(f"statements: a request must have 1 to {MAX_BATCH:,} statements, and has {len(value)}")
    return statements.statements_from(value)


@routes.route(
    "POST",
    "/xapi/statements",
    "Store xAPI statements",
    body=Statement | list[Statement],
    read_body=read_statements,
    answer=StatementIds,
    faults_as_text=True,
    headers=_VERSION_HEADER,
    sends=(XAPI_VERSION, XAPI_THROUGH),
    errors=(404, 409),
    scope=Scope.ANSWERS,
    learner=False,
)
def store_statements(container: Container, caller: Caller, body: list[Statement], request: Request) -> Reply:
    """Store the answers that one statement or up to 1,000 report: all of them or none. For service accounts.

    Only statements of the verb "answered" are accepted. A statement that cannot be stored, or that has a property which
    is not in the schema, is a 400 that names the property and its value. A statement whose id is known is neither
    changed nor counted again, so a request can be repeated. An id of another learner's answer is a 409.
    """
    account = _account(caller, request)
    is_list = len(body) > 1
    batch, names = [], {}
    for n, one in enumerate(body):
        learner_id = one.actor.account.name
        user_id = account.user_id(learner_id)
        batch.append(statements.answer_of(one, user_id, f"statements[{n}]." if is_list else ""))
        names[user_id] = learner_id
    _check(batch)
    container.service_accounts.learners(account, names.values())
    store(container, caller, batch, names)
    return Reply([one.task_id for one in batch], _headers())


@routes.route(
    "GET",
    "/xapi/statements",
    "Read xAPI statements",
    query=StatementQuery,
    answer=StatementResult,
    faults_as_text=True,
    headers=_VERSION_HEADER,
    sends=(XAPI_VERSION, XAPI_THROUGH),
    errors=(404,),
    learner=False,
)
def read_statements_of(
    container: Container, caller: Caller, query: StatementQuery, request: Request, record: Record
) -> Reply:
    """Return the completed answers of one learner as statements, newest first. For service accounts.

    These are all answers of the learner, however they came. `since` and `until` compare the time of the answer, because
    the time of storing is not kept. Statements are as the answers are now, also after a correction.
    """
    account = _account(caller, request)
    learner_id = statements.learner_of(query.agent)
    learner = container.service_accounts.caller(account, Scope.LEARNERS_READ, learner_id, writes=False)
    record.user_id = learner.user_id
    limit = query.limit or PAGE
    since, until = _utc(query.since), _utc(query.until)
    found = container.tasks.given_answers(
        learner.user_id, since, until, query.place, limit + 1, ascending=query.ascending
    )
    shown, more = found[:limit], ""
    if len(found) > limit:
        given = {
            "agent": query.agent,
            "since": since and since.isoformat(),
            "until": until and until.isoformat(),
            "limit": limit,
            "ascending": "true" if query.ascending else None,
            "place": shown[-1].place,
        }
        path = quote(str(request.context.get("path") or "/xapi/statements"), safe="/")
        more = f"{path}?{urlencode({name: value for name, value in given.items() if value is not None})}"
    return Reply(StatementResult([statements.statement_of(one, learner_id) for one in shown], more), _headers())


def _account(caller: Caller, request: Request) -> ServiceAccount:
    """Return the service account of a request. Raises ForbiddenError, and BadRequestError for another version."""
    if caller.service is None:
        raise ForbiddenError("Only service accounts may send and read statements")
    version = request.headers.get(XAPI_VERSION.lower())
    if version is None or not statements.is_version(version):
        got = "it is missing" if version is None else f"got {version[:40]!a}"
        raise BadRequestError(f"{XAPI_VERSION}: must be 1.0 or 1.0.x, {got}")
    return caller.service


def _check(batch: list[CompletedAnswer]) -> None:
    """Raise BadRequestError for impossible times and repeated ids."""
    try:
        answers.check_times(batch)
    except InvalidInputError as error:
        texts = (f"statements[{fault.loc[2]}].{_FIELDS[str(fault.loc[3])]}: {fault.msg}" for fault in error.faults)
        raise BadRequestError("; ".join(texts)) from error
    seen: set[str] = set()
    for n, one in enumerate(batch):
        if one.task_id in seen:
            raise BadRequestError(f"statements[{n}].id: {one.task_id} is the id of an earlier statement of the request")
        seen.add(one.task_id)


def _utc(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at


def _headers() -> dict[str, str]:
    return {XAPI_VERSION: statements.VERSION, XAPI_THROUGH: datetime.now(UTC).isoformat()}
