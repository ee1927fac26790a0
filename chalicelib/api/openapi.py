"""The OpenAPI 3.1 document, made from the operations of the routes and the Structs that validate their inputs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from chalicelib import VERSION
from chalicelib.api.routing import Access, Operation

TITLE = "StudySmart AI API"
_DESCRIPTION = (
    "Predicts, for a student about to do a practice task, the probability of a correct answer and the seconds it will "
    "take, learns from every completion, and retrains itself. Times are in seconds, timestamps in ISO 8601 UTC."
)
_REF = "#/components/schemas/{name}"
_HEADER = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"}
_REASONS = {200: "Success", 201: "Created", 202: "Accepted", 204: "Success, no content"}

_ERRORS = {
    400: "The address, code or password is refused, or the input is invalid",
    401: "The token, e-mail address or password is missing or invalid",
    403: "The caller is not an admin",
    404: "It does not exist, or it belongs to another student",
    409: "The present state does not allow it",
    413: "The body is too large",
    415: "The body is not JSON in UTF-8",
    422: "The input is invalid; all faults are listed",
    429: "Too many requests; the header Retry-After says when to send it again",
    503: "A service that the API needs does not answer, a setting is missing, or the server is full",
}


class Detail(msgspec.Struct):
    """An error."""

    detail: str


class FaultDetail(msgspec.Struct):
    """One fault of an input."""

    loc: list[str | int]
    msg: str
    type: str


class ValidationDetail(msgspec.Struct):
    """All faults of an input."""

    detail: list[FaultDetail]


def encode(operations: Iterable[Operation]) -> str:
    """Return the OpenAPI document as JSON."""
    return msgspec.json.encode(document(operations)).decode()


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """Return the OpenAPI document of the operations that are ``documented``."""
    shown = [operation for operation in operations if operation.documented]
    bodies = [operation.body for operation in shown if operation.body is not None]
    answers = [operation.answer for operation in shown if operation.answer is not None]
    types = [*bodies, *answers, Detail, ValidationDetail]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    body_schemas = dict(zip((body.__name__ for body in bodies), schemas, strict=False))
    answer_schemas = iter(schemas[len(bodies) :])
    paths: dict[str, dict[str, Any]] = {}
    for operation in shown:
        answer = next(answer_schemas) if operation.answer is not None else None
        body = body_schemas[operation.body.__name__] if operation.body is not None else None
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, body, answer)
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": VERSION, "description": _DESCRIPTION},
        # Relative to this document, so that an API Gateway stage prefix stays in every URL.
        "servers": [{"url": "."}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _operation(operation: Operation, body: dict[str, Any] | None, answer: dict[str, Any] | None) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": operation.description,
        "tags": [operation.tag],
        "responses": _responses(operation, answer),
    }
    if parameters := _parameters(operation):
        described["parameters"] = parameters
    if body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if operation.access is not Access.PUBLIC:
        described["security"] = [{"bearer": []}]
    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    if operation.query is not None:
        parameters += [
            {
                "name": field.encode_name,
                "in": "query",
                "required": field.required,
                **({} if field.required else {"allowEmptyValue": True}),
                "schema": _parameter_schema(field.type, field.required, None if field.required else field.default),
            }
            for field in msgspec.structs.fields(operation.query)
        ]
    parameters += [
        {"name": name, "in": "header", "required": False, "description": description, "schema": _HEADER}
        for name, description in operation.headers.items()
    ]
    return parameters


def _parameter_schema(annotation: Any, required: bool, default: Any) -> dict[str, Any]:
    """Return the complete schema of a query parameter. An optional parameter can be absent, but not null."""
    schema = msgspec.json.schema(annotation)
    definitions = schema.pop("$defs", {})
    choices = [choice for choice in schema.get("anyOf", [schema]) if choice != {"type": "null"}]
    resolved = choices[0]
    if "$ref" in resolved:
        resolved = definitions[resolved["$ref"].rsplit("/", 1)[-1]]
    # A form sends a field that was left empty as a blank text, which counts as absent.
    resolved = {name: value for name, value in resolved.items() if name != "minLength" or required}
    return resolved if default is None else {**resolved, "default": default}


def _responses(operation: Operation, answer: dict[str, Any] | None) -> dict[str, Any]:
    success: dict[str, Any] = {"description": _REASONS[operation.status]}
    if answer is not None:
        success["content"] = {operation.media_type: {"schema": answer}}
    faults = {422: "ValidationDetail"}
    return {str(operation.status): success} | {
        str(status): _error(_ERRORS[status], faults.get(status, "Detail")) for status in sorted(_statuses(operation))
    }


def _statuses(operation: Operation) -> set[int]:
    """Return the statuses of the errors that an operation can answer with."""
    statuses = {429, 503, *operation.errors}
    if operation.access is not Access.PUBLIC:
        statuses.add(401)
    if operation.access is Access.ADMIN:
        statuses.add(403)
    if "{" in operation.path:
        statuses.add(404)
    if operation.body is not None:
        statuses |= {413, 415}
    if operation.body is not None or operation.query is not None:
        statuses.add(400 if operation.faults_as_text else 422)
    return statuses


def _error(description: str, name: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": {"$ref": _REF.format(name=name)}}}}
