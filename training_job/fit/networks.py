"""The Keras model of correctness or of time, as one functional graph of standard layers.

    output = (prior + scale * residual) / temperature

The prior is LNIRT's prediction, and the residual is zero when training starts, so a scale of 0 gives exactly LNIRT. The
pooled state becomes 32 numbers, which are gated by a query of the topic. They go through a small MLP together with the
embeddings and the dense columns, which count the student's last answer on the topic as incorrect. The outcome of that
answer and the elapsed times enter separately, as columns that the correctness model multiplies by slopes that are never
negative (:func:`chalicelib.features.inputs.monotone_columns`). So no prediction decreases after a success, or rises
while a student waits. With much data the residual is the mean of several members that were trained separately.
TensorFlow is imported when a model is built, not with this module.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.features.inputs import N_MONOTONE

TOPIC_EMBEDDING = 24
USER_EMBEDDING = 32
DIFFICULTY_EMBEDDING = 4
POOLED_UNITS = 32
HIDDEN_UNITS = (96, 48)
POOLED_DROPOUT = 0.2
"""Of the pooled vectors, before the layer reads them (:class:`~training_job.history.pooled.StoredVectors`), and of what
it makes of them."""
HIDDEN_DROPOUT = 0.3

SLOPE_START, CLOCK_SLOPE_START = -1.0, -6.0
"""Initial effects of the last outcome and of a fresh answer before softplus: small compared with those in the prior.

The network adds to LNIRT's forgetting, so the effects of the clock start from almost nothing.
"""

DROPPED_BITS = 12
"""Number of the 23 bits of a weight's mantissa that are not published."""


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """Sizes of a network: rows of the embeddings, columns of the inputs, and the number of its members."""

    name: str
    n_topics: int
    n_users: int
    n_dense: int
    n_pooled: int
    members: int = 1
    n_monotone: int = N_MONOTONE

    @property
    def binary(self) -> bool:
        """True for the correctness network: its output is a logit, which may only rise with the last outcome."""
        return self.name == "correctness"


def build_network(shape: NetworkShape, *, scale: float = 1.0, temperature: float = 1.0) -> Any:
    """Return an uncompiled ``keras.Model`` of the inputs prior, user, topic, difficulty, last, state and pooled."""
    import keras
    from keras import layers

    inputs = {name: keras.Input((1,), dtype="int32", name=name) for name in ("user", "topic", "difficulty")}
    widths = {"prior": 1, "last": shape.n_monotone, "state": shape.n_dense, "pooled": shape.n_pooled}
    inputs |= {name: keras.Input((width,), dtype="float32", name=name) for name, width in widths.items()}
    members = [_residual(inputs, shape, number) for number in range(1, shape.members + 1)]
    residual = layers.Average(name="members")(members) if shape.members > 1 else members[0]
    residual = layers.Rescaling(scale, name="residual_scale")(residual)
    output = layers.Add(name="prior_plus_residual")([inputs["prior"], residual])
    output = layers.Rescaling(1.0 / temperature, name="temperature")(output)
    return keras.Model(inputs, output, name=shape.name)


def _residual(inputs: Mapping[str, Any], shape: NetworkShape, number: int) -> Any:
    """Return the tensor that member ``number`` adds to the prior."""
    import keras
    from keras import layers

    small = keras.initializers.RandomNormal(stddev=0.05)

    def embedded(source: str, rows: int, width: int, name: str, start: Any) -> Any:
        table = layers.Embedding(rows, width, embeddings_initializer=start, name=f"{name}_{number}")
        return layers.Flatten(name=f"{name}_row_{number}")(table(inputs[source]))

    history = layers.Dense(POOLED_UNITS, activation="silu", name=f"history_{number}")(inputs["pooled"])
    history = layers.Dropout(POOLED_DROPOUT, name=f"history_dropout_{number}")(history)
    query = embedded("topic", shape.n_topics, POOLED_UNITS, "topic_query", "ones")
    parts = [
        layers.Multiply(name=f"queried_history_{number}")([history, query]),
        embedded("topic", shape.n_topics, TOPIC_EMBEDDING, "topic_embedding", small),
        embedded("user", shape.n_users, USER_EMBEDDING, "user_embedding", small),
        embedded("difficulty", 4, DIFFICULTY_EMBEDDING, "difficulty_embedding", small),
        inputs["state"],
    ]
    hidden = layers.Concatenate(name=f"everything_{number}")(parts if shape.binary else [*parts, inputs["last"]])
    hidden = layers.Dense(HIDDEN_UNITS[0], activation="silu", name=f"hidden_1_{number}")(hidden)
    hidden = layers.Dropout(HIDDEN_DROPOUT, name=f"hidden_dropout_{number}")(hidden)
    hidden = layers.Dense(HIDDEN_UNITS[1], activation="silu", name=f"hidden_2_{number}")(hidden)
    residual = [
        layers.Dense(1, kernel_initializer="zeros", name=f"head_{number}")(hidden),
        embedded("topic", shape.n_topics, 1, "topic_bias", "zeros"),
    ]
    if shape.binary:
        # The effects of the monotone columns: never negative, and at first the same for all answers.
        slope = layers.Dense(
            shape.n_monotone,
            activation="softplus",
            kernel_initializer="zeros",
            bias_initializer=keras.initializers.Constant(
                np.array([SLOPE_START] + [CLOCK_SLOPE_START] * (shape.n_monotone - 1))
            ),
            name=f"last_slope_{number}",
        )(hidden)
        residual.append(layers.Dot(axes=1, name=f"last_effect_{number}")([slope, inputs["last"]]))
    return layers.Add(name=f"residual_{number}")(residual)


def combined(members: Sequence[Any], shape: NetworkShape) -> tuple[Any, NetworkShape]:
    """Return a network whose output is the mean of the members' outputs, and its shape.

    Each member was built for ``shape``.
    """
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


def copied(model: Any, shape: NetworkShape) -> Any:
    """Return a network with the same weights, which stay as they are when the other one is trained."""
    copy = build_network(shape)
    copy.set_weights(model.get_weights())
    return copy


def rescaled(model: Any, shape: NetworkShape, scale: float, temperature: float) -> Any:
    """Return a network with the weights as precise as they are published, and another scale and temperature."""
    changed = build_network(shape, scale=scale, temperature=temperature)
    changed.set_weights([shortened(weights) for weights in model.get_weights()])
    return changed


def shortened(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return weights rounded to 11 bits of mantissa, which is within 1/4096. They compress to about two thirds."""
    bits = np.ascontiguousarray(weights, dtype=np.float32).view(np.uint32)
    half, kept = np.uint32(1 << (DROPPED_BITS - 1)), np.uint32(0xFFFFFFFF ^ ((1 << DROPPED_BITS) - 1))
    return ((bits + half) & kept).view(np.float32)


def archive_bytes(model: Any) -> bytes:
    """Return the model as the bytes of a ``.keras`` archive, deflated."""
    # Keras writes archives only to named files, and without compression.
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        with zipfile.ZipFile(path) as plain, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in plain.namelist():
                archive.writestr(name, plain.read(name))
    return packed.getvalue()
