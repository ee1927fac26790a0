"""The OpenAPI 3.1 document, made from the operations of the routes and the Structs that validate their inputs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec

from chalicelib import VERSION
from chalicelib.api import callers, schemas, statements
from chalicelib.api.routing import Access, Operation
from chalicelib.api.schemas import REF, Schema
from chalicelib.api.statements import XAPI_THROUGH, XAPI_VERSION
from chalicelib.domain.fields import about
from chalicelib.domain.service_accounts import LEARNER_HEADER

TITLE = "StudySmart AI API"
_DESCRIPTION = (
    "Predicts, for a student about to do a practice task, the probability of a correct answer and the seconds it will "
    "take, learns from every completion, and retrains itself. Times are in seconds, timestamps in ISO 8601 UTC."
)
_INFO = {
    "title": TITLE,
    "version": VERSION,
    "summary": "Predictions for practice tasks that learn from every answer",
    "description": _DESCRIPTION,
    "contact": {"name": "StudySmart contributors", "url": "https://github.com/studysmart/studysmart/issues"},
    "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
}
_KEY = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"}
_REQUIRED_HEADERS: dict[str, Schema] = {
    XAPI_VERSION: {"type": "string", "pattern": r"^1\.0(\.[0-9]+)?$", "examples": [statements.VERSION]}
}
"""Headers that a request must have, by name. Others are optional keys."""

_LEARNER = {
    "name": LEARNER_HEADER,
    "in": "header",
    "required": False,
    "description": "The app's own id of the learner for whom a service account acts; not for users",
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$", "examples": ["pupil-4711"]},
}
_COHORT = {
    "name": callers.COHORT_PARAMETER,
    "in": "query",
    "required": False,
    "description": "Another cohort than the admin's own; only for members of the group `admins`",
    "allowEmptyValue": True,
    "schema": {"type": "string", "examples": ["physics-2026"]},
}
_REASONS = {200: "Success", 201: "Created", 202: "Accepted", 204: "Success, no content"}

_PATH_PARAMETERS: dict[str, tuple[str, Schema]] = {
    "task_id": (
        "Id of the task",
        {"type": "string", "format": "uuid", "examples": ["3f333df6-90a4-4fda-8dd3-9485d27cee36"]},
    ),
    "subject": ("Subject in any notation, percent-encoded", {"type": "string", "examples": ["Mathematics"]}),
}

_HEADERS: dict[str, tuple[str, Schema, Any]] = {
    "X-Request-Id": (
        "Id of the request, which the log has too",
        {"type": "string"},
        "7d793037-a076-4f0b-8a7f-0c1f8f1d8d1c",
    ),
    "Link": (
        "Address of the next page, relative to that of the request; absent on the last page",
        {"type": "string"},
        '<practice-tasks?limit=50&cursor=b3BlbiBlbmQ>; rel="next"',
    ),
    "Location": (
        "Address of the task, relative to that of the request",
        {"type": "string", "format": "uri-reference"},
        "practice-tasks/3f333df6-90a4-4fda-8dd3-9485d27cee36",
    ),
    XAPI_VERSION: ("Version of xAPI", {"type": "string"}, statements.VERSION),
    XAPI_THROUGH: (
        "Time up to which statements that were stored are in the answer",
        {"type": "string", "format": "date-time"},
        "2026-03-02T09:01:00+00:00",
    ),
    "Content-Disposition": ("Name of the file", {"type": "string"}, 'attachment; filename="answers.csv"'),
    "Retry-After": ("Seconds after which the request can be sent again", {"type": "integer", "minimum": 1}, 2),
    "WWW-Authenticate": ("Scheme of the token", {"type": "string"}, "Bearer"),
}

_ERRORS: dict[int, tuple[str, str, str, tuple[str, ...]]] = {
    400: ("BadRequest", "The address, code, password or statement is refused", "Current password is incorrect", ()),
    401: (
        "Unauthorized",
        "The token, e-mail address or password is missing or invalid",
        "Not authenticated",
        ("WWW-Authenticate",),
    ),
    403: (
        "Forbidden",
        "The caller is not an admin, or is a service account without the scope",
        "Only admins may do this",
        (),
    ),
    404: ("NotFound", "It does not exist, or it belongs to another student", "Practice task not found", ()),
    409: ("Conflict", "The present state does not allow it", "A training is queued or running already", ()),
    413: ("ContentTooLarge", "The body is too large", "The body must not be larger than 1000000 bytes", ()),
    415: ("UnsupportedMediaType", "The body is not JSON in UTF-8", "The body must be application/json", ()),
    422: ("UnprocessableContent", "The input is invalid; all faults are listed", "", ()),
    429: (
        "TooManyRequests",
        "Too many requests; `Retry-After` says when to send it again",
        "At most 20000 tasks may be created in an hour (CREATIONS_PER_HOUR)",
        ("Retry-After",),
    ),
    500: ("InternalServerError", "An error of the server, which is in its log", "Internal server error", ()),
    503: (
        "ServiceUnavailable",
        "A service that the API needs does not answer, a setting is missing, or the server is full; `Retry-After` says "
        "when to send it again",
        "The database is unavailable, please try again",
        ("Retry-After",),
    ),
}
"""The name of the response of each error, its description, an example of its text, and its headers."""


class Detail(msgspec.Struct):
    """An error."""

    detail: Annotated[str, about("The reason, as a text for the user", "Not authenticated")]


class FaultDetail(msgspec.Struct):
    """One fault of an input."""

    loc: Annotated[list[str | int], about("`body`, `query` or `header`, and the name of the field", ["body", "topic"])]
    msg: Annotated[str, about("The fault as a text", "Field required")]
    type: Annotated[str, about("Stable code of the fault", "missing")]


class ValidationDetail(msgspec.Struct):
    """All faults of an input."""

    detail: Annotated[list[FaultDetail], about("The faults")]


def encode(operations: Iterable[Operation]) -> str:
    """Return the OpenAPI document as JSON."""
    return msgspec.json.encode(document(operations)).decode()


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """Return the OpenAPI document of the operations that are ``documented``."""
    shown = [operation for operation in operations if operation.documented]
    bodies = list(dict.fromkeys(operation.body for operation in shown if operation.body is not None))
    body_schemas, of_bodies = schemas.with_components(bodies, answers=False)
    answers = [kind for one in shown for kind in (one.answer, *one.error_answers.values()) if kind is not None]
    answer_schemas, of_answers = schemas.with_components([*answers, Detail, ValidationDetail], answers=True)
    queries = {operation.query: msgspec.structs.fields(operation.query) for operation in shown if operation.query}
    types = [field.type for fields in queries.values() for field in fields]
    field_schemas, of_fields = schemas.with_components(types, answers=False)
    components = of_bodies | of_answers | of_fields
    remaining = iter(field_schemas)
    parameters = {
        query: [_query_parameter(field, next(remaining)) for field in fields] for query, fields in queries.items()
    }
    known = _Schemas(dict(zip(bodies, body_schemas, strict=True)), answers, answer_schemas, components, parameters)
    paths: dict[str, dict[str, Any]] = {}
    for operation in shown:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, known)
    statuses = sorted({status for operation in shown for status in _statuses(operation)})
    return {
        "openapi": "3.1.0",
        "info": _INFO,
        # Relative to this document, so that an API Gateway stage prefix stays in every URL.
        "servers": [{"url": ".", "description": "The server of this document"}],
        "tags": [{"name": name, "description": text} for name, text in {o.tag: o.about_tag for o in shown}.items()],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {_ERRORS[status][0]: _error(status, components) for status in statuses},
            "headers": {
                name: {"description": description, "schema": schema, "example": shown_value}
                for name, (description, schema, shown_value) in _HEADERS.items()
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The `access_token` of `POST /auth/login`, or the key of a service account",
                }
            },
        },
    }


class _Schemas:
    """The schemas of bodies and answers with an example of each, and the parameters of queries."""

    def __init__(
        self,
        bodies: Mapping[Any, Schema],
        kinds: list[Any],
        answers: list[Schema],
        components: dict[str, Schema],
        parameters: Mapping[Any, list[dict[str, Any]]],
    ) -> None:
        self._bodies, self._kinds, self._answers, self._components = bodies, kinds, answers, components
        self.parameters = parameters

    def body(self, kind: Any) -> dict[str, Any]:
        """Return the content of a request."""
        return self._content(self._bodies[kind])

    def answer(self, kind: Any, given: Any) -> dict[str, Any]:
        """Return the content of an answer. ``given`` is its example, or fields of it that differ."""
        schema = self._answers[self._kinds.index(kind)]
        if given is None:
            return self._content(schema)
        shown = {**schemas.example(schema, self._components), **given} if "$ref" in schema else given
        return {"schema": schema, "example": shown}

    def _content(self, schema: Schema) -> dict[str, Any]:
        return {"schema": schema, "example": schemas.example(schema, self._components)}


def _operation(operation: Operation, known: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": _description(operation),
        "tags": [operation.tag],
        "security": [] if operation.access is Access.PUBLIC else [{"bearer": []}],
        "responses": _responses(operation, known),
    }
    if parameters := _parameters(operation, known):
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": known.body(operation.body)}}
    return described


def _description(operation: Operation) -> str:
    text = operation.description.replace("``", "`")
    if operation.scope is not None:
        text += f"\n\nA service account needs the scope `{operation.scope.value}`."
    return text


def _parameters(operation: Operation, known: _Schemas) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = []
    for name in re.findall(r"{(\w+)}", operation.path):
        description, schema = _PATH_PARAMETERS[name]
        parameters.append({"name": name, "in": "path", "required": True, "description": description, "schema": schema})
    if operation.query is not None:
        parameters += known.parameters[operation.query]
    parameters += [
        {
            "name": name,
            "in": "header",
            "required": name in _REQUIRED_HEADERS,
            "description": description,
            "schema": _REQUIRED_HEADERS.get(name, _KEY),
        }
        for name, description in operation.headers.items()
    ]
    if operation.of_cohort:
        parameters.append(_COHORT)
    if operation.scope is not None and operation.learner:
        parameters.append(_LEARNER)
    return parameters


def _query_parameter(field: msgspec.structs.FieldInfo, schema: Schema) -> dict[str, Any]:
    schema = schemas.of_parameter(schema, None if field.required else field.default)
    described = {
        "name": field.encode_name,
        "in": "query",
        "required": field.required,
        "description": schema.pop("description"),
    }
    if not field.required:
        # A form sends a field that was left empty as a blank text, which counts as absent.
        described["allowEmptyValue"] = True
        schema.pop("minLength", None)
    return {**described, "schema": schema}


def _responses(operation: Operation, known: _Schemas) -> dict[str, Any]:
    success: dict[str, Any] = {
        "description": _REASONS[operation.status],
        "headers": _header_references("X-Request-Id", *operation.sends),
    }
    if operation.answer is not None:
        success["content"] = {operation.media_type: known.answer(operation.answer, operation.example)}
    responses = {str(operation.status): success}
    for status in sorted(_statuses(operation)):
        name, description, text, headers = _ERRORS[status]
        responses[str(status)] = {"$ref": f"#/components/responses/{name}"}
        if status in operation.error_answers:
            own = known.answer(operation.error_answers[status], None)
            responses[str(status)] = {
                "description": description,
                "headers": _header_references("X-Request-Id", *headers),
                "content": {
                    "application/json": {
                        "schema": {"anyOf": [own["schema"], {"$ref": REF.format(name="Detail")}]},
                        "example": {"detail": text},
                    }
                },
            }
    return responses


def _statuses(operation: Operation) -> set[int]:
    """Return the statuses of the errors that an operation can answer with."""
    statuses = {429, 503, *operation.errors}
    if operation.needs_services:
        statuses.add(500)
    if operation.access is not Access.PUBLIC:
        statuses.add(401)
    if operation.access is Access.ADMIN or operation.scope is not None:
        statuses.add(403)
    if operation.scope is not None and operation.learner:
        statuses |= {404, 422}
    if "{" in operation.path or operation.of_cohort:
        statuses.add(404)
    if operation.body is not None:
        statuses |= {413, 415}
    if operation.body is not None or operation.query is not None:
        statuses.add(400 if operation.faults_as_text else 422)
    return statuses


def _error(status: int, components: dict[str, Schema]) -> dict[str, Any]:
    _, description, text, headers = _ERRORS[status]
    schema = {"$ref": REF.format(name="ValidationDetail" if status == 422 else "Detail")}
    shown = schemas.example(schema, components) if status == 422 else {"detail": text}
    return {
        "description": description,
        "headers": _header_references("X-Request-Id", *headers),
        "content": {"application/json": {"schema": schema, "example": shown}},
    }


def _header_references(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
