"""The Keras model of correctness or time, as one functional graph of standard layers.

    output = (prior + scale * residual) / temperature

The residual is zero when training starts and the prior is LNIRT's prediction, so that a scale of 0 gives exactly
LNIRT. The pooled state is turned into 64 numbers, gated by a query of the topic, and goes through a small MLP with
the embeddings and the dense context. In the correctness model a student's outcomes on the asked topic enter only
through a path that cannot fall when a failure becomes a success, so that no prediction goes down after a success
(Sill 1998, "Monotonic networks": weights of one sign, monotone activations). TensorFlow is imported when a model is
built, not when this module is.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.features.inputs import N_OUTCOMES

TOPIC_EMBEDDING = 20
USER_EMBEDDING = 32
DIFFICULTY_EMBEDDING = 4
POOLED_UNITS = 64
HIDDEN_UNITS = (128, 64)
RISING_UNITS = 48
POOLED_DROPOUT = 0.2
HIDDEN_DROPOUT = 0.3

DROPPED_BITS = 12
"""Of a published weight's 23 bits of mantissa."""


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """Sizes of a network: rows of the embeddings, columns of the inputs."""

    name: str
    n_topics: int
    n_users: int
    n_dense: int
    n_pooled: int

    @property
    def monotone(self) -> bool:
        """Whether the output may only rise in the outcomes: so for correctness, not for time."""
        return self.name == "correctness"


def build_network(shape: NetworkShape, *, scale: float = 1.0, temperature: float = 1.0) -> Any:
    """An uncompiled ``keras.Model`` of named inputs prior, user, topic, difficulty, state, outcomes, pooled."""
    import keras
    from keras import layers

    def column(name: str) -> Any:
        return keras.Input((1,), dtype="int32", name=name)

    def embedded(source: Any, rows: int, width: int, name: str, start: Any) -> Any:
        return layers.Flatten(name=f"{name}_row")(
            layers.Embedding(rows, width, embeddings_initializer=start, name=name)(source)
        )

    prior = keras.Input((1,), dtype="float32", name="prior")
    user, topic, difficulty = column("user"), column("topic"), column("difficulty")
    state = keras.Input((shape.n_dense - N_OUTCOMES,), dtype="float32", name="state")
    outcomes = keras.Input((N_OUTCOMES,), dtype="float32", name="outcomes")
    pooled = keras.Input((shape.n_pooled,), dtype="float32", name="pooled")
    small = keras.initializers.RandomNormal(stddev=0.05)

    history = layers.Dropout(POOLED_DROPOUT, name="pooled_dropout")(pooled)
    history = layers.Dense(POOLED_UNITS, activation="silu", name="history")(history)
    history = layers.Dropout(POOLED_DROPOUT, name="history_dropout")(history)
    query = embedded(topic, shape.n_topics, POOLED_UNITS, "topic_query", "ones")
    parts = [
        layers.Multiply(name="queried_history")([history, query]),
        embedded(topic, shape.n_topics, TOPIC_EMBEDDING, "topic_embedding", small),
        embedded(user, shape.n_users, USER_EMBEDDING, "user_embedding", small),
        embedded(difficulty, 4, DIFFICULTY_EMBEDDING, "difficulty_embedding", small),
        state,
    ]
    hidden = layers.Concatenate(name="everything")(parts if shape.monotone else [*parts, outcomes])
    for number, units in enumerate(HIDDEN_UNITS, start=1):
        hidden = layers.Dense(units, activation="silu", name=f"hidden_{number}")(hidden)
        if number == 1:
            hidden = layers.Dropout(HIDDEN_DROPOUT, name="hidden_dropout")(hidden)
    residual = layers.Dense(1, kernel_initializer="zeros", name="head")(hidden)
    if shape.monotone:
        residual = layers.Add(name="context_and_outcomes")([residual, _rising(outcomes, hidden)])
    bias = embedded(topic, shape.n_topics, 1, "topic_bias", "zeros")
    residual = layers.Rescaling(scale, name="residual_scale")(layers.Add(name="residual")([residual, bias]))
    output = layers.Add(name="prior_plus_residual")([prior, residual])
    output = layers.Rescaling(1.0 / temperature, name="temperature")(output)
    inputs = {
        "prior": prior, "user": user, "topic": topic, "difficulty": difficulty, "state": state,
        "outcomes": outcomes, "pooled": pooled,
    }  # fmt: skip
    return keras.Model(inputs, output, name=shape.name)


def _rising(outcomes: Any, hidden: Any) -> Any:
    """A function of outcomes and context that can only rise in the outcomes: weights on that path are not negative."""
    import keras
    from keras import layers

    positive = keras.constraints.NonNeg()
    start = keras.initializers.RandomUniform(0.0, 0.2)
    signal = layers.Dense(
        RISING_UNITS, use_bias=False, kernel_initializer=start, kernel_constraint=positive, name="outcome_signal"
    )(outcomes)
    shift = layers.Dense(RISING_UNITS, name="outcome_shift")(hidden)
    signal = layers.Activation("tanh", name="outcome_level")(layers.Add(name="shifted_signal")([signal, shift]))
    gate = layers.Dense(RISING_UNITS, activation="sigmoid", name="outcome_gate")(hidden)
    signal = layers.Multiply(name="gated_outcomes")([signal, gate])
    return layers.Dense(1, use_bias=False, kernel_initializer="zeros", kernel_constraint=positive, name="outcome_head")(
        signal
    )


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
