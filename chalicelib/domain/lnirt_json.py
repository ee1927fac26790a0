"""Writes and reads ``lnirt.json``, the published file of the LNIRT parameters.

The arrays of the file end with the average topic. The field ``subjects`` is present if there are several subjects, and
holds what is known about each. All else about a subject's average topic is as for the average topic.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from chalicelib.domain.errors import ModelError
from chalicelib.domain.forgetting import Forgetting
from chalicelib.domain.lnirt import N_LEVELS, FloatArray, LnirtParameters, TimeParameters
from chalicelib.domain.model_files import MALFORMED, MAX_MAGNITUDE, MAX_TOPICS, MIN_VARIANCE, json_object

LNIRT_SCHEMA = 1
"""Raised whenever the meaning of the file changes."""

_OF_TOPICS = ("rate", "typical")
_TIMES_OF_SUBJECTS = ("intensity", "intensity_variance")
_NO_SUBJECTS: Mapping[str, Any] = {
    "names": [],
    **dict.fromkeys(("easiness", *_TIMES_OF_SUBJECTS), np.empty((0, N_LEVELS))),
}


def to_json(model: LnirtParameters) -> bytes:
    """Return the bytes of the file: one JSON object, numbers with six significant digits."""
    time, rows = model.time, len(model.topics) + 1
    times = {} if time is None else {field.name: getattr(time, field.name) for field in fields(time)}
    document = {
        "schema": LNIRT_SCHEMA,
        "topics": list(model.topics),
        "discrimination": _plain(model.discrimination[:rows]),
        "easiness": _plain(model.easiness[:rows]),
        "practice": _plain(model.practice[:rows]),
        "offset_variance": model.offset_variance,
        "time": {name: _plain(value if isinstance(value, float) else value[:rows]) for name, value in times.items()}
        or None,
    }
    if model.subjects:
        document["subjects"] = {
            "names": list(model.subjects),
            "easiness": _plain(model.easiness[rows:]),
            **{name: _plain(times[name][rows:]) for name in _TIMES_OF_SUBJECTS if times},
        }
    if (forgetting := model.forgetting) is not None:
        values = {name: getattr(forgetting, name) for name in Forgetting.__struct_fields__}
        document["forgetting"] = {
            name: _plain(value if isinstance(value, float) else value[:rows]) for name, value in values.items()
        }
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def from_json(raw: bytes) -> LnirtParameters:
    """Return the parameters in a file. Raises ModelError if it is damaged or of another schema."""
    document = json_object(raw, "lnirt.json")
    try:
        if document["schema"] != LNIRT_SCHEMA:
            raise ModelError(f"lnirt.json has schema {document['schema']!r}, this version reads {LNIRT_SCHEMA}")
        topics = tuple(str(topic) for topic in document["topics"])
        of_subjects = document.get("subjects", _NO_SUBJECTS)
        subjects = tuple(str(subject) for subject in of_subjects["names"])
        rows = len(topics) + 1
        for names, kind in ((topics, "topics"), (subjects, "subjects")):
            if len(set(names)) < len(names) or len(names) + 1 > MAX_TOPICS:
                raise ModelError(f"lnirt.json has {len(names)} {kind}, {len(set(names))} of them different")
        return LnirtParameters(
            topics=topics,
            discrimination=_extended(_array(document, "discrimination", (rows,)), len(subjects)),
            easiness=np.vstack(
                [
                    _array(document, "easiness", (rows, N_LEVELS)),
                    _array(of_subjects, "easiness", (len(subjects), N_LEVELS)),
                ]
            ),
            practice=_extended(_array(document, "practice", (rows, 2)), len(subjects)),
            offset_variance=_positive(document, "offset_variance"),
            time=None if document["time"] is None else _time(document["time"], rows, of_subjects, len(subjects)),
            subjects=subjects,
            forgetting=_forgetting(document["forgetting"], rows, len(subjects)) if "forgetting" in document else None,
        )
    except MALFORMED as error:
        raise ModelError(f"lnirt.json is damaged: {error!r}") from error


def rounded(model: LnirtParameters) -> LnirtParameters:
    """Return the parameters as they will be read back, so that training and serving use the same numbers."""
    return from_json(to_json(model))


def _time(document: Mapping[str, Any], rows: int, of_subjects: Mapping[str, Any], n_subjects: int) -> TimeParameters:
    low, high = float(document["low"]), float(document["high"])
    if not -MAX_MAGNITUDE < low < 0 < high < MAX_MAGNITUDE:
        raise ValueError(f"interval from {low} to {high} is not one around 0")
    intensity, intensity_variance = (
        np.vstack([_array(document, name, (rows, N_LEVELS)), _array(of_subjects, name, (n_subjects, N_LEVELS))])
        for name in _TIMES_OF_SUBJECTS
    )
    return TimeParameters(
        intensity=intensity,
        intensity_variance=intensity_variance,
        residual_variance=_extended(_array(document, "residual_variance", (rows,)), n_subjects),
        practice=_extended(_array(document, "practice", (rows, 2)), n_subjects),
        speed_variance=_positive(document, "speed_variance"),
        offset_variance=_positive(document, "offset_variance"),
        low=low,
        high=high,
    )


def _forgetting(document: Mapping[str, Any], rows: int, n_subjects: int) -> Forgetting:
    rates = {
        name: _array(document, name, (rows,) if name in _OF_TOPICS else ()) for name in Forgetting.__struct_fields__
    }
    for name, values in rates.items():
        if not (values >= 0.0).all():
            raise ValueError(f"the forgetting has a negative {name}")
    fields: dict[str, Any] = {
        name: _extended(value, n_subjects) if value.ndim else float(value) for name, value in rates.items()
    }
    return Forgetting(**fields)


def _extended(values: FloatArray, n: int) -> FloatArray:
    """Return an array with n more rows like the last one, which is that of the average topic."""
    return np.concatenate([values, values[-1:].repeat(n, axis=0)])


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
