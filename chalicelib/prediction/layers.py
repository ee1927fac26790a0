"""The Keras layers that numpy serves, in float32, as Keras computes them at inference.

A layer is built from its configuration and weights, and is then a function of its inputs. Supported: Activation,
Add, Average, Concatenate (last axis), Dense, Dropout and GaussianNoise (the identity when serving), Embedding,
Flatten, LayerNormalization (last axis), Multiply, Rescaling, Subtract. Activations: linear, relu, sigmoid, silu
(swish), softplus, tanh. Anything else raises ModelError: a model is served exactly or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.errors import ModelError

Float32Array = npt.NDArray[np.float32]
Array = npt.NDArray[Any]
Layer = Callable[[Sequence[Array]], Array]
Weights = Sequence[Float32Array]


def _sigmoid(x: Float32Array) -> Float32Array:
    return np.float32(0.5) * (np.float32(1) + np.tanh(np.float32(0.5) * x))


def _softplus(x: Float32Array) -> Float32Array:
    return np.logaddexp(np.float32(0), x)


ACTIVATIONS: Mapping[str, Callable[[Float32Array], Float32Array]] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, np.float32(0)),
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
    "swish": lambda x: x * _sigmoid(x),
    "softplus": _softplus,
    "tanh": np.tanh,
}
"""Activation functions by Keras name."""


def build_layer(class_name: str, config: Mapping[str, Any], weights: Weights) -> Layer:
    """The function of one layer. Raises ModelError for a layer, setting or weight that is not supported."""
    builder = _BUILDERS.get(class_name)
    name = config.get("name", class_name)
    if builder is None:
        raise ModelError(f"layer {name!r} is a {class_name}, which numpy does not serve")
    dtype = config.get("dtype")
    policy = dtype.get("config", {}).get("name") if isinstance(dtype, Mapping) else dtype
    if policy not in ("float32", None):
        raise ModelError(f"layer {name!r} computes in {policy!r}, only float32 is served")
    return builder(config, weights)


def _expect_weights(config: Mapping[str, Any], weights: Weights, *dimensions: int) -> None:
    if tuple(weight.ndim for weight in weights) != dimensions:
        shapes = [weight.shape for weight in weights]
        raise ModelError(f"layer {config.get('name')!r} has weights of shapes {shapes}")


def _activation(config: Mapping[str, Any]) -> Callable[[Float32Array], Float32Array]:
    name = config.get("activation", "linear")
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ModelError(f"layer {config.get('name')!r} has the activation {name!r}, which numpy does not serve")
    return ACTIVATIONS[name]


def _dense(config: Mapping[str, Any], weights: Weights) -> Layer:
    activation = _activation(config)
    if config.get("use_bias", True):
        _expect_weights(config, weights, 2, 1)
        kernel, bias = weights
    else:
        _expect_weights(config, weights, 2)
        kernel, bias = weights[0], np.zeros(weights[0].shape[1], dtype=np.float32)
    if kernel.shape[1] != config.get("units") or bias.shape != (kernel.shape[1],):
        raise ModelError(f"layer {config.get('name')!r} has weights of shapes {kernel.shape} and {bias.shape}")
    return lambda inputs: activation(inputs[0] @ kernel + bias)


def _only_activation(config: Mapping[str, Any], _weights: Weights) -> Layer:
    activation = _activation(config)
    return lambda inputs: activation(inputs[0])


def _embedding(config: Mapping[str, Any], weights: Weights) -> Layer:
    _expect_weights(config, weights, 2)
    (table,) = weights
    if table.shape != (config.get("input_dim"), config.get("output_dim")):
        raise ModelError(f"layer {config.get('name')!r} has weights of shape {table.shape}")
    return lambda inputs: table[inputs[0]]


def _layer_normalization(config: Mapping[str, Any], weights: Weights) -> Layer:
    _expect_weights(config, weights, 1, 1)
    gamma, beta = weights
    if config.get("axis", -1) not in (-1, [-1]) or config.get("rms_scaling"):
        raise ModelError(f"layer {config.get('name')!r} does not normalise its last axis")
    epsilon = np.float32(config.get("epsilon", 1e-3))

    def normalise(inputs: Sequence[Array]) -> Array:
        x = inputs[0]
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        return centred / np.sqrt(variance + epsilon) * gamma + beta

    return normalise


def _rescaling(config: Mapping[str, Any], weights: Weights) -> Layer:
    _expect_weights(config, weights)
    scale, offset = np.float32(config["scale"]), np.float32(config.get("offset", 0.0))
    return lambda inputs: inputs[0] * scale + offset


def _identity(_config: Mapping[str, Any], _weights: Weights) -> Layer:
    return lambda inputs: inputs[0]


def _flatten(_config: Mapping[str, Any], _weights: Weights) -> Layer:
    return lambda inputs: inputs[0].reshape(len(inputs[0]), -1)


def _concatenate(config: Mapping[str, Any], _weights: Weights) -> Layer:
    if config.get("axis", -1) != -1:
        raise ModelError(f"layer {config.get('name')!r} does not concatenate along the last axis")
    return lambda inputs: np.concatenate(inputs, axis=-1)


def _merge(operation: Callable[[Array, Array], Array]) -> Callable[[Mapping[str, Any], Weights], Layer]:
    def build(_config: Mapping[str, Any], _weights: Weights) -> Layer:
        def merge(inputs: Sequence[Array]) -> Array:
            total = inputs[0]
            for other in inputs[1:]:
                total = operation(total, other)
            return total

        return merge

    return build


def _average(_config: Mapping[str, Any], _weights: Weights) -> Layer:
    return lambda inputs: np.mean(np.stack(inputs), axis=0, dtype=np.float32)


_BUILDERS: Mapping[str, Callable[[Mapping[str, Any], Weights], Layer]] = {
    "Activation": _only_activation,
    "Add": _merge(np.add),
    "Average": _average,
    "Concatenate": _concatenate,
    "Dense": _dense,
    "Dropout": _identity,
    "Embedding": _embedding,
    "Flatten": _flatten,
    "GaussianNoise": _identity,
    "LayerNormalization": _layer_normalization,
    "Multiply": _merge(np.multiply),
    "Rescaling": _rescaling,
    "Subtract": _merge(np.subtract),
}
