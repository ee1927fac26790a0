"""Reads a published ``.keras`` archive and runs it layer by layer.

An archive (Keras 3) is a zip of ``config.json`` (the graph of a functional model) and ``model.weights.h5`` (one
group ``layers/<key>/vars`` per layer, whose attribute ``name`` is the layer's name). Read are functional models with
one output, of float32 and int32 inputs of shape (N, width), made of the layers that are trained
(``training_job/fit/networks.py``); anything else raises ModelError. So a model is served exactly or not at all.

Running layer by layer is the reference, and the fallback for an archive that :mod:`chalicelib.prediction.network` does
not know.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.domain.errors import ModelError

MAX_MEMBER_BYTES = 256 * 1024 * 1024
"""A larger member of an archive is refused before it is read."""

MAX_COLUMNS = 1 << 20
"""A wider input or layer is refused: it would not fit into a Lambda's memory."""

MAX_LAYERS = 500

Float32Array = npt.NDArray[np.float32]
Array = npt.NDArray[Any]
Config = Mapping[str, Any]
Weights = Sequence[Float32Array]
Layer = Callable[[Sequence[Array]], Array]
"""A function from inputs of shape (N, ...) to an output of shape (N, ...)."""

_INPUT_TYPES = {"float32": np.float32, "int32": np.int32}


class ModelInput(msgspec.Struct, frozen=True):
    """One named input: ``width`` columns of float32 or int32."""

    name: str
    width: int
    dtype: Any

    @property
    def holds_codes(self) -> bool:
        """True for integers, which only an embedding can read."""
        return bool(self.dtype is np.int32)


class Node(msgspec.Struct, frozen=True):
    """A layer in the graph; ``sources`` are the names of inputs or of other nodes."""

    name: str
    sources: tuple[str, ...]
    layer: Layer


class KerasModel:
    """A functional model. Immutable, so threads may share it.

    ``weights`` are the arrays of each layer by its name, ``scales`` the factors of its Rescaling layers,
    ``output_shape`` the shape of the output without the batch.
    """

    def __init__(
        self,
        inputs: Sequence[ModelInput],
        nodes: Sequence[Node],
        output: str,
        weights: Mapping[str, Weights],
        scales: Mapping[str, float],
    ) -> None:
        self.inputs = tuple(inputs)
        self.nodes = tuple(nodes)
        self.output = output
        self.weights, self.scales = weights, scales
        self.output_shape = self._checked_shape()

    def __call__(self, values: Mapping[str, Array]) -> Float32Array:
        """Return the output for inputs (N, width) each. Raises ModelError for inputs that do not fit."""
        known: dict[str, Array] = _read_inputs(self.inputs, values)
        for node in self.nodes:
            try:
                # An overflow becomes a non-finite output, where the caller looks for it.
                with np.errstate(over="ignore", invalid="ignore"):
                    known[node.name] = node.layer([known[source] for source in node.sources])
            except (ValueError, IndexError) as error:
                raise ModelError(f"layer {node.name!r} does not fit its inputs: {error}") from error
        return known[self.output]

    def _checked_shape(self) -> tuple[int, ...]:
        """Run two rows of zeros, so that layers that do not fit together are found when a model is read."""
        n_rows = 2
        output = self({item.name: np.zeros((n_rows, item.width), dtype=item.dtype) for item in self.inputs})
        if len(output) != n_rows:
            raise ModelError(f"the model gives {len(output)} rows for {n_rows}")
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
        if expected.dtype is np.float32:
            value = value.astype(np.float32, copy=False)
        elif value.dtype.kind not in "iu":
            # Codes keep the width that they come in: cut to 32 bits, one out of range could become another's row.
            raise ModelError(f"input {expected.name!r} is of {value.dtype}, expected integers")
        known[expected.name] = value
    return known


def read_keras(raw: bytes) -> KerasModel:
    """Return the model in the bytes of a ``.keras`` file; ModelError for anything damaged or not supported."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            graph = json.loads(_member(archive, "config.json"))
            weights = _read_weights(_member(archive, "model.weights.h5"))
        return _build(graph, weights)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, MemoryError) as error:
        raise ModelError(f"the archive is damaged: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelError(f"the archive does not hold a functional model: {error!r}") from error


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    member = archive.getinfo(name)
    if member.file_size > MAX_MEMBER_BYTES:
        raise ModelError(f"{name} has {member.file_size} bytes, more than {MAX_MEMBER_BYTES}")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ModelError(f"{name} is packed by method {member.compress_type}")
    return archive.read(member)


def _read_weights(raw: bytes) -> dict[str, list[Float32Array]]:
    """Return the weights by layer name, in the order in which the layer declared them."""
    import h5py  # loaded when the first model is read, not when the Lambda starts

    weights: dict[str, list[Float32Array]] = {}
    with h5py.File(io.BytesIO(raw), "r") as file:
        for group in file["layers"].values():
            variables = group["vars"]
            name = str(variables.attrs["name"])
            arrays = []
            for position in range(len(variables)):
                variable = variables[str(position)]
                if variable.dtype != np.float32 or variable.size > MAX_MEMBER_BYTES // 4:
                    raise ModelError(f"layer {name!r} has weights of {variable.dtype} {variable.shape}")
                array = np.asarray(variable)
                if not np.isfinite(array).all():
                    raise ModelError(f"layer {name!r} has weights that are not finite")
                arrays.append(array)
            weights[name] = arrays
    return weights


def _build(graph: Config, weights: Mapping[str, Weights]) -> KerasModel:
    if graph["class_name"] != "Functional":
        raise ModelError(f"the archive holds a {graph['class_name']}, only Functional models are served")
    layers = graph["config"]["layers"]
    if len(layers) > MAX_LAYERS:
        raise ModelError(f"the model has {len(layers)} layers, more than {MAX_LAYERS}")
    inputs = [_input(layer["config"]) for layer in layers if layer["class_name"] == "InputLayer"]
    calls = [_call(layer) for layer in layers if layer["class_name"] != "InputLayer"]
    names = [item.name for item in inputs] + [call.name for call in calls]
    if len(set(names)) != len(names):
        raise ModelError(f"names occur twice among {sorted(names)}")
    _check_input_names(graph["config"].get("input_layers"))
    (output,) = _output_names(graph["config"]["output_layers"])
    if output not in {call.name for call in calls}:
        raise ModelError(f"the output {output!r} is not a layer of the model")
    ordered = _in_order(calls, {item.name for item in inputs})
    codes = {item.name for item in inputs if item.holds_codes}
    nodes = [Node(call.name, call.sources, _layer(call, codes, weights[call.name])) for call in ordered]
    scales = {call.name: _number(call.config, "scale") for call in ordered if call.class_name == "Rescaling"}
    return KerasModel(inputs, nodes, output, weights, scales)


def _input(config: Mapping[str, Any]) -> ModelInput:
    shape, dtype = config["batch_shape"], config["dtype"]
    if len(shape) != 2 or shape[0] is not None or dtype not in _INPUT_TYPES:
        raise ModelError(f"input {config['name']!r} has shape {shape} and type {dtype}")
    if not 1 <= int(shape[1]) <= MAX_COLUMNS:
        raise ModelError(f"input {config['name']!r} has {shape[1]} columns")
    if config.get("sparse") or config.get("ragged"):
        raise ModelError(f"input {config['name']!r} is sparse or ragged")
    return ModelInput(str(config["name"]), int(shape[1]), _INPUT_TYPES[dtype])


def _check_input_names(inputs: Any) -> None:
    """Raise ModelError for an input that has another name than its layer: values are passed by the layers' names."""
    if isinstance(inputs, Mapping):
        for name, layer in inputs.items():
            if layer[0] != name:
                raise ModelError(f"the input {name!r} is the layer {layer[0]!r}")


class _Call(msgspec.Struct, frozen=True):
    """A layer as the graph describes it, and the names of the layers whose outputs it reads."""

    name: str
    class_name: str
    config: Mapping[str, Any]
    sources: tuple[str, ...]


def _call(layer: Mapping[str, Any]) -> _Call:
    name, calls = str(layer["name"]), layer["inbound_nodes"]
    if len(calls) != 1:
        raise ModelError(f"layer {name!r} is used {len(calls)} times, expected once")
    for option, value in calls[0].get("kwargs", {}).items():
        if value not in (None, False):
            raise ModelError(f"layer {name!r} is called with {option}={value!r}")
    sources = tuple(_tensors(calls[0]["args"]))
    if not sources:
        raise ModelError(f"layer {name!r} has no inputs")
    return _Call(name, str(layer["class_name"]), layer["config"], sources)


def _tensors(argument: Any) -> list[str]:
    """Return the names of the layers whose outputs a call takes."""
    if isinstance(argument, Mapping) and argument.get("class_name") == "__keras_tensor__":
        name, call, output = argument["config"]["keras_history"]
        if (call, output) != (0, 0):
            raise ModelError(f"output {output} of call {call} of layer {name!r} is used, expected the only one")
        return [str(name)]
    if isinstance(argument, list):
        return [name for item in argument for name in _tensors(item)]
    raise ModelError(f"a layer is called with {argument!r}, which is not a tensor")


def _output_names(outputs: Any) -> list[str]:
    if isinstance(outputs, list) and len(outputs) == 3 and isinstance(outputs[0], str):
        return [outputs[0]]
    if isinstance(outputs, list):
        return [str(item[0]) for item in outputs]
    return [str(item[0]) for item in outputs.values()]


def _in_order(calls: Sequence[_Call], known: set[str]) -> list[_Call]:
    """Return the calls in an order in which each comes after its sources."""
    ready: list[_Call] = []
    remaining = list(calls)
    while remaining:
        runnable = [call for call in remaining if known.issuperset(call.sources)]
        if not runnable:
            raise ModelError(f"layers {[call.name for call in remaining]} do not follow from the inputs")
        ready += runnable
        known |= {call.name for call in runnable}
        remaining = [call for call in remaining if call.name not in known]
    return ready


def _layer(call: _Call, codes: set[str], weights: Weights) -> Layer:
    """Build one layer. Raises ModelError for a class, setting, weight or input that is not supported."""
    builder = _BUILDERS.get(call.class_name)
    if builder is None:
        raise ModelError(f"layer {call.name!r} is a {call.class_name}, which is not served")
    dtype = call.config.get("dtype")
    policy = dtype.get("config", {}).get("name") if isinstance(dtype, Mapping) else dtype
    if policy not in ("float32", None):
        raise ModelError(f"layer {call.name!r} computes in {policy!r}, only float32 is served")
    reads_codes = [source in codes for source in call.sources]
    if any(reads_codes) if call.class_name != "Embedding" else not all(reads_codes):
        raise ModelError(f"layer {call.name!r}, a {call.class_name}, reads {list(call.sources)}: of another type")
    n_inputs = len(call.sources)
    if n_inputs < 2 if call.class_name in _MERGING else n_inputs != 1:
        raise ModelError(f"layer {call.name!r}, a {call.class_name}, has {n_inputs} inputs")
    return builder(call.config, weights)


ACTIVATIONS: Mapping[str, Callable[[Float32Array], Float32Array]] = {
    "linear": lambda x: x,
    # By the hyperbolic tangent, which does not overflow.
    "silu": lambda x: x * (np.float32(0.5) * (np.float32(1) + np.tanh(np.float32(0.5) * x))),
    "softplus": lambda x: np.logaddexp(np.float32(0), x),
}
"""Activation functions by Keras name."""


def _dense(config: Config, weights: Weights) -> Layer:
    _refuse(config, "quantization_config", "lora_rank")
    units, name = _size(config, "units"), config.get("activation", "linear")
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ModelError(f"layer {config.get('name')!r} has the activation {name!r}, which is not served")
    if not config.get("use_bias", True) or not weights:
        raise ModelError(f"layer {config.get('name')!r} has no bias or no kernel")
    _expect_weights(config, weights, (len(weights[0]), units), (units,))
    kernel, bias, activation = *weights, ACTIVATIONS[name]
    return lambda inputs: activation(inputs[0] @ kernel + bias)


def _embedding(config: Config, weights: Weights) -> Layer:
    _refuse(config, "mask_zero", "quantization_config", "lora_rank")
    _expect_weights(config, weights, (_size(config, "input_dim"), _size(config, "output_dim")))
    (table,) = weights

    def rows(inputs: Sequence[Array]) -> Array:
        (codes,) = inputs
        # numpy would count negative codes from the end.
        if codes.size and codes.min() < 0:
            raise IndexError(f"code {codes.min()} is negative")
        return table[codes]

    return rows


def _rescaling(config: Config, weights: Weights) -> Layer:
    _expect_weights(config, weights)
    scale, offset = np.float32(_number(config, "scale")), np.float32(_number(config, "offset", 0.0))
    return lambda inputs: inputs[0] * scale + offset


def _dropout(_config: Config, _weights: Weights) -> Layer:
    # Keras keeps the state of a random generator among the weights; nothing is drawn when serving.
    return lambda inputs: inputs[0]


def _flatten(config: Config, weights: Weights) -> Layer:
    _expect_weights(config, weights)
    if config.get("data_format", "channels_last") not in ("channels_last", None):
        raise ModelError(f"layer {config.get('name')!r} flattens {config['data_format']!r}")
    return lambda inputs: inputs[0].reshape(len(inputs[0]), -1)


def _concatenate(config: Config, weights: Weights) -> Layer:
    _expect_weights(config, weights)
    if config.get("axis", -1) != -1:
        raise ModelError(f"layer {config.get('name')!r} does not concatenate along the last axis")
    return lambda inputs: np.concatenate(inputs, axis=-1)


def _merge(operation: np.ufunc, *, mean: bool = False) -> Callable[[Config, Weights], Layer]:
    def build(config: Config, weights: Weights) -> Layer:
        _expect_weights(config, weights)
        return run

    def run(inputs: Sequence[Array]) -> Array:
        if len({array.ndim for array in inputs}) != 1:
            raise ValueError(f"inputs of shapes {[array.shape for array in inputs]} cannot be merged")
        total: Array = inputs[0]
        for other in inputs[1:]:
            total = operation(total, other)
        return total / np.float32(len(inputs)) if mean else total

    return build


_MERGING = ("Add", "Average", "Concatenate", "Multiply")
_BUILDERS: Mapping[str, Callable[[Config, Weights], Layer]] = {
    "Add": _merge(np.add),
    "Average": _merge(np.add, mean=True),
    "Concatenate": _concatenate,
    "Dense": _dense,
    "Dropout": _dropout,
    "Embedding": _embedding,
    "Flatten": _flatten,
    "Multiply": _merge(np.multiply),
    "Rescaling": _rescaling,
}


def _expect_weights(config: Config, weights: Weights, *shapes: tuple[int, ...]) -> None:
    found = tuple(weight.shape for weight in weights)
    if found != shapes:
        raise ModelError(f"layer {config.get('name')!r} has weights of shapes {found}, expected {shapes}")


def _refuse(config: Config, *settings: str) -> None:
    for setting in settings:
        if config.get(setting):
            raise ModelError(f"layer {config.get('name')!r} has {setting} {config[setting]!r}, which is not served")


def _size(config: Config, setting: str) -> int:
    value = config[setting]
    if not isinstance(value, int) or not 1 <= value <= MAX_COLUMNS:
        raise ModelError(f"layer {config.get('name')!r} has {setting} {value!r}")
    return value


def _number(config: Config, setting: str, default: float | None = None) -> float:
    value = config.get(setting, default)
    if not isinstance(value, int | float) or not abs(value) <= float(np.finfo(np.float32).max):
        raise ModelError(f"layer {config.get('name')!r} has {setting} {value!r}")
    return float(value)
