"""The forward pass of the trained networks in numpy.

``training_job/fit/networks.py`` builds the graph with Keras. :class:`ForwardPass` is the same arithmetic; its fields
have the names of the layers. The members of a network lie along the first axis of every weight, so three members are
larger arrays but no more numpy calls, which cost more than the arithmetic of one prediction.

A forward pass only serves what it reproduces: when a version is loaded, it is compared with the archive, run layer by
layer. An archive of another graph is served layer by layer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.domain.errors import ModelError
from chalicelib.domain.lnirt import FloatArray, LnirtParameters
from chalicelib.domain.numerics import Column, Row
from chalicelib.features.inputs import CLOCK_SCHEMA, N_MONOTONE, Float32Array
from chalicelib.prediction.archive import KerasModel
from chalicelib.prediction.vocabulary import Vocabulary

Inputs = Mapping[str, npt.NDArray[Any]]
"""The named inputs of a network, (N, width) each, from :func:`network_inputs`."""

BLOCK_ROWS = 256
"""Predictions that run at once, so that intermediate results stay in the processor's cache."""

PROBE_ROWS, PROBE_TOLERANCE = 8, 1e-4
"""Rows on which a forward pass is compared with its archive, and the difference that rounding may cause."""

_LOG = logging.getLogger("studysmart.prediction")


class Dense(msgspec.Struct, frozen=True):
    """A fully connected layer of M members: ``kernel`` (M, n, m) and ``bias`` (M, 1, m)."""

    kernel: Float32Array
    bias: Float32Array

    def __call__(self, x: Float32Array) -> Float32Array:
        """Return (M, N, m) for inputs (N, n) or (M, N, n)."""
        return x @ self.kernel + self.bias


class ForwardPass(msgspec.Struct, frozen=True):
    """One network of M members. Embeddings are tables (M, rows, width). Immutable, so threads may share it."""

    history: Dense
    topic_query: Float32Array
    topic_embedding: Float32Array
    user_embedding: Float32Array
    difficulty_embedding: Float32Array
    hidden_1: Dense
    hidden_2: Dense
    head: Dense
    topic_bias: Float32Array
    last_slope: Dense | None
    """The effects of the monotone columns; None for the time network, which reads them as more numbers."""
    scale: np.float32
    """The scale of the residual, divided by M: the mean over members becomes a sum."""
    inverse_temperature: np.float32

    def __call__(self, x: Inputs) -> Float32Array:
        """Return the outputs (N, 1). Raises IndexError for codes outside of the tables."""
        # Unsigned, because take() would count negative codes from the end.
        user, topic, level = (x[name][:, 0].astype(np.uint32) for name in ("user", "topic", "difficulty"))
        numbers = x["state"] if self.last_slope else np.concatenate((x["state"], x["last"]), axis=-1)
        history = _silu(self.history(x["pooled"])) * self.topic_query.take(topic, axis=1)
        everything = (
            history,
            self.topic_embedding.take(topic, axis=1),
            self.user_embedding.take(user, axis=1),
            self.difficulty_embedding.take(level, axis=1),
            numbers[None].repeat(len(history), axis=0),
        )
        hidden = _silu(self.hidden_2(_silu(self.hidden_1(np.concatenate(everything, axis=-1)))))
        residual = self.head(hidden) + self.topic_bias.take(topic, axis=1)
        if self.last_slope:
            # The softplus makes the slopes positive. A success never lowers, and waiting never raises a prediction.
            slopes = np.logaddexp(np.float32(0), self.last_slope(hidden))
            residual += np.add.reduce(slopes * x["last"], axis=-1, keepdims=True)
        output: Float32Array = (x["prior"] + self.scale * np.add.reduce(residual)) * self.inverse_temperature
        return output

    @classmethod
    def of(cls, model: KerasModel) -> ForwardPass:
        """Take the weights from an archive by the names of its layers. Raises LookupError for another graph."""
        members = range(1, 1 + sum(name.startswith("head_") for name in model.weights))

        def stacked(layer: str, position: int = 0) -> Float32Array:
            """Return one weight of a layer for all members. Shape (M, ...)."""
            return np.stack([model.weights[f"{layer}_{member}"][position] for member in members])

        def dense(layer: str) -> Dense:
            return Dense(stacked(layer, 0), stacked(layer, 1)[:, None])

        return cls(
            history=dense("history"),
            topic_query=stacked("topic_query"),
            topic_embedding=stacked("topic_embedding"),
            user_embedding=stacked("user_embedding"),
            difficulty_embedding=stacked("difficulty_embedding"),
            hidden_1=dense("hidden_1"),
            hidden_2=dense("hidden_2"),
            head=dense("head"),
            topic_bias=stacked("topic_bias"),
            last_slope=dense("last_slope") if "last_slope_1" in model.weights else None,
            scale=np.float32(model.scales["residual_scale"] / len(members)),
            inverse_temperature=np.float32(model.scales["temperature"]),
        )


def _silu(x: Float32Array) -> Float32Array:
    """Return x * sigmoid(x), by the hyperbolic tangent, which does not overflow."""
    half = x * np.float32(0.5)
    activated = np.tanh(half)
    activated *= half
    activated += half
    return activated


class Network:
    """One network of a version, run by its forward pass or layer by layer."""

    def __init__(self, model: KerasModel) -> None:
        self.model = model
        self.forward_pass = _forward_pass(model)

    def __call__(self, inputs: Inputs) -> FloatArray:
        """Return the outputs (N,), not finite where the network overflows. ModelError for inputs that do not fit."""
        run, n = self.forward_pass or self.model, len(inputs["prior"])
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                if n <= BLOCK_ROWS:
                    return run(inputs)[:, 0].astype(np.float64)
                blocks = [slice(begin, begin + BLOCK_ROWS) for begin in range(0, n, BLOCK_ROWS)]
                parts = [run({name: x[rows] for name, x in inputs.items()}) for rows in blocks]
                return np.concatenate(parts)[:, 0].astype(np.float64)
        except (ValueError, LookupError) as error:
            raise ModelError(f"the network failed: {error}") from error


def _forward_pass(model: KerasModel) -> ForwardPass | None:
    """Return the forward pass of an archive; None if it does not give the archive's outputs."""
    try:
        forward_pass = ForwardPass.of(model)
        inputs = _probe(model, forward_pass)
        with np.errstate(over="ignore", invalid="ignore"):
            found, expected = forward_pass(inputs), model(inputs)
    except (ModelError, ValueError, LookupError) as error:
        _LOG.info("the archive does not hold the trained graph and runs layer by layer: %r", error)
        return None
    if not np.allclose(found, expected, rtol=PROBE_TOLERANCE, atol=PROBE_TOLERANCE):
        _LOG.info("the forward pass does not give the archive's outputs, which runs layer by layer")
        return None
    return forward_pass


def _probe(model: KerasModel, forward_pass: ForwardPass) -> Inputs:
    """Return inputs of varied numbers, and codes that the tables have."""
    tables = {
        "user": forward_pass.user_embedding,
        "topic": forward_pass.topic_query,
        "difficulty": forward_pass.difficulty_embedding,
    }
    rows = np.arange(PROBE_ROWS)[:, None]
    return {
        item.name: rows % tables[item.name].shape[1]
        if item.holds_codes
        else np.cos(rows * item.width + np.arange(item.width)).astype(np.float32)
        for item in model.inputs
    }


class Networks:
    """The correctness network (logit) and the time network (log seconds) of a version."""

    def __init__(self, correctness: KerasModel, time: KerasModel) -> None:
        self.correctness, self.time = Network(correctness), Network(time)

    def __call__(
        self, inputs: Inputs, time_prior: Float32Array, time_pooled: Float32Array
    ) -> tuple[FloatArray, FloatArray]:
        """Return logits and log seconds, (N,) each.

        ``inputs`` are those of the correctness network. The time network differs in its prior (N, 1) and its pooled
        vectors (N, width). Raises ModelError for inputs that do not fit.
        """
        return self.correctness(inputs), self.time({**inputs, "prior": time_prior, "pooled": time_pooled})


def network_inputs(
    prior: Column, user: Row, topic: Row, level: Row, monotone: Float32Array, dense: Float32Array, pooled: Float32Array
) -> dict[str, npt.NDArray[Any]]:
    """Return the named inputs of a network for one prediction or for N.

    ``user`` and ``topic`` are embedding rows of the vocabulary, ``level`` is 0..3. ``monotone`` are the columns
    (N, M) of :func:`chalicelib.features.inputs.monotone_columns`, ``dense`` (N, D) is standardised.
    """
    codes = np.array((user, topic, level), dtype=np.int32).reshape(3, -1, 1)
    return {
        "prior": np.array(prior, dtype=np.float32).reshape(-1, 1),
        "user": codes[0],
        "topic": codes[1],
        "difficulty": codes[2],
        "last": monotone,
        "state": dense,
        "pooled": pooled,
    }


def check_fit(networks: Networks, vocabulary: Vocabulary, lnirt: LnirtParameters) -> None:
    """Raise ModelError if the files of a version do not belong together."""
    monotone = N_MONOTONE if vocabulary.feature_schema >= CLOCK_SCHEMA else 1
    codes = dict.fromkeys(("prior", "user", "topic", "difficulty"), 1)
    expected = {**codes, "last": monotone, "state": len(vocabulary.mean)}
    layouts = {"correctness": vocabulary.correctness_pooled, "time": vocabulary.time_pooled}
    for name, network in (("correctness", networks.correctness), ("time", networks.time)):
        widths = {item.name: item.width for item in network.model.inputs}
        if widths != {**expected, "pooled": layouts[name].width}:
            raise ModelError(f"the {name} model has inputs {widths}, the vocabulary does not fit")
        if network.model.output_shape != (1,):
            raise ModelError(f"the {name} model gives {network.model.output_shape}, expected one number")
    if not set(vocabulary.topics) <= set(lnirt.topics):
        raise ModelError("vocabulary.json has topics that lnirt.json lacks")
    if len(vocabulary.traits.success) != len(lnirt.topics) + 1:
        raise ModelError("vocabulary.json and lnirt.json disagree on the number of topics")
    if vocabulary.has_time != (lnirt.time is not None):
        raise ModelError("vocabulary.json and lnirt.json disagree on whether there are times")
