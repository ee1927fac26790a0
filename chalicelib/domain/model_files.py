"""Bounds of the files of a published version.

A writer of the registry must not be able to exhaust the memory or the time of the API. So every size is
checked before anything of that size is read or made. The bounds are far above what a training publishes, which has
limits of its own for topics and users.
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from typing import Any

from chalicelib.domain.errors import ModelError

_MEGABYTE = 1 << 20

MAX_BYTES = {
    "champion.json": 4 * _MEGABYTE,
    "metadata.json": 4 * _MEGABYTE,
    "lnirt.json": 32 * _MEGABYTE,
    "vocabulary.json": 32 * _MEGABYTE,
    "config.json": 4 * _MEGABYTE,
    "correctness_model.keras": 64 * _MEGABYTE,
    "time_model.keras": 64 * _MEGABYTE,
}
"""Maximum size of each file in the registry."""

MAX_ITEMS, MAX_DEPTH = 1_000_000, 32
"""Maximum number of commas and opening brackets in a JSON file, and of its nesting. An empty list in a list has three
bytes in the file and sixty in memory."""

MAX_TOPICS = 50_000
"""Maximum number of topics of a version."""

MAX_TRAITS = 32
"""Maximum number of traits of a version."""

MAX_MAGNITUDE = 1e6
"""Maximum absolute value of a number in a version. Sensible ones are below 100."""

MIN_VARIANCE = 1e-12
"""Minimum of a variance in a version."""


MALFORMED = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    OSError,
    EOFError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""Errors that reading a malformed file raises. RecursionError, for one nested too deeply, is a RuntimeError."""


def json_object(raw: bytes, name: str) -> dict[str, Any]:
    """Return the object in a JSON file of a version. Raises ModelError for anything else."""
    check_size(name, len(raw))
    if sum(map(raw.count, (b",", b"[", b"{"))) > MAX_ITEMS:
        raise ModelError(f"{name} has more than {MAX_ITEMS} items")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:  # RecursionError: nested too deeply
        raise ModelError(f"{name} is damaged: {error}") from error
    if not isinstance(document, dict):
        raise ModelError(f"{name} holds a {type(document).__name__}, expected an object")
    level: list[Any] = [document]
    for _depth in range(MAX_DEPTH):
        children = (child for part in level for child in (part.values() if type(part) is dict else part))
        level = [child for child in children if type(child) in (dict, list)]
        if not level:
            return document
    raise ModelError(f"{name} is nested more than {MAX_DEPTH} deep")


def check_size(name: str, size: int) -> None:
    """Raise ModelError for a file of a version that is too large."""
    if size > MAX_BYTES.get(name, 64 * _MEGABYTE):
        raise ModelError(f"{name} has {size} bytes, more than a version may have")
