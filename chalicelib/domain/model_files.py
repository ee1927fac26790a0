"""Bounds of the files of a published version.

A writer of the registry must not be able to exhaust the memory or the time of the API. So every size is
checked before anything of that size is read or made. The bounds are far above what a training publishes, which has
limits of its own for topics and users.
"""

from __future__ import annotations

import json
from typing import Any

from chalicelib.domain.errors import ModelError

_MEGABYTE = 1 << 20

MAX_BYTES = {
    "champion.json": 4 * _MEGABYTE,
    "metadata.json": 4 * _MEGABYTE,
    "lnirt.json": 32 * _MEGABYTE,
    "vocabulary.json": 32 * _MEGABYTE,
    "correctness_model.keras": 64 * _MEGABYTE,
    "time_model.keras": 64 * _MEGABYTE,
}
"""Maximum size of each file in the registry."""

MAX_TOPICS = 50_000
"""Maximum number of topics of a version."""

MAX_TRAITS = 32
"""Maximum number of traits of a version."""

MAX_MAGNITUDE = 1e6
"""Maximum absolute value of a number in a version. Sensible ones are below 100."""

MIN_VARIANCE = 1e-12
"""Minimum of a variance in a version."""


def json_object(raw: bytes, name: str) -> dict[str, Any]:
    """Return the object in a JSON file of a version. Raises ModelError for anything else."""
    check_size(name, len(raw))
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:  # RecursionError: nested too deeply
        raise ModelError(f"{name} is damaged: {error}") from error
    if not isinstance(document, dict):
        raise ModelError(f"{name} holds a {type(document).__name__}, expected an object")
    return document


def check_size(name: str, size: int) -> None:
    """Raise ModelError for a file of a version that is too large."""
    if size > MAX_BYTES.get(name, 64 * _MEGABYTE):
        raise ModelError(f"{name} has {size} bytes, more than a version may have")
