"""The Keras layers that numpy serves, in float32, as Keras computes them at inference.

A layer is built from its configuration and weights. It says which shape its output has, so that layers that do not fit
together are found when an archive is read, and is a function of its inputs. Supported, with what is refused of each:

==================  ==================================================================================================
Activation          any function but those listed below
Add, Subtract,      inputs of different rank, or of shapes that do not broadcast; Subtract of anything but two inputs;
Multiply, Average   a single input
Concatenate         another axis than the last
Dense               quantised or LoRA kernels
Dropout,            being called with ``training=True``; otherwise they are the identity when serving
GaussianNoise
Embedding           ``mask_zero``; codes outside of the table raise IndexError (Keras raises too, and numpy would count
                    negative ones from the end)
Flatten             ``channels_first``
LayerNormalization  another axis than the last, ``rms_scaling``
Rescaling           scales and offsets that are not single numbers
==================  ==================================================================================================

Activations: linear, relu, sigmoid, silu (swish), softplus, tanh. Everything computes in float32. Anything else raises
ModelError: a model is served exactly or not at all.

Shapes are without the batch's axis: a layer for rows of shape ``(d,)`` takes arrays of shape ``(N, d)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.domain.errors import ModelError

Float32Array = npt.NDArray[np.float32]
Array = npt.NDArray[Any]
Shape = tuple[int, ...]
Weights = Sequence[Float32Array]


class Layer(Protocol):
    """A function of arrays of shapes (N, ...)."""

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """The output's shape for inputs of these shapes. Raises ModelError when they do not fit."""
        ...

    def __call__(self, inputs: Sequence[Array]) -> Array:
        """The output for inputs of such shapes."""
        ...


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


class Identity(msgspec.Struct, frozen=True):
    """What Dropout and GaussianNoise are when serving."""

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """That of the only input."""
        return _only(shapes)

    def __call__(self, inputs: Sequence[Array]) -> Array:
        """The input."""
        return inputs[0]


class Activation(msgspec.Struct, frozen=True):
    """An activation function of :data:`ACTIVATIONS`, by name."""

    function: str

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """That of the only input."""
        return _only(shapes)

    def __call__(self, inputs: Sequence[Array]) -> Array:
        """The function of each number."""
        return ACTIVATIONS[self.function](inputs[0])


class Dense(msgspec.Struct, frozen=True):
    """``kernel`` (n, m), ``bias`` (m,), then an activation, over the last axis."""

    kernel: Float32Array
    bias: Float32Array
    function: str

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """(..., n) gives (..., m)."""
        shape = _only(shapes)
        if not shape or shape[-1] != len(self.kernel):
            raise ModelError(f"a kernel of shape {self.kernel.shape} does not fit inputs of shape {shape}")
        return (*shape[:-1], self.kernel.shape[1])

    def __call__(self, inputs: Sequence[Array]) -> Array:
        """(N, ..., n) gives (N, ..., m)."""
        return ACTIVATIONS[self.function](inputs[0] @ self.kernel + self.bias)


class Embedding(msgspec.Struct, frozen=True):
    """Rows of a ``table`` (n, d)."""

    table: Float32Array

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """Codes of shape (...) give (..., d)."""
        return (*_only(shapes), self.table.shape[1])

    def __call__(self, inputs: Sequence[Array]) -> Array:
        """The rows of codes (N, ...), each 0..n-1; IndexError for any other."""
        codes = inputs[0]
        if codes.size and codes.min() < 0:
            raise IndexError(f"code {codes.min()} is negative")
        return self.table[codes]


class LayerNormalization(msgspec.Struct, frozen=True):
    """Each row less its mean, in units of its standard deviation, times ``gamma`` (d,) plus ``beta`` (d,)."""

    gamma: Float32Array
    beta: Float32Array
    epsilon: float

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """(..., d) gives the same."""
        shape = _only(shapes)
        if not shape or shape[-1:] != self.gamma.shape:
            raise ModelError(f"gamma of shape {self.gamma.shape} does not fit inputs of shape {shape}")
        return shape

    def __call__(self, inputs: Sequence[Array]) -> Array:
        """(N, ..., d) gives the same."""
        x = inputs[0]
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        return centred / np.sqrt(variance + np.float32(self.epsilon)) * self.gamma + self.beta


class Rescaling(msgspec.Struct, frozen=True):
    """``scale`` times the input, plus ``offset``."""

    scale: float
    offset: float

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """That of the only input."""
        return _only(shapes)

    def __call__(self, inputs: Sequence[Array]) -> Array:
        """The same for each number."""
        return inputs[0] * np.float32(self.scale) + np.float32(self.offset)


class Flatten(msgspec.Struct, frozen=True):
    """All of a row's numbers in a line."""

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """(a, b, ...) gives (a * b * ...,)."""
        return (math.prod(_only(shapes)),)

    def __call__(self, inputs: Sequence[Array]) -> Array:
        """(N, a, b, ...) gives (N, a * b * ...)."""
        return inputs[0].reshape(len(inputs[0]), -1)


class Concatenate(msgspec.Struct, frozen=True):
    """Inputs side by side along the last axis."""

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """(..., a), (..., b), ... give (..., a + b + ...)."""
        if len({shape[:-1] for shape in shapes}) != 1 or not all(shapes):
            raise ModelError(f"inputs of shapes {list(shapes)} cannot be concatenated")
        return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))

    def __call__(self, inputs: Sequence[Array]) -> Array:
        """(N, ..., a), (N, ..., b), ... give (N, ..., a + b + ...)."""
        return np.concatenate(inputs, axis=-1)


class Merge(msgspec.Struct, frozen=True):
    """Inputs added, subtracted or multiplied in turn, with broadcasting; ``mean`` divides by their number."""

    operation: np.ufunc
    mean: bool = False

    def shape(self, shapes: Sequence[Shape]) -> Shape:
        """What the inputs' shapes, of one rank, broadcast to."""
        if len(shapes) < 2 or (self.operation is np.subtract and len(shapes) != 2):
            raise ModelError(f"{len(shapes)} inputs cannot be merged")
        if len({len(shape) for shape in shapes}) != 1:
            raise ModelError(f"inputs of shapes {list(shapes)} have no common rank")
        try:
            return np.broadcast_shapes(*shapes)
        except ValueError as error:
            raise ModelError(f"inputs of shapes {list(shapes)} cannot be merged") from error

    def __call__(self, inputs: Sequence[Array]) -> Array:
        """(N, ...) each."""
        total: Array = inputs[0]
        for other in inputs[1:]:
            total = self.operation(total, other)
        return total / np.float32(len(inputs)) if self.mean else total


def build_layer(class_name: str, config: Mapping[str, Any], weights: Weights) -> Layer:
    """One layer. Raises ModelError for a class, setting or weight that is not supported."""
    builder = _BUILDERS.get(class_name)
    name = config.get("name", class_name)
    if builder is None:
        raise ModelError(f"layer {name!r} is a {class_name}, which numpy does not serve")
    dtype = config.get("dtype")
    policy = dtype.get("config", {}).get("name") if isinstance(dtype, Mapping) else dtype
    if policy not in ("float32", None):
        raise ModelError(f"layer {name!r} computes in {policy!r}, only float32 is served")
    return builder(config, weights)


def _only(shapes: Sequence[Shape]) -> Shape:
    if len(shapes) != 1:
        raise ModelError(f"{len(shapes)} inputs, expected one")
    return shapes[0]


def _expect_weights(config: Mapping[str, Any], weights: Weights, *shapes: Shape) -> None:
    found = tuple(weight.shape for weight in weights)
    if found != shapes:
        raise ModelError(f"layer {config.get('name')!r} has weights of shapes {found}, expected {shapes}")


def _refuse(config: Mapping[str, Any], *settings: str) -> None:
    """ModelError when one of the settings is on."""
    for setting in settings:
        if config.get(setting):
            raise ModelError(f"layer {config.get('name')!r} has {setting} {config[setting]!r}, which is not served")


def _function(config: Mapping[str, Any]) -> str:
    name = config.get("activation", "linear")
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ModelError(f"layer {config.get('name')!r} has the activation {name!r}, which numpy does not serve")
    return name


def _activation(config: Mapping[str, Any], weights: Weights) -> Layer:
    _expect_weights(config, weights)
    return Activation(_function(config))


def _dense(config: Mapping[str, Any], weights: Weights) -> Layer:
    _refuse(config, "quantization_config", "lora_rank")
    units = _size(config, "units")
    kernel = weights[0] if weights else np.zeros((0, units), dtype=np.float32)
    bias = np.zeros(units, dtype=np.float32)
    if config.get("use_bias", True):
        _expect_weights(config, weights, (len(kernel), units), (units,))
        bias = weights[1]
    else:
        _expect_weights(config, weights, (len(kernel), units))
    return Dense(kernel, bias, _function(config))


def _embedding(config: Mapping[str, Any], weights: Weights) -> Layer:
    _refuse(config, "mask_zero", "quantization_config", "lora_rank")
    _expect_weights(config, weights, (_size(config, "input_dim"), _size(config, "output_dim")))
    return Embedding(weights[0])


def _layer_normalization(config: Mapping[str, Any], weights: Weights) -> Layer:
    _refuse(config, "rms_scaling")
    if config.get("axis", -1) not in (-1, [-1]):
        raise ModelError(f"layer {config.get('name')!r} does not normalise its last axis")
    scaled, centred = bool(config.get("scale", True)), bool(config.get("center", True))
    width = len(weights[0]) if weights else 0
    _expect_weights(config, weights, *[(width,)] * (scaled + centred))
    if not weights:
        raise ModelError(f"layer {config.get('name')!r} has neither gamma nor beta")
    gamma = weights[0] if scaled else np.ones(width, dtype=np.float32)
    beta = weights[-1] if centred else np.zeros(width, dtype=np.float32)
    return LayerNormalization(gamma, beta, _number(config, "epsilon", 1e-3))


def _rescaling(config: Mapping[str, Any], weights: Weights) -> Layer:
    _expect_weights(config, weights)
    return Rescaling(_number(config, "scale"), _number(config, "offset", 0.0))


def _size(config: Mapping[str, Any], setting: str) -> int:
    value = config[setting]
    if not isinstance(value, int) or value < 1:
        raise ModelError(f"layer {config.get('name')!r} has {setting} {value!r}")
    return value


def _number(config: Mapping[str, Any], setting: str, default: float | None = None) -> float:
    value = config.get(setting, default)
    if not isinstance(value, int | float) or not abs(value) <= float(np.finfo(np.float32).max):
        raise ModelError(f"layer {config.get('name')!r} has {setting} {value!r}")
    return float(value)


def _identity(_config: Mapping[str, Any], _weights: Weights) -> Layer:
    # Keras keeps a random generator's state among the weights; nothing is drawn when serving.
    return Identity()


def _flatten(config: Mapping[str, Any], weights: Weights) -> Layer:
    _expect_weights(config, weights)
    if config.get("data_format", "channels_last") not in ("channels_last", None):
        raise ModelError(f"layer {config.get('name')!r} flattens {config['data_format']!r}")
    return Flatten()


def _concatenate(config: Mapping[str, Any], weights: Weights) -> Layer:
    _expect_weights(config, weights)
    if config.get("axis", -1) != -1:
        raise ModelError(f"layer {config.get('name')!r} does not concatenate along the last axis")
    return Concatenate()


def _merge(operation: np.ufunc, *, mean: bool = False) -> Callable[[Mapping[str, Any], Weights], Layer]:
    def build(config: Mapping[str, Any], weights: Weights) -> Layer:
        _expect_weights(config, weights)
        return Merge(operation, mean)

    return build


_BUILDERS: Mapping[str, Callable[[Mapping[str, Any], Weights], Layer]] = {
    "Activation": _activation,
    "Add": _merge(np.add),
    "Average": _merge(np.add, mean=True),
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
