"""Reads a published ``.keras`` archive and runs it with numpy.

An archive (Keras 3) is a zip of ``config.json`` (the graph of a functional model) and ``model.weights.h5`` (one
group ``layers/<key>/vars`` per layer, whose attribute ``name`` is the layer's name). Only functional models whose
layers are listed in :mod:`chalicelib.prediction.layers` are read; everything else raises ModelError.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.errors import ModelError
from chalicelib.prediction.layers import Float32Array, Layer, build_layer

MAX_MEMBER_BYTES = 256 * 1024 * 1024
"""A member of an archive that says it is larger is refused unread."""

_INPUT_TYPES = {"float32": np.float32, "int32": np.int32}


@dataclass(frozen=True, slots=True)
class ModelInput:
    """One named input: ``width`` columns of float32 or int32."""

    name: str
    width: int
    dtype: Any


@dataclass(frozen=True, slots=True)
class _Node:
    name: str
    sources: tuple[str, ...]
    layer: Layer


class KerasModel:
    """A functional model as a list of numpy steps. Immutable, so that threads may share it."""

    def __init__(self, inputs: Sequence[ModelInput], nodes: Sequence[_Node], output: str) -> None:
        self.inputs = tuple(inputs)
        self._nodes = tuple(nodes)
        self._output = output

    def __call__(self, values: Mapping[str, npt.NDArray[Any]]) -> Float32Array:
        """The model's output for inputs of shape (N, width) each. Raises ModelError for inputs that do not fit."""
        known: dict[str, npt.NDArray[Any]] = {}
        for expected in self.inputs:
            value = values.get(expected.name)
            if value is None or value.ndim != 2 or value.shape[1] != expected.width:
                shape = None if value is None else value.shape
                raise ModelError(f"input {expected.name!r} has shape {shape}, expected (N, {expected.width})")
            known[expected.name] = value.astype(expected.dtype, copy=False)
        try:
            # What overflows becomes non-finite in the output, where the caller looks for it.
            with np.errstate(over="ignore", invalid="ignore"):
                for node in self._nodes:
                    known[node.name] = node.layer([known[source] for source in node.sources])
        except (ValueError, IndexError) as error:
            raise ModelError(f"layer {node.name!r} failed: {error}") from error
        return known[self._output]


def read_keras(raw: bytes) -> KerasModel:
    """The model in the bytes of a ``.keras`` file; ModelError for anything damaged or not supported."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            graph = json.loads(_member(archive, "config.json"))
            weights = _read_weights(_member(archive, "model.weights.h5"))
        return _build(graph, weights)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise ModelError(f"the archive is damaged: {error}") from error
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"the archive does not hold a functional model: {error!r}") from error


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    size = archive.getinfo(name).file_size
    if size > MAX_MEMBER_BYTES:
        raise ModelError(f"{name} has {size} bytes, more than {MAX_MEMBER_BYTES}")
    return archive.read(name)


def _read_weights(raw: bytes) -> dict[str, list[Float32Array]]:
    """Weights by layer name, in the order in which the layer declared them."""
    import h5py  # loaded when the first model is read, not when the Lambda starts

    weights: dict[str, list[Float32Array]] = {}
    with h5py.File(io.BytesIO(raw), "r") as file:
        for group in file["layers"].values():
            variables = group["vars"]
            arrays = [np.asarray(variables[str(position)]) for position in range(len(variables))]
            name = str(variables.attrs["name"])
            for array in arrays:
                if array.dtype != np.float32 or not np.isfinite(array).all():
                    raise ModelError(f"layer {name!r} has weights that are not finite float32")
            weights[name] = arrays
    return weights


def _build(graph: Mapping[str, Any], weights: Mapping[str, Sequence[Float32Array]]) -> KerasModel:
    if graph["class_name"] != "Functional":
        raise ModelError(f"the archive holds a {graph['class_name']}, only Functional models are served")
    inputs: list[ModelInput] = []
    pending: list[_Node] = []
    for layer in graph["config"]["layers"]:
        if layer["class_name"] == "InputLayer":
            inputs.append(_input(layer["config"]))
        else:
            pending.append(_node(layer, weights))
    (output,) = _output_names(graph["config"]["output_layers"])
    nodes = _in_order(pending, {item.name for item in inputs})
    if output not in {node.name for node in nodes}:
        raise ModelError(f"the output {output!r} is no layer of the model")
    return KerasModel(inputs, nodes, output)


def _input(config: Mapping[str, Any]) -> ModelInput:
    shape, dtype = config["batch_shape"], config["dtype"]
    if len(shape) != 2 or shape[0] is not None or dtype not in _INPUT_TYPES:
        raise ModelError(f"input {config['name']!r} has shape {shape} and type {dtype}")
    return ModelInput(str(config["name"]), int(shape[1]), _INPUT_TYPES[dtype])


def _node(layer: Mapping[str, Any], weights: Mapping[str, Sequence[Float32Array]]) -> _Node:
    name = str(layer["name"])
    if len(layer["inbound_nodes"]) != 1:
        raise ModelError(f"layer {name!r} is used {len(layer['inbound_nodes'])} times, expected once")
    sources = tuple(_tensors(layer["inbound_nodes"][0]["args"]))
    if not sources:
        raise ModelError(f"layer {name!r} has no inputs")
    return _Node(name, sources, build_layer(layer["class_name"], layer["config"], weights[name]))


def _tensors(argument: Any) -> list[str]:
    """Names of the layers whose outputs a call's arguments mention."""
    if isinstance(argument, Mapping) and argument.get("class_name") == "__keras_tensor__":
        return [str(argument["config"]["keras_history"][0])]
    if isinstance(argument, list):
        return [name for item in argument for name in _tensors(item)]
    raise ModelError(f"a layer is called with {argument!r}, which is no tensor")


def _output_names(outputs: Any) -> list[str]:
    if isinstance(outputs, list) and len(outputs) == 3 and isinstance(outputs[0], str):
        return [outputs[0]]
    if isinstance(outputs, list):
        return [str(item[0]) for item in outputs]
    return [str(item[0]) for item in outputs.values()]


def _in_order(pending: Sequence[_Node], known: set[str]) -> list[_Node]:
    """The nodes so that each comes after its sources."""
    ready: list[_Node] = []
    remaining = list(pending)
    while remaining:
        runnable = [node for node in remaining if known.issuperset(node.sources)]
        if not runnable:
            raise ModelError(f"layers {[node.name for node in remaining]} do not follow from the inputs")
        ready += runnable
        known |= {node.name for node in runnable}
        remaining = [node for node in remaining if node.name not in known]
    return ready
