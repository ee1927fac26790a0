"""numpy computes what Keras computes: random graphs of every served layer, saved by Keras and read back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chalicelib.prediction.archive import ACTIVATIONS, read_keras
from tests.support.archives import Layer
from tests.support.graphs import ROWS, inputs_of, layered

pytestmark = pytest.mark.slow


def built(layers: list[Layer]) -> Any:
    """The Keras model of a graph, its last layer the output."""
    import keras

    tensors: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    made = []
    for layer in layers:
        sources = [tensors[name] for name in layer.inputs]
        if layer.kind == "InputLayer":
            shape, dtype = layer.config["batch_shape"], layer.config["dtype"]
            tensors[layer.name] = inputs[layer.name] = keras.Input(shape[1:], dtype=dtype, name=layer.name)
            continue
        made.append((getattr(keras.layers, layer.kind)(name=layer.name, **layer.config), layer.weights))
        tensors[layer.name] = made[-1][0](sources if len(sources) > 1 else sources[0])
    for layer, weights in made:
        if weights:
            layer.set_weights(list(weights))
    return keras.Model(inputs, tensors[layers[-1].name])


def assert_same_as_keras(layers: list[Layer], n: int, seed: int) -> None:
    from training_job.fit.networks import archive_bytes

    model = built(layers)
    read = read_keras(archive_bytes(model))
    values = inputs_of(read, n, seed)
    expected = model(dict(values), training=False).numpy()
    assert read.output_shape == expected.shape[1:]
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    found = read(values)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-5)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(layered(most_layers=8), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_a_random_graph_saved_by_keras_gives_what_keras_gives(layers: list[Layer], n: int, seed: int) -> None:
    assert_same_as_keras(layers, n, seed)


def number_input(name: str, width: int) -> Layer:
    return Layer("InputLayer", name, config={"batch_shape": (None, width), "dtype": "float32"})


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(sorted(ACTIVATIONS)), st.integers(1, 40), st.integers(1, 40), st.integers(1, 9),
    st.sampled_from([0.1, 1.0, 30.0]), st.integers(0, 2**32 - 1),
)  # fmt: skip
@example("softplus", 3, 2, 1, 30.0, 0)
def test_dense_with_every_activation(
    activation: str, n_in: int, n_out: int, rows: int, scale: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = [rng.normal(scale=scale, size=(n_in, n_out)), rng.normal(size=n_out)]
    layers = [number_input("x", n_in), Layer("Dense", "d", ["x"], {"units": n_out, "activation": activation}, weights)]
    assert_same_as_keras(layers, rows, seed)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_embeddings_of_one_code_or_several_flattened(width: int, depth: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(ROWS, depth))
    layers = [
        Layer("InputLayer", "code", config={"batch_shape": (None, width), "dtype": "int32"}),
        Layer("Embedding", "rows", ["code"], {"input_dim": ROWS, "output_dim": depth}, [table]),
        Layer("Flatten", "flat", ["rows"]),
        Layer("Dense", "dense", ["flat"], {"units": 3}, [rng.normal(size=(width * depth, 3)), rng.normal(size=3)]),
    ]
    assert_same_as_keras(layers, rows, seed)


@pytest.mark.parametrize("kind", ["Add", "Multiply", "Average", "Concatenate"])
def test_merging_columns_of_numbers_with_single_ones(kind: str) -> None:
    layers = [number_input("x", 1), number_input("y", 4 if kind != "Concatenate" else 2)]
    layers.append(Layer(kind, "merged", ["x", "y"], {"axis": -1} if kind == "Concatenate" else {}))
    assert_same_as_keras(layers, 3, 0)


def test_a_layer_with_weights_in_half_or_double_precision_is_refused() -> None:
    import keras

    from chalicelib.domain.errors import ModelError
    from training_job.fit.networks import archive_bytes

    for dtype in ("float16", "float64", "mixed_float16", "bfloat16"):
        x = keras.Input((3,), name="x")
        model = keras.Model({"x": x}, keras.layers.Dense(2, dtype=dtype, name="d")(x))
        with pytest.raises(ModelError, match="layer 'd'"):
            read_keras(archive_bytes(model))


def test_a_dropout_that_is_on_when_serving_is_refused() -> None:
    import keras

    from chalicelib.domain.errors import ModelError
    from training_job.fit.networks import archive_bytes

    x = keras.Input((3,), name="x")
    model = keras.Model({"x": x}, keras.layers.Dropout(0.5)(x, training=True))
    with pytest.raises(ModelError, match="training"):
        read_keras(archive_bytes(model))


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict:UserWarning")
def test_an_input_that_keras_knows_by_another_name_is_refused() -> None:
    import keras

    from chalicelib.domain.errors import ModelError
    from training_job.fit.networks import archive_bytes

    x = keras.Input((3,), name="x")
    model = keras.Model({"given": x}, keras.layers.Dense(1)(x))
    with pytest.raises(ModelError, match="given"):
        read_keras(archive_bytes(model))
