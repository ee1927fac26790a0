"""Runs several models as one program of few numpy calls: what serves.

For one prediction a numpy call costs far more than its arithmetic, and the plain execution of two models of three
members each is some 150 calls. So models are translated, when a version is loaded, into stages of a few calls each:

1. *Between two non-linearities everything is affine.* Concatenate, Add, Subtract, Average, Rescaling, Flatten, Dropout
   and a Dense layer before its activation only combine numbers linearly. Every value is kept as a sum of terms, each
   a matrix times what a non-linear layer or an input gave, or a row of a table (:mod:`chalicelib.prediction.affine`).
   So a mean of members, a scale and a temperature become part of the last kernels; a concatenation before a Dense
   layer becomes a sum of partial products; an embedding times its part of a kernel becomes a table that is looked up.
2. *Alike layers run together.* All units (activations, products, normalisations) that depend on equally many others
   and are of one kind make a stage, with their numbers side by side in one array, whichever member or model they
   belong to. What they read from one source is one wide matrix, or, where each reads its own part, one stacked product.
3. *Activations work in place*, on halves where that saves a call: silu(2 x) = x + x tanh(x).

The outcome differs from the plain execution by rounding only. Matrices are multiplied in float64 and rounded once; a
product of weights that leaves the range of float32 leaves the models as they are (:class:`Plain`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.domain.errors import ModelError
from chalicelib.prediction import affine
from chalicelib.prediction.affine import Affine, Codes, Numbers, Source, Unit
from chalicelib.prediction.archive import KerasModel, ModelInput, Node, read_inputs
from chalicelib.prediction.layers import (
    Activation,
    Concatenate,
    Dense,
    Embedding,
    Flatten,
    Float32Array,
    Identity,
    LayerNormalization,
    Merge,
    Rescaling,
    Shape,
)
from chalicelib.prediction.stages import Place, Stage, Sum, stage_of, sum_of

BLOCK_ROWS = 256
"""Rows that run at once: what they need stays in the processor's cache."""

Values = Mapping[str, npt.NDArray[Any]]
Renamed = Mapping[str, str]
"""Names of inputs in the program by their names in a model."""


class Program(Protocol):
    """One or more models, of one output each."""

    def __call__(self, values: Values) -> tuple[Float32Array, ...]:
        """The models' outputs, of shape (N, ...) each. Raises ModelError for inputs that do not fit."""
        ...


class Plain(msgspec.Struct, frozen=True):
    """The models one after the other, layer by layer."""

    models: tuple[KerasModel, ...]
    names: tuple[Renamed, ...]

    def __call__(self, values: Values) -> tuple[Float32Array, ...]:
        """See :class:`Program`."""
        return tuple(
            model({item.name: values[names.get(item.name, item.name)] for item in model.inputs})
            for model, names in zip(self.models, self.names, strict=True)
        )


class Compiled(msgspec.Struct, frozen=True):
    """The models as stages. Immutable, so that threads may share it."""

    inputs: tuple[ModelInput, ...]
    codes: tuple[Codes, ...]
    stages: tuple[Stage, ...]
    output: Sum
    shapes: tuple[Shape, ...]

    def __call__(self, values: Values) -> tuple[Float32Array, ...]:
        """See :class:`Program`."""
        known = read_inputs(self.inputs, values)
        arrays = [known[item.name] for item in self.inputs]
        n = len(arrays[0])
        arrays += [known[codes.name][:, codes.column] for codes in self.codes]
        try:
            # What overflows becomes non-finite in the output, where the caller looks for it.
            with np.errstate(over="ignore", invalid="ignore"):
                if n <= BLOCK_ROWS:
                    return self._parted(self._run(arrays))
                blocks = [slice(begin, begin + BLOCK_ROWS) for begin in range(0, n, BLOCK_ROWS)]
                return self._parted(np.concatenate([self._run([array[rows] for array in arrays]) for rows in blocks]))
        except (ValueError, IndexError) as error:
            raise ModelError(f"the compiled models failed: {error}") from error

    def _run(self, known: list[npt.NDArray[Any]]) -> Float32Array:
        for codes in known[len(self.inputs) :]:
            # take() counts negative codes from the end.
            if min(codes.tolist(), default=0) < 0:
                raise IndexError(f"code {codes.min()} is negative")
        for stage in self.stages:
            known.append(stage(known))
        return self.output(known)

    def _parted(self, result: Float32Array) -> tuple[Float32Array, ...]:
        """The outputs, which lie side by side."""
        outputs = []
        begin = 0
        for shape in self.shapes:
            end = begin + math.prod(shape)
            outputs.append(result[:, begin:end].reshape(len(result), *shape))
            begin = end
        return tuple(outputs)

    def constants(self) -> Iterator[Float32Array]:
        """All numbers that the program holds."""
        for step in (*(operand for stage in self.stages for operand in stage.operands), self.output):
            yield from step.constants()


def compiled(models: Sequence[KerasModel], names: Sequence[Renamed] | None = None) -> Program:
    """The models as one program.

    Inputs of one name are one input; ``names`` renames those of a model that are not the other models' as well. Raises
    ModelError when inputs of one name are of different width or type.
    """
    renamed = tuple(names) if names is not None else ({},) * len(models)
    inputs: dict[str, ModelInput] = {}
    for model, other_names in zip(models, renamed, strict=True):
        for item in model.inputs:
            name = other_names.get(item.name, item.name)
            own = msgspec.structs.replace(item, name=name)
            if inputs.setdefault(name, own) != own:
                raise ModelError(f"the models disagree on the input {name!r}")
    sources = {item.name: Numbers(item.name, item.width) for item in inputs.values() if not item.holds_codes}
    values = [_translated(model, sources, other) for model, other in zip(models, renamed, strict=True)]
    program = _scheduled(tuple(inputs.values()), sources, values)
    if all(np.isfinite(constant).all() for constant in program.constants()):
        return program
    return Plain(tuple(models), renamed)


class _Value(msgspec.Struct, frozen=True):
    """A node's output: its rows along the last axis, in the order of the axes before."""

    shape: Shape
    rows: tuple[Affine, ...]


def _translated(model: KerasModel, sources: Mapping[str, Numbers], names: Renamed) -> _Value:
    known: dict[str, _Value] = {}
    codes: dict[str, list[Codes]] = {}
    for item in model.inputs:
        name = names.get(item.name, item.name)
        if item.holds_codes:
            codes[item.name] = [Codes(name, column) for column in range(item.width)]
        else:
            known[item.name] = _Value((item.width,), (affine.of_source(sources[name]),))
    for node in model.nodes:
        if isinstance(node.layer, Embedding):
            table = node.layer.table
            rows = [affine.of_table(column, table) for column in codes[node.sources[0]]]
        else:
            rows = _rows(node, [known[source] for source in node.sources])
        known[node.name] = _Value(node.shape, tuple(rows))
    return known[model.output]


def _rows(node: Node, inputs: Sequence[_Value]) -> list[Affine]:
    """A layer's output of its inputs."""
    layer, first = node.layer, inputs[0].rows
    if isinstance(layer, Identity):
        return list(first)
    if isinstance(layer, Flatten):
        return [affine.side_by_side(first)]
    if isinstance(layer, Concatenate):
        return [affine.side_by_side(parts) for parts in zip(*(value.rows for value in inputs), strict=True)]
    if isinstance(layer, Rescaling):
        scale, offset = float(np.float32(layer.scale)), float(np.float32(layer.offset))
        return [affine.rescaled(row, scale, offset) for row in first]
    if isinstance(layer, Dense):
        kernel, bias = layer.kernel.astype(np.float64), layer.bias.astype(np.float64)
        return [_activated(layer.function, affine.through(row, kernel, bias)) for row in first]
    if isinstance(layer, Activation):
        return [_activated(layer.function, row) for row in first]
    if isinstance(layer, LayerNormalization):
        return [affine.of_source(Unit(affine.NORMALISE, (row,), layer)) for row in first]
    if isinstance(layer, Merge):
        return _merged(layer, [_broadcast(value, node.shape) for value in inputs])
    raise ModelError(f"layer {node.name!r} is a {type(layer).__name__}, which cannot be compiled")


def _activated(function: str, value: Affine) -> Affine:
    return value if function == affine.LINEAR else affine.of_source(Unit(function, (value,)))


def _broadcast(value: _Value, shape: Shape) -> list[Affine]:
    """The value's rows as many times as ``shape`` has them, and as wide."""
    order = np.arange(len(value.rows)).reshape(value.shape[:-1])
    rows = [value.rows[number] for number in np.broadcast_to(order, shape[:-1]).ravel()]
    if value.shape[-1] == shape[-1]:
        return rows
    return [affine.through(row, np.ones((1, shape[-1]))) for row in rows]


def _merged(layer: Merge, inputs: Sequence[Sequence[Affine]]) -> list[Affine]:
    merged = []
    for rows in zip(*inputs, strict=True):
        if layer.operation is np.multiply:
            total = rows[0]
            for other in rows[1:]:
                total = affine.of_source(Unit(affine.MULTIPLY, (total, other)))
        else:
            sign = -1.0 if layer.operation is np.subtract else 1.0
            total = affine.added([rows[0], *(affine.rescaled(row, sign) for row in rows[1:])])
        merged.append(affine.rescaled(total, 1.0 / len(rows)) if layer.mean else total)
    return merged


def _scheduled(inputs: tuple[ModelInput, ...], sources: Mapping[str, Numbers], values: Sequence[_Value]) -> Compiled:
    """Stages for all units that the values need, the lowest level first."""
    output = affine.side_by_side([row for value in values for row in value.rows])
    units, codes = _needed(output)
    places: dict[Source, Place] = {}
    for position, item in enumerate(inputs):
        if not item.holds_codes:
            places[sources[item.name]] = Place(position, 0, item.width)
    places |= {column: Place(len(inputs) + position, 0, 1) for position, column in enumerate(codes)}
    groups: dict[tuple[int, str, int], list[Unit]] = {}
    for unit in units:
        alone = id(unit) if unit.kind == affine.NORMALISE else 0
        groups.setdefault((unit.level, unit.kind, alone), []).append(unit)
    stages = []
    for key in sorted(groups, key=lambda key: key[0]):
        stages.append(stage_of(groups[key], places))
        begin, width = 0, sum(unit.width for unit in groups[key])
        for unit in groups[key]:
            places[unit] = Place(len(inputs) + len(codes) + len(stages) - 1, begin, width)
            begin += unit.width
    return Compiled(inputs, tuple(codes), tuple(stages), sum_of(output, places), tuple(value.shape for value in values))


def _needed(output: Affine) -> tuple[list[Unit], list[Codes]]:
    """The units and codes that a value is made of, in the order in which they are met."""
    pending: list[Source] = [term.source for term in output.terms]
    met = dict.fromkeys(pending)
    for source in pending:
        if isinstance(source, Unit):
            new = [other for other in dict.fromkeys(source.sources) if other not in met]
            pending += new
            met |= dict.fromkeys(new)
    return [item for item in met if isinstance(item, Unit)], [item for item in met if isinstance(item, Codes)]
