"""Reading bodies and query parameters into msgspec Structs, with all faults reported at once.

msgspec stops at the first fault of a value, so the fields of a Struct are converted one by one. msgspec decides whether
a value is valid. :func:`_explain` describes an invalid one, in the texts and codes that FastAPI clients know. Unknown
fields are ignored, unless the Struct forbids them. A value is never echoed, because it may be a password.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from chalicelib.api.errors import UnsupportedMediaTypeError
from chalicelib.domain.errors import Fault, InvalidInputError, PayloadTooLargeError

Model = TypeVar("Model", bound=msgspec.Struct)

JSON_TYPE = "application/json"
MAX_BODY_BYTES = 1_000_000

MAX_FAULTS = 100
"""Maximum number of faults of a list's entries in one answer."""

_BOM = b"\xef\xbb\xbf"
_MISSING = ("missing", "Field required")
_EXTRA = ("extra_forbidden", "Extra inputs are not permitted")


def read_body(model: type[Model], raw: bytes, content_type: str, encoding: str = "") -> Model:
    """Return a request's JSON body as ``model``.

    Raises InvalidInputError with all faults, UnsupportedMediaTypeError and PayloadTooLargeError.
    """
    value = read_json(raw, content_type, encoding)
    if not isinstance(value, dict):
        raise InvalidInputError([Fault(("body",), "Input should be an object", "model_attributes_type")])
    return _read(model, value, ("body",), strict=True)


def read_json(raw: bytes, content_type: str, encoding: str = "") -> Any:
    """Return a request's JSON body.

    Raises InvalidInputError, UnsupportedMediaTypeError and PayloadTooLargeError.
    """
    _check_content_type(content_type)
    if encoding.strip().lower() not in ("", "identity"):
        raise UnsupportedMediaTypeError(f"Content-Encoding {encoding.strip()[:40]} is not supported: send plain JSON")
    if len(raw) > MAX_BODY_BYTES:
        raise PayloadTooLargeError(f"The body must not be larger than {MAX_BODY_BYTES} bytes")
    if not raw.strip():
        raise InvalidInputError([Fault(("body",), _MISSING[1], _MISSING[0])])
    try:
        value: Any = msgspec.json.decode(raw.removeprefix(_BOM))
    except (ValueError, RecursionError) as error:  # msgspec's errors and broken UTF-8 are ValueErrors
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidInputError([Fault(("body",), f"JSON decode error: {reason}", "json_invalid")]) from error
    return value


def read_query(model: type[Model], parameters: Mapping[str, str]) -> Model:
    """Return query parameters as ``model``. A blank optional one counts as absent, because forms send it so."""
    optional = {name for name, _, required in _fields(model) if not required}
    given = {name: text for name, text in parameters.items() if text or name not in optional}
    return _read(model, given, ("query",), strict=False)


def _check_content_type(content_type: str) -> None:
    kind, *parameters = (part.strip() for part in content_type.strip().lower().split(";"))
    charsets = [value.strip("\"'") for name, _, value in (p.partition("=") for p in parameters) if name == "charset"]
    if kind not in ("", JSON_TYPE) and not kind.endswith("+json"):
        raise UnsupportedMediaTypeError("The body must be application/json")
    if any(charset not in ("utf-8", "utf8", "us-ascii") for charset in charsets):
        raise UnsupportedMediaTypeError("JSON must be encoded in UTF-8")


@cache
def _fields(model: type[msgspec.Struct]) -> tuple[tuple[str, Any, bool], ...]:
    return tuple((field.encode_name, field.type, field.required) for field in msgspec.structs.fields(model))


@cache
def _entries_of(annotation: Any) -> tuple[type[msgspec.Struct], int] | None:
    """Return the Struct of a list's entries and their maximum number, None for a field that is no such list."""
    kind = inspect.type_info(annotation)
    if isinstance(kind, inspect.Metadata):
        kind = kind.type
    if not (isinstance(kind, inspect.ListType) and isinstance(kind.item_type, inspect.StructType)):
        return None
    assert kind.max_length is not None, f"{annotation} needs a maximum length"  # noqa: S101 - a programming error
    return kind.item_type.cls, kind.max_length


def _read_list(model: type[Model], maximum: int, value: Any, place: tuple[str | int, ...], strict: bool) -> list[Model]:
    """Return a list of ``model``. Raises InvalidInputError with the faults of all entries, up to a maximum."""
    if not isinstance(value, list):
        raise InvalidInputError([Fault(place, "Input should be a valid list", "list_type")])
    if not 1 <= len(value) <= maximum:
        kind = "too_long" if value else "too_short"
        raise InvalidInputError([Fault(place, f"List should have 1 to {maximum:,} entries", kind)])
    found, faults = [], []
    for n, entry in enumerate(value):
        if not isinstance(entry, dict):
            faults.append(Fault((*place, n), "Input should be an object", "model_attributes_type"))
            continue
        try:
            found.append(_read(model, entry, (*place, n), strict))
        except InvalidInputError as error:
            faults += error.faults
    if faults:
        raise InvalidInputError(faults[:MAX_FAULTS])
    return found


def _read(model: type[Model], values: Mapping[str, Any], place: tuple[str | int, ...], strict: bool) -> Model:
    faults: list[Fault] = []
    kept: dict[str, Any] = {}
    if model.__struct_config__.forbid_unknown_fields:
        known = {name for name, _, _ in _fields(model)}
        faults += [Fault((*place, name), _EXTRA[1], _EXTRA[0]) for name in values if name not in known]
    for name, annotation, required in _fields(model):
        if name not in values:
            if required:
                faults.append(Fault((*place, name), _MISSING[1], _MISSING[0]))
            continue
        try:
            if (entries := _entries_of(annotation)) is not None:
                kept[name] = _read_list(*entries, values[name], (*place, name), strict)
            else:
                kept[name] = _converted(values[name], annotation, strict)
        except msgspec.ValidationError:
            kind, message = _explain(inspect.type_info(annotation), values[name], strict)
            faults.append(Fault((*place, name), message, kind))
        except InvalidInputError as error:  # of the entries of a list
            faults += error.faults
    if faults:
        raise InvalidInputError(faults)
    return model(**kept)


def _converted(value: Any, annotation: Any, strict: bool) -> Any:
    """Convert a value with msgspec. Also refuse infinities, and NUL, which PostgreSQL cannot store."""
    if isinstance(value, str) and "\0" in value:
        raise msgspec.ValidationError("NUL")
    converted = msgspec.convert(value, annotation, strict=strict)
    if isinstance(converted, float) and not math.isfinite(converted):
        raise msgspec.ValidationError("not finite")
    if converted is None and not strict:  # the text "null"
        raise msgspec.ValidationError("null")
    return converted


def _explain(kind: inspect.Type, value: Any, strict: bool) -> tuple[str, str]:
    """Return (type, msg) of the reason why ``value`` is not a valid ``kind``."""
    own: tuple[str, str] | None = None
    if isinstance(kind, inspect.UnionType):
        kind = next(one for one in kind.types if not isinstance(one, inspect.NoneType | inspect.CustomType))
    if isinstance(kind, inspect.Metadata):
        own = (kind.extra or {}).get("fault")
        kind = kind.type
    if isinstance(value, str) and "\0" in value:
        return "value_error", "Input should not contain NUL characters"
    match kind:
        case inspect.StrType():
            return _explain_text(kind, value, own)
        case inspect.EnumType():
            names = [f"'{member.value}'" for member in kind.cls]
            return "enum", f"Input should be {', '.join(names[:-1])} or {names[-1]}"
        case inspect.BoolType():
            return ("bool_type" if strict else "bool_parsing"), "Input should be a valid boolean"
        case inspect.UUIDType():
            return "uuid_parsing", "Input should be a valid UUID"
        case inspect.DateTimeType():
            return "datetime_parsing", "Input should be a valid datetime in ISO 8601"
        case inspect.IntType() | inspect.FloatType():
            return _explain_number(kind, value, strict)
        case inspect.AnyType():
            return "finite_number", "Input should be a finite number"
    raise TypeError(f"no description for faults of {kind!r}")


def _explain_text(kind: inspect.StrType, value: Any, own: tuple[str, str] | None) -> tuple[str, str]:
    if not isinstance(value, str):
        return "string_type", "Input should be a valid string"
    if kind.min_length is not None and len(value) < kind.min_length:
        return "string_too_short", f"String should have at least {_counted(kind.min_length)}"
    if kind.max_length is not None and len(value) > kind.max_length:
        return "string_too_long", f"String should have at most {_counted(kind.max_length)}"
    return own or ("string_pattern_mismatch", f"String should match pattern '{kind.pattern}'")


def _explain_number(kind: inspect.IntType | inspect.FloatType, value: Any, strict: bool) -> tuple[str, str]:
    whole = isinstance(kind, inspect.IntType)
    number = value if strict else _number(value, whole)
    if isinstance(number, bool) or not isinstance(number, int | float) or (whole and isinstance(number, float)):
        name, noun = ("int", "integer") if whole else ("float", "number")
        return f"{name}_{'type' if strict else 'parsing'}", f"Input should be a valid {noun}"
    if isinstance(number, float) and not math.isfinite(number):
        return "finite_number", "Input should be a finite number"
    if kind.ge is not None and number < kind.ge:
        return "greater_than_equal", f"Input should be greater than or equal to {kind.ge}"
    if kind.le is not None and number > kind.le:
        return "less_than_equal", f"Input should be less than or equal to {kind.le}"
    return "value_error", "Input is out of range"


def _number(text: Any, whole: bool) -> int | float | None:
    try:
        return int(text) if whole else float(text)
    except ValueError:
        return None


def _counted(length: int) -> str:
    return f"{length} character" if length == 1 else f"{length} characters"
