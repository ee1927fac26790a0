"""``vocabulary.json``: the part of a version that turns a student's state into the inputs of its networks."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.digests import row_of, row_of_topic
from chalicelib.domain.errors import ModelError
from chalicelib.domain.lnirt import LnirtParameters
from chalicelib.domain.model_files import MALFORMED, MAX_MAGNITUDE, MAX_TOPICS, MAX_TRAITS, json_object
from chalicelib.features.constants import VersionConstants
from chalicelib.features.inputs import FEATURE_SCHEMA, READABLE_SCHEMAS, Float32Array
from chalicelib.features.item_effects import ItemTable, no_items
from chalicelib.features.pooled import TIMED, PooledLayout
from chalicelib.features.sequences import SequenceTable
from chalicelib.features.state import DECAY_ANSWERS, STATE_SCHEMA
from chalicelib.features.traits import TraitModel
from chalicelib.prediction.interval import TimeInterval

OUT_OF_VOCABULARY = 0
"""The embedding row shared by all users (or topics) without a row of their own."""

MAX_BOUNDS = 100
"""Maximum number of predicted times at which a version has bounds of its interval."""


@dataclass(frozen=True)
class Vocabulary:
    """The names of the embedding rows, the layout of the inputs, and the constants that are not LNIRT's."""

    topics: tuple[str, ...]
    """Topic keys with an embedding row of their own, or their digests: position i has row i + 1. The first ones also
    have a pooled column of their own, as many as there are columns less one."""
    users: tuple[str, ...]
    """Digests of the users with an embedding row of their own: position i has row i + 1."""
    correctness_pooled: PooledLayout
    time_pooled: PooledLayout
    mean: Float32Array
    """Of the dense columns in training, by which they are standardised. Shape (D,)."""
    scale: Float32Array
    """Spread of the dense columns in training. Shape (D,)."""
    traits: TraitModel
    sequences: SequenceTable
    has_time: bool
    """False if the version was trained without times."""
    time_interval: TimeInterval
    """Of the time network."""
    items: ItemTable = field(default_factory=no_items)
    feature_schema: int = FEATURE_SCHEMA
    """The schema of the networks' inputs."""
    _topic_rows: dict[str, int] = field(init=False, repr=False, compare=False)
    _user_rows: dict[str, int] = field(init=False, repr=False, compare=False)
    _pooled_columns: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_topic_rows", {name: i + 1 for i, name in enumerate(self.topics)})
        object.__setattr__(self, "_user_rows", {name: i + 1 for i, name in enumerate(self.users)})
        own = self.topics[: self.shared_column]
        object.__setattr__(self, "_pooled_columns", {name: i for i, name in enumerate(own)})

    def constants(self, lnirt: LnirtParameters) -> VersionConstants:
        """Return the constants of the version, whose LNIRT parameters are in another file."""
        traits = self.traits.extended(len(lnirt.easiness))
        return VersionConstants(lnirt, traits, self.sequences, self.items)

    def topic_embedding(self, topic: str) -> int:
        """Return the embedding row of a topic key."""
        return row_of_topic(topic, self._topic_rows, OUT_OF_VOCABULARY)

    def user_embedding(self, user_id: str) -> int:
        """Return the embedding row of a user."""
        return row_of(user_id, self._user_rows, OUT_OF_VOCABULARY)

    def pooled_column(self, topic: str) -> int:
        """Return the column of a topic key in the pooled vectors."""
        return row_of_topic(topic, self._pooled_columns, self.shared_column)

    @property
    def shared_column(self) -> int:
        """The last pooled column, shared by all topics without a column of their own."""
        return self.correctness_pooled.n_columns - 1

    def to_json(self) -> bytes:
        """Return the file's bytes."""
        document = {
            "feature_schema": self.feature_schema,
            "state_schema": STATE_SCHEMA,
            "decay_answers": DECAY_ANSWERS.tolist(),
            "topics": list(self.topics),
            "users": list(self.users),
            "pooled_columns": self.correctness_pooled.n_columns,
            "correctness_pooled": self.correctness_pooled.pairs,
            "time_pooled": self.time_pooled.pairs,
            "mean": [float(value) for value in self.mean],
            "scale": [float(value) for value in self.scale],
            "traits": _packed_traits(self.traits),
            # The sequences: another name would make published versions unreadable.
            "paths": {"keys": _packed(self.sequences.keys, "<u4"), "values": _packed(self.sequences.values, "<f2")},
            "items": {
                "keys": _packed(self.items.keys, "<i8"),
                **{name: _packed(getattr(self.items, name), "<f2") for name in ("success", "time")},
            },
            "has_time": self.has_time,
            "time_interval": asdict(self.time_interval),
            # Earlier programs read one interval for all times.
            "time_low": float(np.mean(self.time_interval.low)),
            "time_high": float(np.mean(self.time_interval.high)),
        }
        return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def read_vocabulary(raw: bytes) -> Vocabulary:
    """Return the vocabulary in the file's bytes. Raises ModelError if it is damaged or of another schema."""
    document = json_object(raw, "vocabulary.json")
    try:
        _check_schema(document)
        columns = int(document["pooled_columns"])
        mean = np.array(document["mean"], dtype=np.float32)
        scale = np.array(document["scale"], dtype=np.float32)
        interval = _interval(document)
        if mean.ndim != 1 or mean.shape != scale.shape or not (_is_sane(mean) and _is_sane(1.0 / scale)):
            raise ModelError("vocabulary.json has no valid mean and scale")
        if not 1 <= columns <= MAX_TOPICS:
            raise ModelError(f"vocabulary.json has {columns} pooled columns")
        return Vocabulary(
            topics=tuple(str(name) for name in document["topics"]),
            users=tuple(str(name) for name in document["users"]),
            correctness_pooled=PooledLayout(_pairs(document["correctness_pooled"]), columns),
            time_pooled=PooledLayout(_pairs(document["time_pooled"]), columns),
            mean=mean,
            scale=scale,
            traits=_traits(document["traits"]),
            sequences=_sequences(document["paths"]),
            items=_items(document["items"]) if "items" in document else no_items(),
            has_time=bool(document["has_time"]),
            time_interval=interval,
            feature_schema=document["feature_schema"],
        )
    except MALFORMED as error:
        raise ModelError(f"vocabulary.json is damaged: {error!r}") from error


def _interval(document: Mapping[str, Any]) -> TimeInterval:
    """Return the interval of the times. Files of earlier programs have one low and one high bound."""
    stored = document.get("time_interval")
    if stored is None:
        stored = {"log_seconds": [0.0], "low": [document["time_low"]], "high": [document["time_high"]]}
    at, low, high = (tuple(map(float, stored[name])) for name in ("log_seconds", "low", "high"))
    if not 1 <= len(at) == len(low) == len(high) <= MAX_BOUNDS or not _is_sane(np.array(at)) or any(np.diff(at) <= 0):
        raise ModelError(f"vocabulary.json has no valid times of an interval: {at}, {low}, {high}")
    if not all(-MAX_MAGNITUDE < bound < 0 for bound in low) or not all(0 < bound < MAX_MAGNITUDE for bound in high):
        raise ModelError(f"vocabulary.json has an interval from {low} to {high}")
    return TimeInterval(at, low, high)


def _check_schema(document: Mapping[str, Any]) -> None:
    readable = {
        "feature_schema": READABLE_SCHEMAS,
        "state_schema": (STATE_SCHEMA,),
        "decay_answers": (DECAY_ANSWERS.tolist(),),
    }
    for name, values in readable.items():
        if document[name] not in values:
            expected = " or ".join(map(repr, values))
            raise ModelError(f"vocabulary.json has {name} {document[name]!r}, this version reads {expected}")


def _packed(array: npt.NDArray[Any], kind: str) -> str:
    """Return the array as numbers of a little-endian kind, in base64."""
    return base64.b64encode(array.astype(kind).tobytes()).decode()


def _unpacked(raw: str, kind: str) -> npt.NDArray[Any]:
    return np.frombuffer(base64.b64decode(raw, validate=True), dtype=kind)


def _packed_traits(traits: TraitModel) -> dict[str, Any]:
    names = ("success", "success_noise", "time", "time_noise")
    return {"n_traits": traits.n_traits, **{name: _packed(getattr(traits, name), "<f4") for name in names}}


def _traits(document: Mapping[str, Any]) -> TraitModel:
    n_traits = int(document["n_traits"])
    if not 0 <= n_traits <= MAX_TRAITS:
        raise ModelError(f"vocabulary.json has {n_traits} traits")
    noise = [_unpacked(document[name], "<f4").astype(np.float64) for name in ("success_noise", "time_noise")]
    loadings = [
        _unpacked(document[name], "<f4").astype(np.float64).reshape(len(noise[0]), n_traits)
        for name in ("success", "time")
    ]
    if noise[0].shape != noise[1].shape or not all((part > 0).all() and _is_sane(1.0 / part) for part in noise):
        raise ModelError("vocabulary.json has traits without a valid noise")
    if not all(map(_is_sane, loadings)):
        raise ModelError("vocabulary.json has trait loadings that are not finite or too large")
    return TraitModel(loadings[0], noise[0], loadings[1], noise[1])


def _sequences(document: Mapping[str, Any]) -> SequenceTable:
    keys = _unpacked(document["keys"], "<u4").astype(np.uint32)
    values = _unpacked(document["values"], "<f2").astype(np.float64)
    if keys.shape != values.shape or not _is_sane(values) or not (keys[1:] > keys[:-1]).all():
        raise ModelError("vocabulary.json has topic sequences that do not fit their values")
    return SequenceTable(keys, values)


def _items(document: Mapping[str, Any]) -> ItemTable:
    keys = _unpacked(document["keys"], "<i8").astype(np.int64)
    success, time = (_unpacked(document[name], "<f2").astype(np.float64) for name in ("success", "time"))
    if not keys.shape == success.shape == time.shape or not (keys[1:] > keys[:-1]).all():
        raise ModelError("vocabulary.json has items that do not fit their effects")
    if not (_is_sane(success) and _is_sane(time)):
        raise ModelError("vocabulary.json has item effects that are not finite or too large")
    return ItemTable(keys, success, time)


def _is_sane(numbers: npt.NDArray[Any]) -> bool:
    """Return False if a number is not finite or has a magnitude that no training gives."""
    return bool((np.abs(numbers) <= MAX_MAGNITUDE).all())


def _pairs(raw: Any) -> tuple[tuple[int, int], ...]:
    pairs = tuple((int(statistic), int(decay)) for statistic, decay in raw)
    for statistic, decay in pairs:
        if not (0 <= statistic <= TIMED and 0 <= decay < len(DECAY_ANSWERS)):
            raise ModelError(f"vocabulary.json pools statistic {statistic} at decay {decay}, which do not exist")
    return pairs
