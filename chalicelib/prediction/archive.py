"""Reads a published ``.keras`` archive and runs it layer by layer.

An archive (Keras 3) is a zip of ``config.json`` (the graph of a functional model) and ``model.weights.h5`` (one
group ``layers/<key>/vars`` per layer, whose attribute ``name`` is the name of the layer). The reader knows the layers
that the training job uses (``training_job/fit/networks.py``), in float32. It raises ModelError for anything else, so a
model is served exactly or not at all.

Running layer by layer is slow, but it follows the archive. It is the reference for the forward pass that serves
(:mod:`chalicelib.prediction.network`), and serves archives that the forward pass does not fit.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.domain.errors import ModelError
from chalicelib.domain.model_files import MALFORMED, MAX_MAGNITUDE, json_object
from chalicelib.prediction.hdf5 import Hdf5File

MAX_MEMBERS = 64
MAX_BYTES = {"config.json": 4 << 20, "model.weights.h5": 64 << 20}
"""A member that is larger when it is unpacked is refused before that."""

MAX_LAYERS = 1_000
MAX_NUMBERS = 1 << 17
"""Maximum number of values that all inputs and layers together have for one prediction: 0.5 MB."""

Float32Array = npt.NDArray[np.float32]
Array = npt.NDArray[Any]
Config = Mapping[str, Any]
Weights = Sequence[Float32Array]
Layer = Callable[..., Array]
"""A function from arrays of shape (N, ...) to one array of shape (N, ...)."""

_INPUT_TYPES = {"float32": np.float32, "int32": np.int32}


class ModelInput(msgspec.Struct, frozen=True):
    """One named input: ``width`` columns of float32 or int32."""

    name: str
    width: int
    dtype: Any

    @property
    def holds_codes(self) -> bool:
        """True for integers, which are rows of an embedding."""
        return bool(self.dtype is np.int32)


class Node(msgspec.Struct, frozen=True):
    """A layer in the graph; ``sources`` are the names of inputs or of earlier nodes."""

    name: str
    sources: tuple[str, ...]
    layer: Layer


class KerasModel:
    """A functional model with one output. Immutable, so threads may share it.

    ``weights`` are the arrays of each layer by its name, ``scales`` the factors of the Rescaling layers, and
    ``output_shape`` is the shape of the output without the batch.
    """

    def __init__(
        self,
        inputs: Sequence[ModelInput],
        nodes: Sequence[Node],
        output: str,
        weights: Mapping[str, Weights],
        scales: Mapping[str, float],
    ) -> None:
        self.inputs, self.nodes, self.output = tuple(inputs), tuple(nodes), output
        self.weights, self.scales = weights, scales
        self.output_shape = self._checked_shape()

    def __call__(self, values: Mapping[str, Array]) -> Float32Array:
        """Return the output for inputs (N, width) each. Raises ModelError for inputs that do not fit."""
        known: dict[str, Array] = _read_inputs(self.inputs, values)
        # An overflow becomes a non-finite output, which the caller checks.
        with np.errstate(over="ignore", invalid="ignore"):
            for node in self.nodes:
                try:
                    known[node.name] = node.layer(*[known[source] for source in node.sources])
                except (ValueError, IndexError, TypeError) as error:
                    raise ModelError(f"layer {node.name!r} does not fit its inputs: {error}") from error
        return known[self.output]

    def _checked_shape(self) -> tuple[int, ...]:
        """Return the shape of the output. Runs two rows of zeros, which finds layers that do not fit together."""
        output = self({item.name: np.zeros((2, item.width), dtype=item.dtype) for item in self.inputs})
        if len(output) != 2 or output.dtype != np.float32:
            raise ModelError(f"the model gives {output.dtype} of shape {output.shape} for 2 rows, expected float32")
        return output.shape[1:]


def _read_inputs(inputs: Sequence[ModelInput], values: Mapping[str, Array]) -> dict[str, Array]:
    """Return the ``inputs`` among ``values``, numbers as float32; ModelError for one that does not fit."""
    known: dict[str, Array] = {}
    n = None
    for expected in inputs:
        value = values.get(expected.name)
        if value is None or value.ndim != 2 or value.shape[1] != expected.width:
            shape = None if value is None else value.shape
            raise ModelError(f"input {expected.name!r} has shape {shape}, expected (N, {expected.width})")
        if len(value) != n:
            if n is not None:
                raise ModelError(f"input {expected.name!r} has {len(value)} rows, others have {n}")
            n = len(value)
        if not expected.holds_codes:
            value = value.astype(np.float32, copy=False)
        elif value.dtype.kind not in "iu":
            # Codes keep their width: cut to 32 bits, one out of range could become the code of another row.
            raise ModelError(f"input {expected.name!r} is of {value.dtype}, expected integers")
        known[expected.name] = value
    return known


def read_keras(raw: bytes) -> KerasModel:
    """Return the model in the bytes of a ``.keras`` file; ModelError for anything damaged or not supported."""
    if raw.count(b"PK\x01\x02") > MAX_MEMBERS:  # what zipfile would make an object of
        raise ModelError(f"the archive has more than {MAX_MEMBERS} members")
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            graph = json_object(_member(archive, "config.json"), "config.json")
            weights = _read_weights(_member(archive, "model.weights.h5"))
        return _build(graph, weights)
    except MALFORMED as error:
        raise ModelError(f"the archive is damaged, or holds no functional model: {error!r}") from error


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    member = archive.getinfo(name)
    if member.file_size > MAX_BYTES[name]:
        raise ModelError(f"{name} has {member.file_size} bytes, more than {MAX_BYTES[name]}")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ModelError(f"{name} is packed by method {member.compress_type}")
    with archive.open(member) as file:
        # Without a number of bytes, read() unpacks everything before it cuts off what the size does not announce.
        content = file.read(member.file_size)
    if len(content) != member.file_size:
        raise ModelError(f"{name} has {len(content)} bytes, but the archive announces {member.file_size}")
    return content


def _read_weights(raw: bytes) -> dict[str, list[Float32Array]]:
    """Return the weights by layer name, in the order in which the layer declared them."""
    file = Hdf5File(raw)
    layers = file.links(file.links(file.root)["layers"])
    if len(layers) > MAX_LAYERS:
        raise ModelError(f"the archive has weights of {len(layers)} layers")
    weights: dict[str, list[Float32Array]] = {}
    for layer in layers.values():
        group = file.links(layer)["vars"]
        name = file.text(group, "name")
        if name in weights:
            raise ModelError(f"the weights of layer {name!r} occur twice")
        variables = file.links(group)
        try:
            weights[name] = [file.array(variables[str(position)]) for position in range(len(variables))]
        except (LookupError, ValueError) as error:
            raise ModelError(f"layer {name!r} has weights of another kind: {error}") from error
        for array in weights[name]:
            if not array.size or not (np.abs(array) <= MAX_MAGNITUDE).all():  # NaN is not either
                raise ModelError(f"layer {name!r} has weights that are none, not finite or too large")
    return weights


def _build(graph: Config, weights: Mapping[str, Weights]) -> KerasModel:
    """Return the model of a graph. Keras lists the layers in an order in which each comes after its sources."""
    if graph["class_name"] != "Functional":
        raise ModelError(f"the archive holds a {graph['class_name']}, only Functional models are served")
    inputs, nodes, scales = [], [], {}
    names: set[str] = set()
    sizes: dict[str, int] = {}
    layers = graph["config"]["layers"]
    if len(layers) > MAX_LAYERS:
        raise ModelError(f"the archive has {len(layers)} layers")
    for layer in layers:
        name, class_name, config = str(layer["name"]), layer["class_name"], layer["config"]
        if name in names:
            raise ModelError(f"the name {name!r} occurs twice")
        if class_name == "InputLayer":
            inputs.append(_input(name, config))
            sizes[name] = inputs[-1].width
        else:
            sources = _sources(name, layer["inbound_nodes"])
            if not names.issuperset(sources):
                raise ModelError(f"layer {name!r} reads {sources}, which are not all defined before it")
            nodes.append(Node(name, sources, _layer(name, class_name, config, weights[name])))
            sizes[name] = _size(class_name, [sizes[source] for source in sources], weights[name])
            if class_name == "Rescaling":
                scales[name] = float(config["scale"])
        names.add(name)
        if sum(sizes.values()) > MAX_NUMBERS:
            raise ModelError(f"layer {name!r} and those before it have more than {MAX_NUMBERS} values")
    _check_input_names(graph["config"].get("input_layers"))
    output = graph["config"]["output_layers"]
    name, _, _ = output[0] if len(output) == 1 else output
    if name not in {node.name for node in nodes}:
        raise ModelError(f"the output {name!r} is not a layer of the model")
    return KerasModel(inputs, nodes, name, weights, scales)


def _size(class_name: str, sources: Sequence[int], weights: Weights) -> int:
    """Return the number of values that a layer has for one prediction, from those of its sources."""
    if class_name == "Dense":
        return sources[0] // len(weights[0]) * int(weights[0].shape[1])
    if class_name == "Embedding":
        return sources[0] * int(weights[0].shape[1])
    return 1 if class_name == "Dot" else sum(sources) if class_name == "Concatenate" else max(sources)


def _input(name: str, config: Config) -> ModelInput:
    shape, dtype = config["batch_shape"], config["dtype"]
    if len(shape) != 2 or shape[0] is not None or dtype not in _INPUT_TYPES:
        raise ModelError(f"input {name!r} has shape {shape} and type {dtype}")
    if not 1 <= int(shape[1]) <= MAX_NUMBERS:
        raise ModelError(f"input {name!r} has {shape[1]} columns")
    if config.get("sparse") or config.get("ragged"):
        raise ModelError(f"input {name!r} is sparse or ragged")
    return ModelInput(name, int(shape[1]), _INPUT_TYPES[dtype])


def _check_input_names(inputs: Any) -> None:
    """Raise ModelError for an input that has another name than its layer: values are passed by the layers' names."""
    if isinstance(inputs, Mapping):
        for name, layer in inputs.items():
            if layer[0] != name:
                raise ModelError(f"the input {name!r} is the layer {layer[0]!r}")


def _sources(name: str, calls: Sequence[Config]) -> tuple[str, ...]:
    """Return the names of the layers whose outputs a layer reads."""
    if len(calls) != 1:
        raise ModelError(f"layer {name!r} is used {len(calls)} times, expected once")
    for option, value in calls[0].get("kwargs", {}).items():
        if value not in (None, False):
            raise ModelError(f"layer {name!r} is called with {option}={value!r}")
    return tuple(_tensors(calls[0]["args"]))


def _tensors(argument: Any) -> list[str]:
    """Return the names of the layers whose outputs an argument of a call contains."""
    if isinstance(argument, list):
        return [name for item in argument for name in _tensors(item)]
    if not isinstance(argument, Mapping) or argument.get("class_name") != "__keras_tensor__":
        raise ModelError(f"a layer is called with {argument!r}, which is not a tensor")
    name, call, output = argument["config"]["keras_history"]
    if (call, output) != (0, 0):
        raise ModelError(f"output {output} of call {call} of layer {name!r} is used, expected the only one")
    return [str(name)]


def _layer(name: str, class_name: str, config: Config, weights: Weights) -> Layer:
    """Return the function of one layer. Raises ModelError for a class, setting or weight that is not supported."""
    if class_name not in _BUILDERS:
        raise ModelError(f"layer {name!r} is a {class_name}, which is not served")
    dtype = config.get("dtype")
    policy = dtype.get("config", {}).get("name") if isinstance(dtype, Mapping) else dtype
    if policy not in ("float32", None):
        raise ModelError(f"layer {name!r} computes in {policy!r}, only float32 is served")
    for setting, served in _SERVED_SETTINGS.get(class_name, {}).items():
        if config.get(setting, served[0]) not in served:
            raise ModelError(f"layer {name!r} has {setting} {config[setting]!r}, which is not served")
    try:
        return _BUILDERS[class_name](config, weights)
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"layer {name!r}, a {class_name}, cannot be served: {error!r}") from error


ACTIVATIONS: Mapping[str, Callable[[Float32Array], Float32Array]] = {
    "linear": lambda x: x,
    # By the hyperbolic tangent, which does not overflow.
    "silu": lambda x: x * (np.float32(0.5) * (np.float32(1) + np.tanh(np.float32(0.5) * x))),
    "softplus": lambda x: np.logaddexp(np.float32(0), x),
}
"""Activation functions by Keras name."""


def _dense(config: Config, weights: Weights) -> Layer:
    kernel, bias = weights
    _expect(kernel, (len(kernel), config["units"]))
    _expect(bias, (config["units"],))
    activation = ACTIVATIONS[config.get("activation", "linear")]
    return lambda x: activation(x @ kernel + bias)


def _embedding(config: Config, weights: Weights) -> Layer:
    (table,) = weights
    _expect(table, (config["input_dim"], config["output_dim"]))

    def rows(codes: Array) -> Array:
        # numpy would count negative codes from the end.
        if codes.size and codes.min() < 0:
            raise IndexError(f"code {codes.min()} is negative")
        return table[codes]

    return rows


def _rescaling(config: Config, _weights: Weights) -> Layer:
    with np.errstate(over="ignore"):
        scale, offset = np.float32(config["scale"]), np.float32(config.get("offset", 0.0))
    if not np.isfinite(scale) or not np.isfinite(offset):
        raise ValueError(f"the scale is {scale} and the offset {offset}")
    return lambda x: x * scale + offset


def _merge(operation: np.ufunc, *, mean: bool = False) -> Callable[[Config, Weights], Layer]:
    """Return the builder of a layer that combines two or more inputs of one shape, element by element."""

    def merge(first: Array, second: Array, *others: Array) -> Array:
        arrays = (first, second, *others)
        if len({array.shape for array in arrays}) > 1:
            raise ValueError(f"inputs of shapes {[array.shape for array in arrays]} cannot be merged")
        merged: Array = reduce(operation, arrays)
        return merged / np.float32(len(arrays)) if mean else merged

    return lambda _config, _weights: merge


def _dot(first: Array, second: Array) -> Array:
    """Return the sum of the products of two inputs (N, width). Shape (N, 1)."""
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(f"inputs of shapes {first.shape} and {second.shape} have no dot product")
    products: Array = np.add.reduce(first * second, axis=-1, keepdims=True)
    return products


def _expect(weight: Float32Array, shape: tuple[Any, ...]) -> None:
    if weight.shape != shape:
        raise ValueError(f"weights of shape {weight.shape}, expected {shape}")


_BUILDERS: Mapping[str, Callable[[Config, Weights], Layer]] = {
    "Add": _merge(np.add),
    "Average": _merge(np.add, mean=True),
    "Concatenate": lambda _config, _weights: lambda *arrays: np.concatenate(arrays, axis=-1),
    "Dense": _dense,
    "Dot": lambda _config, _weights: _dot,
    "Dropout": lambda _config, _weights: lambda x: x,
    "Embedding": _embedding,
    "Flatten": lambda _config, _weights: lambda x: x.reshape(len(x), int(np.prod(x.shape[1:]))),
    "Multiply": _merge(np.multiply),
    "Rescaling": _rescaling,
}

_SERVED_SETTINGS: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "Concatenate": {"axis": (-1,)},
    "Dense": {"use_bias": (True,), "quantization_config": (None,), "lora_rank": (None,)},
    "Dot": {"axes": (1,), "normalize": (False,)},
    "Embedding": {"mask_zero": (False,), "quantization_config": (None,), "lora_rank": (None,)},
    "Flatten": {"data_format": ("channels_last", None)},
}
"""Settings whose other values would change what a layer computes."""
