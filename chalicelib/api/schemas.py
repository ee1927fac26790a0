"""JSON schemas as generators of clients read them best, and an example of each, made from the types of the routes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import inspect

REF = "#/components/schemas/{name}"

Schema = dict[str, Any]

_NULL = {"type": "null"}
_NO_EXAMPLE: Any = object()


def with_components(types: Sequence[Any], *, answers: bool) -> tuple[list[Schema], dict[str, Schema]]:
    """Return the schema of each type, and the schemas that they refer to by name.

    Fields of ``answers`` are always there, so that they are required even if the Struct has a default for them. An
    optional field of a body has no ``default: null``: some generators take a field with a default to be required.
    """
    schemas, components = msgspec.json.schema_components(types, ref_template=REF)
    orders = _orders(types)
    for schema in [*schemas, *components.values()]:
        _polish(schema, answers, orders)
    return list(schemas), components


def of_parameter(schema: Schema, default: Any) -> Schema:
    """Return the schema of a query parameter, which can be absent, but not null."""
    choices = [choice for choice in schema.get("anyOf", [{}]) if choice != _NULL]
    found = {**choices[0], **{name: value for name, value in schema.items() if name != "anyOf"}}
    return found if default is None else {**found, "default": default}


def example(schema: Schema, components: dict[str, Schema]) -> Any:
    """Return an example of a schema, made from the examples of its fields."""
    found = _example(schema, components)
    if found is _NO_EXAMPLE:
        raise ValueError(f"there is no example of {schema}")
    return found


def _example(schema: Schema, components: dict[str, Schema]) -> Any:
    if "examples" in schema:
        return copy.deepcopy(schema["examples"][0])
    if "$ref" in schema:
        return _example(components[schema["$ref"].rsplit("/", 1)[-1]], components)
    if "enum" in schema:
        return schema["enum"][0] if schema.get("title") else _NO_EXAMPLE
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], components)
    if "items" in schema:
        return [example(schema["items"], components)]
    if "properties" not in schema:
        return _NO_EXAMPLE
    found = {name: _example(one, components) for name, one in schema["properties"].items()}
    return {name: one for name, one in found.items() if one is not _NO_EXAMPLE}


def _polish(schema: Schema, answers: bool, orders: dict[frozenset[Any], list[Any]]) -> None:
    for inner in [*schema.get("anyOf", ()), *schema.get("properties", {}).values()]:
        _polish(inner, answers, orders)
    if isinstance(items := schema.get("items"), dict):
        _polish(items, answers, orders)
    if "enum" in schema:
        schema |= {"type": "string", "enum": orders.get(frozenset(schema["enum"]), schema["enum"])}
    if "description" in schema:
        schema["description"] = schema["description"].replace("``", "`")
    if "properties" in schema and answers:
        required = schema.get("required", [])
        always = [name for name, one in schema["properties"].items() if name in required or "default" in one]
        schema["required"] = always
    for one in schema.get("properties", {}).values():
        if answers or one.get("default") is None:
            one.pop("default", None)
    if "anyOf" in schema:
        _merge_choices(schema)


def _merge_choices(schema: Schema) -> None:
    """Move what describes a nullable field from its first choice to the field, and let number include integer."""
    choices = schema["anyOf"]
    if {"number", "integer"} <= {choice.get("type") for choice in choices}:
        choices[:] = [choice for choice in choices if choice.get("type") != "integer"]
    if _NULL in choices:
        for name in ("description", "examples"):
            if name in choices[0]:
                schema[name] = choices[0].pop(name)
    if len(choices) == 1:
        schema |= schema.pop("anyOf")[0]
    elif len(choices) == 2 and (inner := choices[0].get("anyOf")):  # a described union that may be null
        schema["anyOf"] = [*inner, choices[1]]


def _orders(types: Sequence[Any]) -> dict[frozenset[Any], list[Any]]:
    """Return the values of all enumerations in the order of the source. msgspec sorts them."""
    enumerations = _enumerations(tuple(inspect.multi_type_info(types)))
    return {frozenset(values): values for values in ([one.value for one in kind] for kind in enumerations)}


def _enumerations(kind: Any) -> Iterator[Any]:
    if isinstance(kind, inspect.EnumType):
        yield kind.cls
    elif isinstance(kind, tuple):
        for one in kind:
            yield from _enumerations(one)
    elif isinstance(kind, inspect.Type | inspect.Field):
        for name in kind.__struct_fields__:
            yield from _enumerations(getattr(kind, name))
