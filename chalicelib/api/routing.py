"""Routes: a view declares what it takes and returns, and this module does the rest.

For each request :func:`serve` and :meth:`Routes._answer` verify the token, read body, query and path, call the view,
encode its result, turn errors into statuses, add the CORS headers and write the request's log line. This is a
decorator and not Chalice middleware, because middleware does not see the exceptions of a view.

A view takes by name what it needs: ``container`` (the adapters), ``caller``, ``body``, ``query``, ``request``, the
``address`` of the client, the ``record`` of a service account's request, and the parameters of its path. Its docstring
is the operation's description in OpenAPI.
"""

from __future__ import annotations

import inspect
import logging
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping
from enum import Enum
from functools import wraps
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlencode
from uuid import uuid4

import msgspec
from chalice.app import Blueprint, Request, Response

from chalicelib import logs, metrics, wiring
from chalicelib.api import callers, errors, validation
from chalicelib.api.cors import cors_headers
from chalicelib.domain.errors import (
    BadRequestError,
    ConfigurationError,
    InvalidInputError,
    NotFoundError,
)
from chalicelib.domain.limits import Limit
from chalicelib.domain.service_accounts import KEY_PREFIX, Scope

log = logging.getLogger("studysmart.api")

_ID = re.compile("[0-9a-fA-F-]{32,36}")

View = TypeVar("View", bound=Callable[..., Any])


class Access(Enum):
    """The callers that a route admits."""

    PUBLIC = "public"
    STUDENT = "student"
    ADMIN = "admin"


class Reply(msgspec.Struct, frozen=True):
    """A view's result together with headers or a status of its own."""

    value: Any
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    status: int | None = None


BodyReader = Callable[[Any, bytes, str, str], Any]
"""Reads a body from its declared type, its bytes, its content type and its content encoding."""


class Operation(msgspec.Struct, frozen=True):
    """The declaration of a route, from which it is served and described in OpenAPI."""

    method: str
    path: str
    summary: str
    description: str
    tag: str
    name: str
    access: Access
    status: int
    body: Any
    query: type[msgspec.Struct] | None
    answer: Any
    documented: bool
    faults_as_text: bool
    read_body: BodyReader
    media_type: str
    headers: dict[str, str]
    limit: Limit | None
    errors: tuple[int, ...]
    error_answers: dict[int, Any]
    sends: tuple[str, ...]
    example: Any
    about_tag: str
    needs_services: bool
    scope: Scope | None
    learner: bool
    of_cohort: bool


class Routes:
    """A Chalice blueprint with the operations that it declares."""

    def __init__(self, module: str, tag: str, reads: Scope | None = None, writes: Scope | None = None) -> None:
        self.blueprint = Blueprint(module)
        self.operations: list[Operation] = []
        self._tag, self._reads, self._writes = tag, reads, writes
        self._about_tag = inspect.getdoc(sys.modules[module]) or tag

    def route(
        self,
        method: str,
        path: str,
        summary: str,
        *,
        access: Access = Access.STUDENT,
        status: int = 200,
        body: Any = None,
        query: type[msgspec.Struct] | None = None,
        answer: Any = None,
        documented: bool = True,
        faults_as_text: bool = False,
        read_body: BodyReader = validation.read_body,
        media_type: str = validation.JSON_TYPE,
        headers: dict[str, str] | None = None,
        limit: Limit | None = None,
        errors: tuple[int, ...] = (),
        error_answers: dict[int, Any] | None = None,
        sends: tuple[str, ...] = (),
        example: Any = None,
        scope: Scope | None = None,
        learner: bool = True,
        of_cohort: bool = False,
    ) -> Callable[[View], View]:
        """Register a view. ``answer`` is the type of its JSON, for OpenAPI, and ``headers`` describes those it reads.

        With ``faults_as_text`` an invalid body or query is a 400 whose ``detail`` is a text, instead of a 422 with a
        list. Existing clients show the ``detail`` of these operations as it is.

        ``read_body`` reads a body that is not a Struct with plain fields.

        ``limit`` bounds the valid requests of one student, or of one address if the route is public. ``errors`` are the
        statuses of the view's own errors; those of all routes with a body, a token and so on need not be named.
        ``error_answers`` are types that an error may have instead of the usual one.

        A service account needs ``scope``, by default that of the area; without one it is refused. With
        ``learner`` it acts for the learner that its header names, see :mod:`chalicelib.services.service_accounts`.

        With ``of_cohort``, and in all operations for admins, an admin may name another cohort than their own by the
        parameter ``cohort``.

        ``sends`` names the headers of the answer. ``example`` is the answer in the documentation, or those of its
        fields that differ from the examples of the fields.
        """

        def register(view: View) -> View:
            needed = frozenset(inspect.signature(view).parameters)
            operation = Operation(
                method,
                path,
                summary,
                inspect.getdoc(view) or summary,
                self._tag,
                view.__name__,
                access,
                status,
                body,
                query,
                answer,
                documented,
                faults_as_text,
                read_body,
                media_type,
                headers or {},
                limit,
                errors,
                error_answers or {},
                sends,
                example,
                self._about_tag,
                access is not Access.PUBLIC or "container" in needed,
                scope or (None if access is not Access.STUDENT else self._reads if method == "GET" else self._writes),
                learner,
                of_cohort or access is Access.ADMIN,
            )

            @wraps(view)
            def handle(**path_parameters: str) -> Response:
                request = self.blueprint.current_request
                return serve(request, lambda: self._answer(operation, view, needed, request, path_parameters))

            # Every content type is accepted here. Chalice's own 415 has neither our JSON nor CORS headers.
            self.blueprint.route(path, methods=[method], content_types=["*/*"], name=view.__name__)(handle)
            self.operations.append(operation)
            return view

        return register

    def _answer(
        self,
        operation: Operation,
        view: Callable[..., Any],
        needed: frozenset[str],
        request: Request,
        path_parameters: dict[str, str],
    ) -> Response:
        # API Gateway and Chalice's local server both pass path segments still encoded, so they are decoded once here.
        given: dict[str, Any] = {name: unquote(text) for name, text in path_parameters.items()}
        if any("\0" in text for text in given.values()):
            raise NotFoundError("Not Found")
        given["request"] = request
        if operation.access is not Access.PUBLIC or "container" in needed:
            given["container"] = wiring.current()
        if operation.access is Access.PUBLIC:
            return _answered(operation, view, needed, given)
        token, container = callers.bearer_token(request), given["container"]
        if not token.startswith(KEY_PREFIX):
            given["record"] = callers.Record()
            rights = {"for_admins": operation.access is Access.ADMIN, "of_cohort": operation.of_cohort}
            given["caller"], given["container"] = callers.person(request, token, container, **rights)
            logs.set_cohort(given["container"].log_fields)
            return _answered(operation, view, needed, given)
        account = container.service_accounts.account(token)
        with callers.recorded(account, container, f"{operation.method} {operation.path}") as record:
            given["record"] = record
            given["caller"] = callers.service(request, account, container, operation.scope, operation.learner)
            given["container"] = container.in_cohort(account.cohort)
            logs.set_cohort(given["container"].log_fields)
            record.user_id = given["caller"].user_id if operation.learner else None
            response = _answered(operation, view, needed, given)
            record.status = response.status_code
        return response


def _answered(
    operation: Operation, view: Callable[..., Any], needed: frozenset[str], given: dict[str, Any]
) -> Response:
    """Read body and query, count the request, call the view, and return its answer."""
    request: Request = given["request"]
    try:
        if operation.query is not None:
            given["query"] = validation.read_query(operation.query, request.query_params or {})
        if operation.body is not None:
            given["body"] = _read_body(operation, request)
    except InvalidInputError as error:
        if not operation.faults_as_text:
            raise
        # A location begins with "body". The text names only the field: "email: Field required".
        texts = (": ".join([*map(str, fault.loc[1:]), fault.msg]) for fault in error.faults)
        raise BadRequestError("; ".join(texts)) from error
    given["address"] = address_of(request)
    if operation.limit is not None:
        who = given["address"] if operation.access is Access.PUBLIC else given["caller"].user_id
        given["container"].limiter.count((operation.limit, who))
    result = view(**{name: value for name, value in given.items() if name in needed})
    if isinstance(result, Response):
        return result
    reply = result if isinstance(result, Reply) else Reply(result)
    return _json_response(reply.value, reply.status or operation.status, reply.headers)


def serve(request: Request, answer: Callable[[], Response]) -> Response:
    """Return the response of ``answer``, or that of its error, with the common headers; write the log line."""
    started = time.perf_counter()
    request_id = getattr(request.lambda_context, "aws_request_id", None) or str(uuid4())
    with logs.request(request_id) as noted:
        try:
            response = answer()
        except Exception as error:  # noqa: BLE001 - the last resort: logged with its traceback, answered as JSON
            response = _json_response(*errors.describe(error))
        response.headers["X-Request-Id"] = request_id
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.update(cors_headers(request.headers.get("origin"), _allowed_origins()))
        logs.note(route=f"{request.method} {request.context.get('resourcePath', '')}")
        milliseconds = round((time.perf_counter() - started) * 1_000, 3)
        extra = metrics.of_request(noted, response.status_code, milliseconds)
        logs.info(log, "%s %s - %d", request.method, logged_path(request), response.status_code, extra=extra)
    return response


def path_of(request: Request) -> str:
    """Return the request's path without stage and query, safe to write into a log."""
    event = request.to_original_event()
    # API Gateway names the path without the stage. The local server has it in the request context only.
    return quote(event.get("path") or request.context.get("path") or "/", safe="/%:@!$&'()*+,;=~")[:500]


def below(request: Request, name: str) -> str:
    """Return the address of something below the request's path, relative to the request as in :func:`next_page`."""
    path = path_of(request)
    return name if path.endswith("/") else f"{path.rpartition('/')[2]}/{name}"


def next_page(request: Request, parameters: Mapping[str, object]) -> dict[str, str]:
    """Return the ``Link`` header of the next page of a list.

    The address is relative, so that it also works below a stage prefix and behind a proxy, and for an address of the
    request that ends with a slash. Parameters that are None are left out. The cohort that an admin names is kept.
    """
    path = path_of(request)
    up, name = "../" if path.endswith("/") else "", path.rstrip("/").rpartition("/")[2]
    cohort = (request.query_params or {}).get(callers.COHORT_PARAMETER)
    given = {k: value for k, value in {callers.COHORT_PARAMETER: cohort, **parameters}.items() if value is not None}
    return {"Link": f'<{up}{name}?{urlencode(given)}>; rel="next"'}


def logged_path(request: Request) -> str:
    """Return the request's route for the log, with the ids of tasks. Other parts of a path may be names of people."""
    route = str(request.context.get("resourcePath", ""))
    if "{proxy+}" in route or not route:
        return "(unknown path)"
    for name, text in (request.uri_params or {}).items():
        if _ID.fullmatch(text):
            route = route.replace(f"{{{name}}}", text)
    return route


def _allowed_origins() -> tuple[str, ...]:
    try:
        return wiring.current().settings.cors_origins
    except ConfigurationError:
        return ()  # a request that needs the settings logs the error


def _json_response(value: Any, status: int, headers: Mapping[str, str]) -> Response:
    # Text instead of bytes, because Chalice treats bytes as a binary body.
    body = "" if status == 204 else msgspec.json.encode(value).decode()
    return Response(body, {"Content-Type": validation.JSON_TYPE, "Cache-Control": "no-store", **headers}, status)


def address_of(request: Request) -> str:
    """Return the network address of the client, of IPv6 the network that one client has for itself."""
    address = str(request.context.get("identity", {}).get("sourceIp") or "unknown")
    try:
        return f"{socket.inet_pton(socket.AF_INET6, address)[:8].hex()}/64"
    except OSError:  # IPv4
        return address


def _read_body(operation: Operation, request: Request) -> Any:
    """Return the request's JSON body. Raises InvalidInputError."""
    headers = request.headers
    content_type, encoding = headers.get("content-type", ""), headers.get("content-encoding", "")
    return operation.read_body(operation.body, request.raw_body or b"", content_type, encoding)
