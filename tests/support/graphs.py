"""Random graphs of all layers that are served, as archives in the layout that Keras writes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from chalicelib.prediction.archive import ACTIVATIONS, KerasModel, read_keras
from tests.support.archives import Layer, archive, input_layer

WIDTHS = st.sampled_from([1, 2, 3, 5])
ROWS = 6
"""Of every embedding, so that codes for one are codes for all."""

INPUTS = {"x": 3, "y": 1, "z": 5}
CODES = {"code": 1, "codes": 2}

MERGES = ("Add", "Multiply", "Average")
Shape = tuple[int, ...]


@dataclass
class _Graph:
    """Layers so far, and the shapes of their outputs."""

    rng: np.random.Generator
    layers: list[Layer] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def add(self, kind: str, sources: list[str], shape: Shape, weights: tuple[Shape, ...] = (), **config: Any) -> None:
        name = f"layer_{len(self.layers)}"
        drawn = [self.rng.normal(scale=0.7, size=size).astype(np.float32) for size in weights]
        self.layers.append(Layer(kind, name, sources, config, drawn))
        self.shapes[name] = shape


@st.composite
def layered(draw: st.DrawFn, most_layers: int = 12) -> list[Layer]:
    """Some layers on inputs of numbers and of codes, each reading earlier ones; the last is the output."""
    graph = _Graph(np.random.default_rng(draw(st.integers(0, 2**32 - 1))))
    for name, width in draw(st.sets(st.sampled_from(sorted(INPUTS.items())), min_size=1)):
        graph.layers.append(input_layer(name, width))
        graph.shapes[name] = (width,)
    for name, width in draw(st.sets(st.sampled_from(sorted(CODES.items())))):
        graph.layers.append(input_layer(name, width, "int32"))
        depth = draw(WIDTHS)
        graph.add("Embedding", [name], (width, depth), ((ROWS, depth),), input_dim=ROWS, output_dim=depth)
    for _ in range(draw(st.integers(1, most_layers))):
        _draw_layer(draw, graph)
    if graph.layers[-1].kind == "InputLayer":
        _draw_one_input(draw, graph, "Dropout", draw(st.sampled_from(sorted(graph.shapes))))
    return graph.layers


def _draw_layer(draw: st.DrawFn, graph: _Graph) -> None:
    kind = draw(st.sampled_from([*_ONE_INPUT, *MERGES, "Concatenate"]))
    source = draw(st.sampled_from(sorted(graph.shapes)))
    shape = graph.shapes[source]
    if kind in _ONE_INPUT:
        _draw_one_input(draw, graph, kind, source)
    elif kind == "Concatenate":
        fitting = [name for name, other in graph.shapes.items() if other[:-1] == shape[:-1]]
        others = draw(st.lists(st.sampled_from(sorted(fitting)), min_size=1, max_size=3))
        width = sum(graph.shapes[name][-1] for name in [source, *others])
        graph.add("Concatenate", [source, *others], (*shape[:-1], width), axis=-1)
    else:
        fitting = [name for name, other in graph.shapes.items() if _broadcast(shape, other) is not None]
        others = draw(st.lists(st.sampled_from(sorted(fitting)), min_size=1, max_size=2))
        merged: Shape | None = shape
        for name in others:
            merged = None if merged is None else _broadcast(merged, graph.shapes[name])
        if merged is not None:
            graph.add(kind, [source, *others], merged)


def _broadcast(one: Shape, other: Shape) -> Shape | None:
    if len(one) != len(other):
        return None
    try:
        return np.broadcast_shapes(one, other)
    except ValueError:
        return None


_ONE_INPUT = ("Dense", "Dense", "Rescaling", "Dropout", "Flatten")


def _draw_one_input(draw: st.DrawFn, graph: _Graph, kind: str, source: str) -> None:
    shape = graph.shapes[source]
    width = shape[-1]
    if kind == "Dense":
        units, activation = draw(WIDTHS), draw(st.sampled_from(sorted(ACTIVATIONS)))
        shapes = ((width, units), (units,))
        graph.add(kind, [source], (*shape[:-1], units), shapes, units=units, activation=activation)
    elif kind == "Rescaling":
        graph.add(kind, [source], shape, scale=draw(st.floats(-2, 2)), offset=draw(st.floats(-2, 2)))
    elif kind == "Flatten":
        graph.add(kind, [source], (math.prod(shape),))
    else:
        graph.add(kind, [source], shape, rate=0.5)


def model_of_layers(layers: list[Layer]) -> KerasModel:
    """The model that is read from the archive of a graph, whose last layer is the output."""
    return read_keras(archive(layers, layers[-1].name))


def inputs_of(model: KerasModel, n: int, seed: int) -> dict[str, Any]:
    """``n`` random rows for a model."""
    rng = np.random.default_rng(seed)
    return {
        item.name: rng.integers(0, ROWS, (n, item.width))
        if item.holds_codes
        else rng.normal(size=(n, item.width)).astype(np.float32)
        for item in model.inputs
    }
