"""The forward pass of the networks that are trained, written out in numpy.

``training_job/fit/networks.py`` builds the graph with Keras; :class:`ForwardPass` is the same arithmetic, in the order
in which the data flow. M members lie along the first axis of every weight, so more members are larger arrays and not
more calls, which matters because a numpy call costs more than the arithmetic of one prediction.

A forward pass serves only what it computes exactly: when a version is loaded, it is compared with the archive, run
layer by layer, on random inputs. An archive of another graph is served layer by layer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.domain.errors import ModelError
from chalicelib.domain.lnirt import FloatArray, LnirtParameters
from chalicelib.domain.numerics import Column, Row
from chalicelib.features.inputs import Float32Array
from chalicelib.prediction.archive import KerasModel
from chalicelib.prediction.vocabulary import Vocabulary

Inputs = Mapping[str, npt.NDArray[Any]]
"""The named inputs of a network, (N, width) each; :func:`network_inputs` makes them."""

BLOCK_ROWS = 512
"""Rows that run at once, which bounds the memory of intermediate results."""

_TOLERANCE = 1e-4
_PROBE_ROWS = 8

_log = logging.getLogger("studysmart.prediction")


class Dense(msgspec.Struct, frozen=True):
    """The weights of a fully connected layer: ``kernel`` (M, n, m) and ``bias`` (M, 1, m)."""

    kernel: Float32Array
    bias: Float32Array

    def __call__(self, x: Float32Array) -> Float32Array:
        """Return (M, N, m) for inputs (N, n) or (M, N, n)."""
        return x @ self.kernel + self.bias

    def halved(self) -> Dense:
        """Return the layer that gives half of the output: what :func:`_silu_of_double` expects."""
        return Dense(self.kernel * np.float32(0.5), self.bias * np.float32(0.5))


class ForwardPass(msgspec.Struct, frozen=True):
    """The weights of one network with M members. Immutable, so threads may share it.

    ``by_topic`` (M, rows, 57) holds the query of the history, the embedding and the bias of each topic side by side;
    ``head`` gives the residual and, for the correctness network, the slope in the last outcome.
    """

    history: Dense
    by_topic: Float32Array
    by_user: Float32Array
    by_difficulty: Float32Array
    hidden_learnt: Float32Array
    """The rows of the first hidden layer's kernel that read learnt vectors."""
    hidden_numbers: Dense
    """Its rows that read the state, and for the time network the last outcome; with its bias."""
    hidden: Dense
    head: Dense
    has_slope: bool
    scale: np.float32
    inverse_temperature: np.float32

    def __call__(self, x: Inputs) -> Float32Array:
        """Return the output (N, 1). Raises IndexError for codes outside of the tables."""
        # Unsigned, because take() would count negative codes from the end.
        user, topic, level = (x[name][:, 0].astype(np.uint32) for name in ("user", "topic", "difficulty"))
        history = _silu_of_double(self.history(x["pooled"]))
        units = history.shape[-1]
        of_topic = self.by_topic.take(topic, axis=1)
        learnt = np.concatenate(
            (
                history * of_topic[..., :units],
                of_topic[..., units:-1],
                self.by_user.take(user, axis=1),
                self.by_difficulty.take(level, axis=1),
            ),
            axis=-1,
        )
        numbers = x["state"] if self.has_slope else np.concatenate((x["state"], x["last"]), axis=-1)
        hidden = _silu_of_double(learnt @ self.hidden_learnt + self.hidden_numbers(numbers))
        heads = self.head(_silu_of_double(self.hidden(hidden)))
        residual = heads[..., :1] + of_topic[..., -1:]
        if self.has_slope:
            residual += np.logaddexp(np.float32(0), heads[..., 1:]) * x["last"]
        mean = np.add.reduce(residual) / np.float32(len(residual))
        output: Float32Array = (x["prior"] + self.scale * mean) * self.inverse_temperature
        return output

    @classmethod
    def of(cls, model: KerasModel) -> ForwardPass:
        """Take the weights of an archive by the names of its layers; LookupError or ValueError for another graph."""
        weights = model.weights
        numbers = range(1, sum(name.startswith("head_") for name in weights) + 1)

        def stacked(layer: str, position: int) -> Float32Array:
            return np.stack([weights[f"{layer}_{number}"][position] for number in numbers])

        def dense(layer: str) -> Dense:
            return Dense(stacked(layer, 0), stacked(layer, 1)[:, None])

        has_slope = "last_slope_1" in weights
        first, head = dense("hidden_1"), dense("head")
        if has_slope:
            slope = dense("last_slope")
            head = Dense(
                np.concatenate((head.kernel, slope.kernel), axis=-1), np.concatenate((head.bias, slope.bias), axis=-1)
            )
        topics = [stacked(name, 0) for name in ("topic_query", "topic_embedding", "topic_bias")]
        users, difficulties = stacked("user_embedding", 0), stacked("difficulty_embedding", 0)
        learnt = sum(table.shape[-1] for table in (*topics[:2], users, difficulties))
        return cls(
            history=dense("history").halved(),
            by_topic=np.concatenate(topics, axis=-1),
            by_user=users,
            by_difficulty=difficulties,
            hidden_learnt=first.kernel[:, :learnt] * np.float32(0.5),
            hidden_numbers=Dense(first.kernel[:, learnt:], first.bias).halved(),
            hidden=dense("hidden_2").halved(),
            head=head,
            has_slope=has_slope,
            scale=np.float32(model.scales["residual_scale"]),
            inverse_temperature=np.float32(model.scales["temperature"]),
        )


def _silu_of_double(half: Float32Array) -> Float32Array:
    """Return silu(2 x) = x + x tanh(x) for x. Halving the weights before is exact and saves a call."""
    activated = np.tanh(half)
    activated *= half
    activated += half
    return activated


class Network:
    """One network of a version, as the fastest arithmetic that gives what the archive gives."""

    def __init__(self, model: KerasModel) -> None:
        self.model = model
        self._run: Callable[[Inputs], Float32Array] = _forward_pass(model) or model

    @property
    def is_written_out(self) -> bool:
        """True when the forward pass serves, False when the archive runs layer by layer."""
        return isinstance(self._run, ForwardPass)

    def __call__(self, inputs: Inputs) -> FloatArray:
        """Return the outputs (N,), which are not finite where the network overflows. ModelError for wrong inputs."""
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                n = len(inputs["prior"])
                if n <= BLOCK_ROWS:
                    return self._run(inputs)[:, 0].astype(np.float64)
                blocks = [slice(begin, begin + BLOCK_ROWS) for begin in range(0, n, BLOCK_ROWS)]
                parts = [self._run({name: x[rows] for name, x in inputs.items()}) for rows in blocks]
                return np.concatenate(parts)[:, 0].astype(np.float64)
        except (ValueError, LookupError) as error:
            raise ModelError(f"the network failed: {error}") from error


def _forward_pass(model: KerasModel) -> ForwardPass | None:
    """Return the forward pass of an archive, None where it does not give what the archive gives."""
    try:
        forward = ForwardPass.of(model)
        inputs = _probe(model, forward)
        with np.errstate(over="ignore", invalid="ignore"):
            found, expected = forward(inputs), model(inputs)
    except (ModelError, ValueError, LookupError) as error:
        _log.info("the archive does not hold the trained graph, it runs layer by layer: %r", error)
        return None
    if np.allclose(found, expected, rtol=_TOLERANCE, atol=_TOLERANCE):
        return forward
    _log.warning("the forward pass does not give what the archive gives, it runs layer by layer")
    return None


def _probe(model: KerasModel, forward: ForwardPass) -> Inputs:
    """Return random inputs that every table of the network has rows for."""
    rng = np.random.default_rng(0)
    rows = {"user": forward.by_user, "topic": forward.by_topic, "difficulty": forward.by_difficulty}
    return {
        item.name: rng.integers(0, rows[item.name].shape[1], (_PROBE_ROWS, item.width))
        if item.holds_codes
        else rng.normal(size=(_PROBE_ROWS, item.width)).astype(np.float32)
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
    prior: Column,
    user: Row,
    topic: Row,
    level: Row,
    last: Column,
    dense: Float32Array,
    pooled: Float32Array,
) -> dict[str, npt.NDArray[Any]]:
    """Return a network's named inputs from the columns of one prediction or of N.

    ``user`` and ``topic`` are rows of the vocabulary, ``level`` is 0..3, ``last`` is 1 (correct), -1 (incorrect) or 0
    (no answer yet); ``dense`` (N, D) is standardised.
    """
    codes = np.array((user, topic, level), dtype=np.int32).reshape(3, -1, 1)
    numbers = np.array((prior, last), dtype=np.float32).reshape(2, -1, 1)
    return {
        "prior": numbers[0],
        "user": codes[0],
        "topic": codes[1],
        "difficulty": codes[2],
        "last": numbers[1],
        "state": dense,
        "pooled": pooled,
    }


def check_fit(networks: Networks, vocabulary: Vocabulary, lnirt: LnirtParameters) -> None:
    """Raise ModelError when the files of a version do not belong together."""
    expected = {"prior": 1, "user": 1, "topic": 1, "difficulty": 1, "last": 1, "state": len(vocabulary.mean)}
    layouts = {"correctness": vocabulary.correctness_pooled, "time": vocabulary.time_pooled}
    for name, network in (("correctness", networks.correctness), ("time", networks.time)):
        widths = {item.name: item.width for item in network.model.inputs}
        if widths != {**expected, "pooled": layouts[name].width}:
            raise ModelError(f"the {name} model has inputs {widths}, the vocabulary does not fit")
        if network.model.output_shape != (1,):
            raise ModelError(f"the {name} model gives {network.model.output_shape}, expected one number")
    _check_same(vocabulary, lnirt)


def _check_same(vocabulary: Vocabulary, lnirt: LnirtParameters) -> None:
    if not set(vocabulary.topics) <= set(lnirt.topics):
        raise ModelError("vocabulary.json has topics that lnirt.json lacks")
    if len(vocabulary.traits.success) != len(lnirt.topics) + 1:
        raise ModelError("vocabulary.json and lnirt.json disagree on the number of topics")
    if vocabulary.has_time != (lnirt.time is not None):
        raise ModelError("vocabulary.json and lnirt.json disagree on whether there are times")
