"""The Keras model of correctness or time, as one functional graph of standard layers.

    output = (prior + scale * residual) / temperature

The residual is zero when training starts and the prior is LNIRT's prediction, so that a scale of 0 gives exactly
LNIRT. The pooled state is turned into 32 numbers, gated by a query of the topic, and goes through a small MLP with
the embeddings and the dense columns, which take the student's last answer on the topic for wrong. What that answer
really was enters by itself: the correctness model multiplies it by a slope that is never negative, so that no
prediction goes down after a success. With much data the residual is the mean of several members that were trained
apart. TensorFlow is imported when a model is built, not when this module is.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

TOPIC_EMBEDDING = 24
USER_EMBEDDING = 32
DIFFICULTY_EMBEDDING = 4
POOLED_UNITS = 32
HIDDEN_UNITS = (96, 48)
POOLED_DROPOUT = 0.2
HIDDEN_DROPOUT = 0.3

SLOPE_START = -1.0
"""Of the last outcome's effect, before softplus: small beside the prior's own."""

DROPPED_BITS = 12
"""Of a published weight's 23 bits of mantissa."""


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """Sizes of a network: rows of the embeddings, columns of the inputs, and of how many members it is the mean."""

    name: str
    n_topics: int
    n_users: int
    n_dense: int
    n_pooled: int
    members: int = 1

    @property
    def monotone(self) -> bool:
        """Whether the output may only rise with the last outcome: so for correctness, not for time."""
        return self.name == "correctness"


def build_network(shape: NetworkShape, *, scale: float = 1.0, temperature: float = 1.0) -> Any:
    """An uncompiled ``keras.Model`` of named inputs prior, user, topic, difficulty, last, state, pooled."""
    import keras
    from keras import layers

    inputs = {name: keras.Input((1,), dtype="int32", name=name) for name in ("user", "topic", "difficulty")}
    widths = {"prior": 1, "last": 1, "state": shape.n_dense, "pooled": shape.n_pooled}
    inputs |= {name: keras.Input((width,), dtype="float32", name=name) for name, width in widths.items()}
    members = [_residual(inputs, shape, number) for number in range(1, shape.members + 1)]
    residual = layers.Average(name="members")(members) if shape.members > 1 else members[0]
    residual = layers.Rescaling(scale, name="residual_scale")(residual)
    output = layers.Add(name="prior_plus_residual")([inputs["prior"], residual])
    output = layers.Rescaling(1.0 / temperature, name="temperature")(output)
    return keras.Model(inputs, output, name=shape.name)


def _residual(inputs: Mapping[str, Any], shape: NetworkShape, number: int) -> Any:
    """What member ``number`` adds to the prior."""
    import keras
    from keras import layers

    small = keras.initializers.RandomNormal(stddev=0.05)

    def embedded(source: str, rows: int, width: int, name: str, start: Any) -> Any:
        table = layers.Embedding(rows, width, embeddings_initializer=start, name=f"{name}_{number}")
        return layers.Flatten(name=f"{name}_row_{number}")(table(inputs[source]))

    history = layers.Dropout(POOLED_DROPOUT, name=f"pooled_dropout_{number}")(inputs["pooled"])
    history = layers.Dense(POOLED_UNITS, activation="silu", name=f"history_{number}")(history)
    history = layers.Dropout(POOLED_DROPOUT, name=f"history_dropout_{number}")(history)
    query = embedded("topic", shape.n_topics, POOLED_UNITS, "topic_query", "ones")
    parts = [
        layers.Multiply(name=f"queried_history_{number}")([history, query]),
        embedded("topic", shape.n_topics, TOPIC_EMBEDDING, "topic_embedding", small),
        embedded("user", shape.n_users, USER_EMBEDDING, "user_embedding", small),
        embedded("difficulty", 4, DIFFICULTY_EMBEDDING, "difficulty_embedding", small),
        inputs["state"],
    ]
    hidden = layers.Concatenate(name=f"everything_{number}")(parts if shape.monotone else [*parts, inputs["last"]])
    hidden = layers.Dense(HIDDEN_UNITS[0], activation="silu", name=f"hidden_1_{number}")(hidden)
    hidden = layers.Dropout(HIDDEN_DROPOUT, name=f"hidden_dropout_{number}")(hidden)
    hidden = layers.Dense(HIDDEN_UNITS[1], activation="silu", name=f"hidden_2_{number}")(hidden)
    residual = [
        layers.Dense(1, kernel_initializer="zeros", name=f"head_{number}")(hidden),
        embedded("topic", shape.n_topics, 1, "topic_bias", "zeros"),
    ]
    if shape.monotone:
        # How much better a success makes it: never less than nothing, and at first the same for all.
        slope = layers.Dense(
            1,
            activation="softplus",
            kernel_initializer="zeros",
            bias_initializer=keras.initializers.Constant(SLOPE_START),
            name=f"last_slope_{number}",
        )(hidden)
        residual.append(layers.Multiply(name=f"last_effect_{number}")([slope, inputs["last"]]))
    return layers.Add(name=f"residual_{number}")(residual)


def combined(members: Sequence[Any], shape: NetworkShape) -> tuple[Any, NetworkShape]:
    """One network that gives the mean of the ``members``' outputs, each built for ``shape``, and its shape."""
    if len(members) == 1:
        return members[0], shape
    shape = replace(shape, members=len(members))
    model = build_network(shape)
    for number, member in enumerate(members, start=1):
        for layer in member.layers:
            if layer.weights:
                name = f"{layer.name.removesuffix('_1')}_{number}"
                model.get_layer(name).set_weights(layer.get_weights())
    return model, shape


def rescaled(model: Any, shape: NetworkShape, scale: float, temperature: float) -> Any:
    """The same weights, as precise as an archive keeps them, behind another residual scale and temperature."""
    changed = build_network(shape, scale=scale, temperature=temperature)
    changed.set_weights([shortened(weights) for weights in model.get_weights()])
    return changed


def shortened(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Weights rounded to 11 bits of mantissa: they stay within 1/4096 of themselves, and pack to about two thirds."""
    bits = np.ascontiguousarray(weights, dtype=np.float32).view(np.uint32)
    half, kept = np.uint32(1 << (DROPPED_BITS - 1)), np.uint32(0xFFFFFFFF ^ ((1 << DROPPED_BITS) - 1))
    return ((bits + half) & kept).view(np.float32)


def archive_bytes(model: Any) -> bytes:
    """The model as the bytes of a ``.keras`` archive, deflated."""
    import tempfile
    from pathlib import Path

    # Keras writes archives to named files only, and unpacked.
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        with zipfile.ZipFile(path) as plain, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in plain.namelist():
                archive.writestr(name, plain.read(name))
    return packed.getvalue()
