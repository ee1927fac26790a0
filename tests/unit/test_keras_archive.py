"""A served model is exactly the published one, or it is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chalicelib.domain.errors import ModelError
from chalicelib.prediction.keras_archive import read_keras
from chalicelib.prediction.layers import ACTIVATIONS
from tests.unit.archives import Layer, archive, input_layer

RNG = np.random.default_rng(0)


def dense(name: str, source: str, n: int, m: int, **config: Any) -> Layer:
    weights = [RNG.normal(size=(n, m)).astype(np.float32), RNG.normal(size=m).astype(np.float32)]
    return Layer("Dense", name, [source], {"units": m, **config}, weights)


def test_a_graph_runs_whatever_the_order_of_its_layers() -> None:
    first, second = dense("first", "x", 3, 2, activation="relu"), dense("second", "first", 2, 1)
    model = read_keras(archive([second, first, input_layer("x", 3)], "second"))
    x = RNG.normal(size=(5, 3)).astype(np.float32)
    hidden = np.maximum(x @ first.weights[0] + first.weights[1], 0)
    np.testing.assert_allclose(model({"x": x}), hidden @ second.weights[0] + second.weights[1], rtol=1e-5)


def test_integer_inputs_pick_rows_of_an_embedding() -> None:
    table = RNG.normal(size=(4, 2)).astype(np.float32)
    layers = [
        input_layer("user", 1, "int32"),
        Layer("Embedding", "rows", ["user"], {"input_dim": 4, "output_dim": 2}, [table]),
        Layer("Flatten", "flat", ["rows"]),
    ]
    model = read_keras(archive(layers, "flat"))
    np.testing.assert_array_equal(model({"user": np.array([[3], [0]])}), table[[3, 0]])


@pytest.mark.parametrize("kind", ["Normalization", "Lambda", "LSTM", "TFOpLambda"])
def test_a_layer_that_is_not_served_is_refused(kind: str) -> None:
    with pytest.raises(ModelError, match=kind):
        read_keras(archive([input_layer("x", 3), Layer(kind, "odd", ["x"])], "odd"))


@pytest.mark.parametrize(
    "layer",
    [
        dense("d", "x", 3, 2, activation="gelu"),
        dense("d", "x", 3, 2, activation={"class_name": "Custom"}),
        dense("d", "x", 3, 2, dtype="float16"),
        Layer("Dense", "d", ["x"], {"units": 5}, [np.zeros((3, 2)), np.zeros(2)]),
        Layer("Dense", "d", ["x"], {"units": 2}, [np.zeros((3, 2))]),
        Layer("Dense", "d", ["x"], {"units": 2}, [np.full((3, 2), np.nan), np.zeros(2)]),
        Layer("Dense", "d", ["x"], {"units": 2}, [np.zeros((3, 2), dtype=np.float16), np.zeros(2)]),
        Layer("Embedding", "d", ["x"], {"input_dim": 9, "output_dim": 2}, [np.zeros((3, 2))]),
        Layer("Embedding", "d", ["x"], {"input_dim": 3, "output_dim": 2}, [np.zeros((3, 2))]),
        Layer("Embedding", "d", ["code"], {"input_dim": 3, "output_dim": 2, "mask_zero": True}, [np.zeros((3, 2))]),
        Layer("Dense", "d", ["code"], {"units": 2}, [np.zeros((1, 2)), np.zeros(2)]),
        Layer(
            "Dense", "d", ["x"], {"units": 2, "quantization_config": {"mode": "int8"}}, [np.zeros((3, 2)), np.zeros(2)]
        ),
        Layer("Dense", "d", ["x"], {"units": 2}, [np.zeros((3, 2), dtype=np.int32), np.zeros(2)]),
        Layer("Dense", "d", ["x"], {"units": 2}, [np.full((3, 2), np.inf, dtype=np.float32), np.zeros(2)]),
        Layer("Dense", "d", ["x"], {"units": 0}, [np.zeros((3, 0)), np.zeros(0)]),
        Layer("Activation", "d", ["x"], {"activation": "relu"}, [np.zeros(3)]),
        Layer("LayerNormalization", "d", ["x"], {"axis": 1}, [np.ones(3), np.zeros(3)]),
        Layer("LayerNormalization", "d", ["x"], {"axis": -1, "rms_scaling": True}, [np.ones(3), np.zeros(3)]),
        Layer("LayerNormalization", "d", ["x"], {"axis": -1}, [np.ones(2), np.zeros(2)]),
        Layer("LayerNormalization", "d", ["x"], {"axis": -1, "center": False, "scale": False}),
        Layer("Concatenate", "d", ["x", "x"], {"axis": 1}),
        Layer("Concatenate", "d", ["x", "code"], {"axis": -1}),
        Layer("Flatten", "d", ["x"], {"data_format": "channels_first"}),
        Layer("Rescaling", "d", ["x"], {}),
        Layer("Rescaling", "d", ["x"], {"scale": [1.0, 2.0, 3.0]}),
        Layer("Rescaling", "d", ["x"], {"scale": float("nan")}),
        Layer("Rescaling", "d", ["x"], {"scale": 1e39}),
        Layer("Add", "d", ["x"]),
        Layer("Add", "d", ["x", "y"]),
        Layer("Subtract", "d", ["x", "x", "x"]),
        Layer("Add", "d", ["x", "nowhere"]),
        Layer("Add", "d", ["d", "x"]),
        Layer("Dropout", "x", ["x"]),
    ],
)
def test_settings_weights_and_wiring_that_do_not_fit_are_refused(layer: Layer) -> None:
    inputs = [input_layer("x", 3), input_layer("y", 2), input_layer("code", 1, "int32")]
    with pytest.raises(ModelError):
        read_keras(archive([*inputs, layer], layer.name))


def test_a_model_that_is_not_functional_is_refused() -> None:
    with pytest.raises(ModelError, match="Sequential"):
        read_keras(archive([input_layer("x", 3), dense("d", "x", 3, 1)], "d", kind="Sequential"))


def test_an_input_of_the_wrong_width_is_refused() -> None:
    model = read_keras(archive([input_layer("x", 3), dense("d", "x", 3, 1)], "d"))
    with pytest.raises(ModelError, match="expected"):
        model({"x": np.zeros((2, 4), dtype=np.float32)})
    with pytest.raises(ModelError, match="expected"):
        model({})


def test_layers_that_do_not_fit_together_are_refused_when_the_archive_is_read() -> None:
    with pytest.raises(ModelError, match="'d' does not fit its inputs"):
        read_keras(archive([input_layer("x", 3), dense("d", "x", 4, 1)], "d"))


def test_every_damaged_archive_is_refused_or_still_whole() -> None:
    raw = archive([input_layer("x", 3), dense("d", "x", 3, 1)], "d")
    rng = np.random.default_rng(3)
    for cut in rng.integers(0, len(raw), size=40):
        with pytest.raises(ModelError):
            read_keras(raw[:cut])
    for position in rng.integers(0, len(raw), size=200):
        damaged = bytearray(raw)
        damaged[position] ^= 0xFF
        try:
            model = read_keras(bytes(damaged))
        except ModelError:
            continue
        assert np.isfinite(model({"x": np.ones((1, 3), dtype=np.float32)})).all()


def test_activations_do_not_overflow() -> None:
    x = np.array([-1e4, -50.0, 0.0, 50.0, 1e4], dtype=np.float32)
    for activate in ACTIVATIONS.values():
        result = activate(x)
        assert np.isfinite(result).all()
        assert result.dtype == np.float32


@pytest.mark.slow
def test_numpy_computes_what_keras_computes_for_every_served_layer() -> None:
    import keras
    from keras import layers

    from training_job.networks import archive_bytes

    x = keras.Input((6,), name="x")
    code = keras.Input((1,), dtype="int32", name="code")
    parts = [layers.Dense(8, activation=name)(x) for name in sorted(ACTIVATIONS)]
    merged = layers.Add()([layers.Multiply()(parts[:3]), layers.Average()(parts[3:5]), layers.Subtract()(parts[5:7])])
    row = layers.Flatten()(layers.Embedding(5, 8)(code))
    merged = layers.Concatenate()([layers.LayerNormalization()(layers.Dropout(0.5)(merged)), row])
    merged = layers.GaussianNoise(0.3)(layers.Dense(4, use_bias=False)(merged))
    model = keras.Model({"x": x, "code": code}, layers.Rescaling(0.3, 0.1)(merged))
    values = {"x": RNG.normal(size=(50, 6)).astype(np.float32), "code": RNG.integers(0, 5, (50, 1))}
    expected = np.asarray(model(values, training=False))
    np.testing.assert_allclose(read_keras(archive_bytes(model))(values), expected, atol=1e-5)
