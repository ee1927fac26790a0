"""Reads a published ``.keras`` archive and runs it with numpy.

An archive (Keras 3) is a zip of ``config.json`` (the graph of a functional model) and ``model.weights.h5`` (one
group ``layers/<key>/vars`` per layer, whose attribute ``name`` is the layer's name). Only functional models with one
output are read, of float32 and int32 inputs of shape (N, width), whose layers are listed in
:mod:`chalicelib.prediction.layers` and fit together; everything else raises ModelError when it is read.

This is the plain execution, one layer after the other, which says what a model computes. What serves is the same in
fewer steps (:mod:`chalicelib.prediction.compiled`).
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.domain.errors import ModelError
from chalicelib.prediction.layers import Embedding, Float32Array, Layer, Shape, build_layer

MAX_MEMBER_BYTES = 256 * 1024 * 1024
"""A member of an archive that says it is larger is refused unread."""

_INPUT_TYPES = {"float32": np.float32, "int32": np.int32}


MOST_COLUMNS = 1 << 20
"""An input of more is no model of ours, and would not fit into a Lambda's memory."""


class ModelInput(msgspec.Struct, frozen=True):
    """One named input: ``width`` columns of float32 or int32."""

    name: str
    width: int
    dtype: Any

    @property
    def holds_codes(self) -> bool:
        """Whether it is of integers, which only an embedding can read."""
        return bool(self.dtype is np.int32)


class Node(msgspec.Struct, frozen=True):
    """A layer in the graph: ``sources`` are inputs or other nodes, ``shape`` is its output's without the batch."""

    name: str
    sources: tuple[str, ...]
    layer: Layer
    shape: Shape


class KerasModel:
    """A functional model as a list of numpy steps. Immutable, so that threads may share it."""

    def __init__(self, inputs: Sequence[ModelInput], nodes: Sequence[Node], output: str) -> None:
        self.inputs = tuple(inputs)
        self.nodes = tuple(nodes)
        self.output = output

    @property
    def output_shape(self) -> Shape:
        """The output's shape without the batch."""
        return next(node.shape for node in self.nodes if node.name == self.output)

    def __call__(self, values: Mapping[str, npt.NDArray[Any]]) -> Float32Array:
        """The model's output for inputs of shape (N, width) each. Raises ModelError for inputs that do not fit."""
        known = read_inputs(self.inputs, values)
        try:
            # What overflows becomes non-finite in the output, where the caller looks for it.
            with np.errstate(over="ignore", invalid="ignore"):
                for node in self.nodes:
                    known[node.name] = node.layer([known[source] for source in node.sources])
        except (ValueError, IndexError) as error:
            raise ModelError(f"layer {node.name!r} failed: {error}") from error
        return known[self.output]


def read_inputs(inputs: Sequence[ModelInput], values: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """The ``inputs`` among ``values``, numbers as float32; ModelError for one that is missing or does not fit."""
    known: dict[str, npt.NDArray[Any]] = {}
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
    """The model in the bytes of a ``.keras`` file; ModelError for anything damaged or not supported."""
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
    """Weights by layer name, in the order in which the layer declared them."""
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


def _build(graph: Mapping[str, Any], weights: Mapping[str, Sequence[Float32Array]]) -> KerasModel:
    if graph["class_name"] != "Functional":
        raise ModelError(f"the archive holds a {graph['class_name']}, only Functional models are served")
    layers = graph["config"]["layers"]
    inputs = [_input(layer["config"]) for layer in layers if layer["class_name"] == "InputLayer"]
    calls = [_call(layer) for layer in layers if layer["class_name"] != "InputLayer"]
    names = [item.name for item in inputs] + [call.name for call in calls]
    if len(set(names)) != len(names):
        raise ModelError(f"names occur twice among {sorted(names)}")
    _check_input_names(graph["config"].get("input_layers"))
    (output,) = _output_names(graph["config"]["output_layers"])
    nodes = _nodes(_in_order(calls, {item.name for item in inputs}), inputs, weights)
    if output not in {node.name for node in nodes}:
        raise ModelError(f"the output {output!r} is no layer of the model")
    return KerasModel(inputs, nodes, output)


def _input(config: Mapping[str, Any]) -> ModelInput:
    shape, dtype = config["batch_shape"], config["dtype"]
    if len(shape) != 2 or shape[0] is not None or dtype not in _INPUT_TYPES:
        raise ModelError(f"input {config['name']!r} has shape {shape} and type {dtype}")
    if not 1 <= int(shape[1]) <= MOST_COLUMNS:
        raise ModelError(f"input {config['name']!r} has {shape[1]} columns")
    if config.get("sparse") or config.get("ragged"):
        raise ModelError(f"input {config['name']!r} is sparse or ragged")
    return ModelInput(str(config["name"]), int(shape[1]), _INPUT_TYPES[dtype])


def _check_input_names(inputs: Any) -> None:
    """Inputs are served by the names of their layers, so a model must not know them by others."""
    if isinstance(inputs, Mapping):
        for name, layer in inputs.items():
            if layer[0] != name:
                raise ModelError(f"the input {name!r} is the layer {layer[0]!r}")


class _Call(msgspec.Struct, frozen=True):
    """A layer as the graph describes it, and the layers whose outputs it is called with."""

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
    """Names of the layers whose outputs a call's arguments mention."""
    if isinstance(argument, Mapping) and argument.get("class_name") == "__keras_tensor__":
        name, call, output = argument["config"]["keras_history"]
        if (call, output) != (0, 0):
            raise ModelError(f"output {output} of call {call} of layer {name!r} is used, expected the only one")
        return [str(name)]
    if isinstance(argument, list):
        return [name for item in argument for name in _tensors(item)]
    raise ModelError(f"a layer is called with {argument!r}, which is no tensor")


def _output_names(outputs: Any) -> list[str]:
    if isinstance(outputs, list) and len(outputs) == 3 and isinstance(outputs[0], str):
        return [outputs[0]]
    if isinstance(outputs, list):
        return [str(item[0]) for item in outputs]
    return [str(item[0]) for item in outputs.values()]


def _in_order(calls: Sequence[_Call], known: set[str]) -> list[_Call]:
    """The calls so that each comes after its sources."""
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


def _nodes(
    calls: Sequence[_Call], inputs: Sequence[ModelInput], weights: Mapping[str, Sequence[Float32Array]]
) -> list[Node]:
    """Layers with their shapes; ModelError for those that do not fit their sources."""
    shapes: dict[str, Shape] = {item.name: (item.width,) for item in inputs}
    codes = {item.name for item in inputs if item.holds_codes}
    nodes = []
    for call in calls:
        layer = build_layer(call.class_name, call.config, weights[call.name])
        reads_codes = [source in codes for source in call.sources]
        if any(reads_codes) if not isinstance(layer, Embedding) else not all(reads_codes):
            raise ModelError(f"layer {call.name!r}, a {call.class_name}, reads {list(call.sources)}: of another type")
        try:
            shape = layer.shape([shapes[source] for source in call.sources])
        except ModelError as error:
            raise ModelError(f"layer {call.name!r} does not fit its inputs: {error}") from error
        shapes[call.name] = shape
        nodes.append(Node(call.name, call.sources, layer, shape))
    return nodes
