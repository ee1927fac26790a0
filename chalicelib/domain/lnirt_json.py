"""Writes and reads ``lnirt.json``, the published file of the LNIRT parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from chalicelib.domain.errors import ModelError
from chalicelib.domain.lnirt import N_LEVELS, FloatArray, LnirtParameters, TimeParameters
from chalicelib.domain.model_files import MALFORMED, MAX_MAGNITUDE, MAX_TOPICS, MIN_VARIANCE, json_object

LNIRT_SCHEMA = 1
"""Raised whenever the meaning of the file changes."""


def to_json(model: LnirtParameters) -> bytes:
    """Return the bytes of the file: one JSON object, numbers with six significant digits."""
    time = model.time
    document = {
        "schema": LNIRT_SCHEMA,
        "topics": list(model.topics),
        "discrimination": _plain(model.discrimination),
        "easiness": _plain(model.easiness),
        "practice": _plain(model.practice),
        "offset_variance": model.offset_variance,
        "time": None if time is None else {field.name: _plain(getattr(time, field.name)) for field in fields(time)},
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def from_json(raw: bytes) -> LnirtParameters:
    """Return the parameters in a file. Raises ModelError if it is damaged or of another schema."""
    document = json_object(raw, "lnirt.json")
    try:
        if document["schema"] != LNIRT_SCHEMA:
            raise ModelError(f"lnirt.json has schema {document['schema']!r}, this version reads {LNIRT_SCHEMA}")
        topics = tuple(str(topic) for topic in document["topics"])
        rows = len(topics) + 1
        if len(set(topics)) < len(topics) or rows > MAX_TOPICS:
            raise ModelError(f"lnirt.json has {len(topics)} topics, {len(set(topics))} of them different")
        return LnirtParameters(
            topics=topics,
            discrimination=_array(document, "discrimination", (rows,)),
            easiness=_array(document, "easiness", (rows, N_LEVELS)),
            practice=_array(document, "practice", (rows, 2)),
            offset_variance=_positive(document, "offset_variance"),
            time=None if document["time"] is None else _time(document["time"], rows),
        )
    except MALFORMED as error:
        raise ModelError(f"lnirt.json is damaged: {error!r}") from error


def rounded(model: LnirtParameters) -> LnirtParameters:
    """Return the parameters as they will be read back, so that training and serving use the same numbers."""
    return from_json(to_json(model))


def _time(document: Mapping[str, Any], rows: int) -> TimeParameters:
    low, high = float(document["low"]), float(document["high"])
    if not -MAX_MAGNITUDE < low < 0 < high < MAX_MAGNITUDE:
        raise ValueError(f"interval from {low} to {high} is not one around 0")
    return TimeParameters(
        intensity=_array(document, "intensity", (rows, N_LEVELS)),
        intensity_variance=_array(document, "intensity_variance", (rows, N_LEVELS)),
        residual_variance=_array(document, "residual_variance", (rows,)),
        practice=_array(document, "practice", (rows, 2)),
        speed_variance=_positive(document, "speed_variance"),
        offset_variance=_positive(document, "offset_variance"),
        low=low,
        high=high,
    )


def _array(document: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> FloatArray:
    array = np.array(document[name], dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    if not (np.abs(array) <= MAX_MAGNITUDE).all():  # NaN is not either
        raise ValueError(f"{name} has values that are not finite or too large")
    if name.endswith("variance") and not (array >= MIN_VARIANCE).all():
        raise ValueError(f"{name} has values that are not positive or too small")
    return array


def _positive(document: Mapping[str, Any], name: str) -> float:
    value = float(document[name])
    if not MIN_VARIANCE <= value <= MAX_MAGNITUDE:
        raise ValueError(f"{name} is {value}")
    return value


def _plain(value: FloatArray | float) -> Any:
    """Return an array as nested lists of numbers with six significant digits, and a number as it is."""
    if isinstance(value, float):
        return value
    return [_plain(row) if value.ndim > 1 else float(f"{row:.6g}") for row in value]
