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
_REASONS = {200: "Success", 201: "Created", 202: "Accepted", 204: "Success, no content"}


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
                "schema": _parameter_schema(field.type, None if field.required else field.default),
            }
            for field in msgspec.structs.fields(operation.query)
        ]
    parameters += [
        {"name": name, "in": "header", "required": False, "description": description, "schema": {"type": "string"}}
        for name, description in operation.headers.items()
    ]
    return parameters


def _parameter_schema(annotation: Any, default: Any) -> dict[str, Any]:
    """Return the complete schema of a query parameter. An optional parameter can be absent, but not null."""
    schema = msgspec.json.schema(annotation)
    definitions = schema.pop("$defs", {})
    choices = [choice for choice in schema.get("anyOf", [schema]) if choice != {"type": "null"}]
    resolved = choices[0]
    if "$ref" in resolved:
        resolved = definitions[resolved["$ref"].rsplit("/", 1)[-1]]
    return resolved if default is None else {**resolved, "default": default}


def _responses(operation: Operation, answer: dict[str, Any] | None) -> dict[str, Any]:
    success: dict[str, Any] = {"description": _REASONS[operation.status]}
    if answer is not None:
        success["content"] = {operation.media_type: {"schema": answer}}
    responses = {str(operation.status): success}
    if operation.access is not Access.PUBLIC:
        responses["401"] = _error("The token is missing or invalid", "Detail")
    if operation.access is Access.ADMIN:
        responses["403"] = _error("The caller is not an admin", "Detail")
    if "{" in operation.path:
        responses["404"] = _error("It does not exist, or it belongs to another student", "Detail")
    if operation.faults_as_text:
        responses["400"] = _error("The password is wrong, or the input is invalid", "Detail")
    elif operation.body is not None or operation.query is not None:
        responses["422"] = _error("The input is invalid; all faults are listed", "ValidationDetail")
    responses["429"] = _error("Too many requests, of a student, an address or all clients", "Detail")
    responses["503"] = _error("A service that the API needs does not answer, or a setting is missing", "Detail")
    return responses


def _error(description: str, name: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": {"$ref": _REF.format(name=name)}}}}
