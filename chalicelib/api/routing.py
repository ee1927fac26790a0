"""Routes: a view declares what it takes and gives, and this module does the rest the same way for all of them.

Under every view lies :meth:`Routes._answer`: it verifies the token, reads body, query and path, calls the view,
encodes what it returns, turns errors into their statuses, adds the CORS headers and logs the line of the request.
It is a decorator and no Chalice middleware, because middleware does not see what a view raises.

A view takes by name what it needs: ``container`` (the adapters), ``caller``, ``body``, ``query``, ``request``, and
the parameters of its path.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable
from enum import Enum
from functools import wraps
from typing import Any, TypeVar
from urllib.parse import quote, unquote
from uuid import uuid4

import msgspec
from chalice.app import Blueprint, Request, Response

from chalicelib import logs, metrics, wiring
from chalicelib.api import errors, responses, validation
from chalicelib.domain.accounts import Caller
from chalicelib.domain.errors import (
    BadRequestError,
    ConfigurationError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    PayloadTooLargeError,
    UnauthenticatedError,
)

log = logging.getLogger("studysmart.api")

MAX_BODY_BYTES = 1_000_000

View = TypeVar("View", bound=Callable[..., Any])


class Access(Enum):
    """Who may call a route."""

    PUBLIC = "public"
    STUDENT = "student"
    ADMIN = "admin"


class Reply(msgspec.Struct, frozen=True):
    """A view's answer where it is more than a value: a status of its own, or headers."""

    value: Any
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    status: int | None = None


class Operation(msgspec.Struct, frozen=True):
    """What a route declares: enough to serve it, and to describe it in OpenAPI."""

    method: str
    path: str
    summary: str
    tag: str
    name: str
    access: Access
    status: int
    body: type[msgspec.Struct] | None
    query: type[msgspec.Struct] | None
    answer: Any
    documented: bool
    faults_as_text: bool


class Routes:
    """A Chalice blueprint whose routes are served the same way and described in OpenAPI."""

    def __init__(self, module: str, tag: str) -> None:
        self.blueprint = Blueprint(module)
        self.operations: list[Operation] = []
        self._tag = tag

    def route(
        self,
        method: str,
        path: str,
        summary: str,
        *,
        access: Access = Access.STUDENT,
        status: int = 200,
        body: type[msgspec.Struct] | None = None,
        query: type[msgspec.Struct] | None = None,
        answer: Any = None,
        documented: bool = True,
        faults_as_text: bool = False,
    ) -> Callable[[View], View]:
        """Register a view. ``answer`` is the type of the JSON of a success, for OpenAPI.

        With ``faults_as_text`` a faulty body is a 400 whose ``detail`` is a text, not a 422 with a list: existing
        clients show the ``detail`` of these operations as it is.
        """

        def register(view: View) -> View:
            operation = Operation(
                method,
                path,
                summary,
                self._tag,
                view.__name__,
                access,
                status,
                body,
                query,
                answer,
                documented,
                faults_as_text,
            )
            wanted = frozenset(inspect.signature(view).parameters)

            @wraps(view)
            def handle(**path_parameters: str) -> Response:
                request = self.blueprint.current_request
                return serve(request, lambda: self._answer(operation, view, wanted, request, path_parameters))

            # Any content type reaches us: Chalice's own 415 has neither our shape nor CORS headers.
            self.blueprint.route(path, methods=[method], content_types=["*/*"], name=view.__name__)(handle)
            self.operations.append(operation)
            return view

        return register

    def _answer(
        self,
        operation: Operation,
        view: Callable[..., Any],
        wanted: frozenset[str],
        request: Request,
        path_parameters: dict[str, str],
    ) -> Response:
        # REST API Gateway and Chalice's local server both hand over segments as they were sent: decode once.
        given: dict[str, Any] = {name: unquote(text) for name, text in path_parameters.items()}
        if any("\0" in text for text in given.values()):
            raise NotFoundError("Not Found")
        if operation.access is not Access.PUBLIC:
            given["caller"] = _caller(request, operation.access)
        if operation.query is not None:
            given["query"] = validation.read_query(operation.query, request.query_params or {})
        if operation.body is not None:
            given["body"] = _read_body(operation.body, request, operation.faults_as_text)
        if "container" in wanted:
            given["container"] = wiring.current()
        given["request"] = request
        result = view(**{name: value for name, value in given.items() if name in wanted})
        if isinstance(result, Response):
            return result
        reply = result if isinstance(result, Reply) else Reply(result)
        return responses.json_response(reply.value, reply.status or operation.status, reply.headers)


def serve(request: Request, answer: Callable[[], Response]) -> Response:
    """The response of ``answer`` or of the error it raises, with the headers of every response; logged."""
    started = time.perf_counter()
    request_id = getattr(request.lambda_context, "aws_request_id", None) or str(uuid4())
    with logs.request(request_id) as noted:
        try:
            response = answer()
        except Exception as error:  # noqa: BLE001 - the last resort: logged with its traceback, answered as JSON
            response = responses.json_response(*errors.describe(error))
        response.headers["X-Request-Id"] = request_id
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.update(responses.cors_headers(request.headers.get("origin"), _origins()))
        logs.note(route=f"{request.method} {request.context.get('resourcePath', '')}")
        milliseconds = round((time.perf_counter() - started) * 1_000, 3)
        extra = metrics.of_request(noted, response.status_code, milliseconds)
        log.info("%s %s - %d", request.method, path_of(request), response.status_code, extra=extra)
    return response


def path_of(request: Request) -> str:
    """The path of the request with its ids and without stage and query, safe to write into a log."""
    event = request.to_original_event()
    # API Gateway names the path without the stage; the local server only has it in the request context.
    return quote(event.get("path") or request.context.get("path") or "/", safe="/%:@!$&'()*+,;=~")[:500]


def _caller(request: Request, access: Access) -> Caller:
    scheme, _, token = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise UnauthenticatedError("Not authenticated")
    caller = wiring.current().identity.verify(token.strip())
    logs.set_user(caller.user_id)
    if access is Access.ADMIN and not caller.is_admin:
        raise ForbiddenError("Only admins may do this")
    return caller


def _read_body(model: type[msgspec.Struct], request: Request, faults_as_text: bool) -> msgspec.Struct:
    try:
        return validation.read_body(model, _json_bytes(request))
    except InvalidInputError as error:
        if not faults_as_text:
            raise
        texts = (": ".join([*map(str, fault.loc[1:]), fault.msg]) for fault in error.faults)
        raise BadRequestError("; ".join(texts)) from error


def _json_bytes(request: Request) -> bytes:
    content_type = request.headers.get("content-type", "").strip().lower()
    kind, *parameters = (part.strip() for part in content_type.split(";"))
    charsets = [value.strip("\"'") for name, _, value in (p.partition("=") for p in parameters) if name == "charset"]
    if kind not in ("", responses.JSON_TYPE) and not kind.endswith("+json"):
        raise errors.UnsupportedMediaTypeError("The body must be application/json")
    if any(charset not in ("utf-8", "utf8", "us-ascii") for charset in charsets):
        raise errors.UnsupportedMediaTypeError("JSON must be encoded in UTF-8")
    raw = request.raw_body or b""
    if len(raw) > MAX_BODY_BYTES:
        raise PayloadTooLargeError(f"The body must not be larger than {MAX_BODY_BYTES} bytes")
    return raw if isinstance(raw, bytes) else raw.encode()


def _origins() -> tuple[str, ...]:
    try:
        return wiring.current().settings.cors_origins
    except ConfigurationError as error:
        log.error("%s", error)
        return ()
