"""A served model is exactly the published one, or it is refused."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.errors import ModelError
from chalicelib.prediction.archive import ACTIVATIONS, read_keras
from tests.support.archives import Layer, archive, input_layer, rewritten
from training_job.fit.networks import archive_bytes

RNG = np.random.default_rng(0)


def dense(name: str, source: str, n: int, m: int, **config: Any) -> Layer:
    weights = [RNG.normal(size=(n, m)).astype(np.float32), RNG.normal(size=m).astype(np.float32)]
    return Layer("Dense", name, [source], {"units": m, **config}, weights)


def every_layer() -> bytes:
    """An archive with each layer that is served."""
    layers = [
        input_layer("x", 3),
        input_layer("code", 1, "int32"),
        Layer("Dropout", "dropped", ["x"], {"rate": 0.5}),
        dense("layer_1", "dropped", 3, 2, activation="silu"),
        Layer("Embedding", "rows", ["code"], {"input_dim": 4, "output_dim": 2}, [RNG.normal(size=(4, 2))]),
        Layer("Flatten", "row", ["rows"]),
        Layer("Multiply", "gated", ["layer_1", "row"]),
        Layer("Dot", "product", ["layer_1", "row"], {"axes": 1, "normalize": False}),
        Layer("Concatenate", "all", ["gated", "x", "product"], {"axis": -1}),
        dense("slope", "all", 6, 1, activation="softplus"),
        dense("head", "all", 6, 1),
        Layer("Average", "mean", ["slope", "head"]),
        Layer("Add", "sum", ["mean", "head"]),
        Layer("Rescaling", "scaled", ["sum"], {"scale": 0.7, "offset": 0.1}),
    ]
    return archive(layers, "scaled")


def test_layers_run_in_the_order_of_the_graph() -> None:
    first, second = dense("first", "x", 3, 2, activation="silu"), dense("second", "first", 2, 1)
    model = read_keras(archive([input_layer("x", 3), first, second], "second"))
    x = RNG.normal(size=(5, 3)).astype(np.float32)
    hidden = x @ first.weights[0] + first.weights[1]
    hidden /= 1 + np.exp(-hidden)
    np.testing.assert_allclose(model({"x": x}), hidden @ second.weights[0] + second.weights[1], rtol=1e-5)
    assert model({"x": x[:0]}).shape == (0, 1)


def test_integer_inputs_pick_rows_of_an_embedding() -> None:
    table = RNG.normal(size=(4, 2)).astype(np.float32)
    layers = [
        input_layer("user", 1, "int32"),
        Layer("Embedding", "rows", ["user"], {"input_dim": 4, "output_dim": 2}, [table]),
        Layer("Flatten", "flat", ["rows"]),
    ]
    model = read_keras(archive(layers, "flat"))
    np.testing.assert_array_equal(model({"user": np.array([[3], [0]])}), table[[3, 0]])


def plain(*weights: Any, source: str = "x", **config: Any) -> Layer:
    """A dense layer of two units with these weights, or else with weights that fit."""
    return Layer("Dense", "d", [source], {"units": 2, **config}, weights or [np.zeros((3, 2)), np.zeros(2)])


def embedding(source: str, n_rows: int, **config: Any) -> Layer:
    return Layer("Embedding", "d", [source], {"input_dim": n_rows, "output_dim": 2, **config}, [np.zeros((3, 2))])


@pytest.mark.parametrize(
    "layer",
    [
        plain(activation="gelu"),
        plain(activation="relu"),
        plain(activation={"class_name": "Custom"}),
        plain(use_bias=False),
        plain(dtype="float16"),
        plain(quantization_config={"mode": "int8"}),
        plain(np.zeros((3, 1)), np.zeros(1), units=1 << 21),
        plain(units=5),
        plain(np.zeros((3, 2))),
        plain(np.full((3, 2), np.nan), np.zeros(2)),
        plain(np.full((3, 2), np.inf), np.zeros(2)),
        plain(np.zeros((3, 0)), np.zeros(0), units=0),
        plain(np.zeros((1, 2)), np.zeros(2), source="code"),
        embedding("x", 9),
        embedding("x", 3),
        embedding("code", 3, mask_zero=True),
        Layer("Flatten", "d", ["x", "y"]),
        Layer("Flatten", "d", ["x"], {"data_format": "channels_first"}),
        Layer("Concatenate", "d", ["x", "x"], {"axis": 1}),
        Layer("Concatenate", "d", ["x", "code"], {"axis": -1}),
        Layer("Dot", "d", ["x", "y"], {"axes": 1}),
        *(Layer("Dot", "d", ["x", "x"], setting) for setting in ({"axes": [1, 1]}, {"axes": 1, "normalize": True})),
        Layer("Rescaling", "d", ["x"], {}),
        *(Layer("Rescaling", "d", ["x"], {"scale": scale}) for scale in ([1.0, 2.0, 3.0], float("nan"), 1e39)),
        *(
            Layer("Add", "d", sources)
            for sources in (["code", "code"], ["x"], ["x", "y"], ["x", "nowhere"], ["d", "x"])
        ),
        Layer("Dropout", "x", ["x"]),
    ],
)
def test_settings_weights_and_wiring_that_do_not_fit_are_refused(layer: Layer) -> None:
    inputs = [input_layer("x", 3), input_layer("y", 2), input_layer("code", 1, "int32")]
    with pytest.raises(ModelError):
        read_keras(archive([*inputs, layer], layer.name))


X = input_layer("x", 3)
UNSERVED = ("Normalization", "Lambda", "LSTM", "LayerNormalization", "Activation", "Subtract")


@pytest.mark.parametrize(
    ("layers", "kind", "message"),
    [
        *(([X, Layer(kind, "d", ["x"])], "Functional", kind) for kind in UNSERVED),
        ([X, dense("d", "x", 3, 1)], "Sequential", "Sequential"),
        ([X, dense("d", "first", 2, 1), dense("first", "x", 3, 2)], "Functional", "'d' reads"),
        ([X, dense("d", "x", 4, 1)], "Functional", "'d' does not fit its inputs"),
    ],
    ids=[*UNSERVED, "sequential", "reads a later layer", "widths differ"],
)
def test_a_graph_that_is_not_served_is_refused(layers: list[Layer], kind: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_keras(archive(layers, "d", kind=kind))


def test_an_input_of_the_wrong_width_is_refused() -> None:
    model = read_keras(archive([input_layer("x", 3), dense("d", "x", 3, 1)], "d"))
    with pytest.raises(ModelError, match="expected"):
        model({"x": np.zeros((2, 4), dtype=np.float32)})
    with pytest.raises(ModelError, match="expected"):
        model({})


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


def assert_refused_or_runs(raw: bytes) -> None:
    """Reading gives a ModelError, or a model that runs."""
    try:
        model = read_keras(raw)
    except ModelError:
        return
    values = {
        item.name: np.zeros((2, item.width), dtype=np.int64 if item.holds_codes else np.float32)
        for item in model.inputs
    }
    with contextlib.suppress(ModelError):
        model(values)


@settings(max_examples=150)
@given(st.data())
def test_weights_that_were_damaged_before_packing_are_refused_or_run(data: st.DataObject) -> None:
    def damaged(content: bytes) -> bytes:
        changed = bytearray(content)
        for _ in range(data.draw(st.integers(1, 4))):
            changed[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        return bytes(changed[: data.draw(st.none() | st.integers(0, len(content)))])

    assert_refused_or_runs(rewritten(every_layer(), "model.weights.h5", damaged))


ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 2, 1e39, 10**400, float("nan"), "", "float64", "x", "Dense", [], [[]], {}, [0, 0]]
)


@settings(max_examples=300)
@given(st.data())
def test_a_graph_with_odd_settings_is_refused_or_runs(data: st.DataObject) -> None:
    def damaged(content: bytes) -> bytes:
        document = json.loads(content)
        place = document["config"]
        while True:
            key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            inner = place[key]
            if not inner or not isinstance(inner, dict | list) or data.draw(st.integers(0, 3)) == 0:
                break
            place = inner
        place[key] = data.draw(ODD)
        return json.dumps(document).encode()

    assert_refused_or_runs(rewritten(every_layer(), "config.json", damaged))


@pytest.mark.parametrize("weights", [np.float16, np.float64, np.int32, np.uint8, np.complex64])
def test_weights_of_another_type_are_refused(weights: Any) -> None:
    def retyped(content: bytes) -> bytes:
        raw = io.BytesIO(content)
        with h5py.File(raw, "r+") as file:
            kernel = file["layers/layer_1/vars/0"][...]
            del file["layers/layer_1/vars/0"]
            file["layers/layer_1/vars/0"] = kernel.astype(weights)
        return raw.getvalue()

    raw = archive([input_layer("x", 3), dense("d", "x", 3, 1)], "d")
    with pytest.raises(ModelError, match="'d' has weights of"):
        read_keras(rewritten(raw, "model.weights.h5", retyped))


def test_activations_do_not_overflow() -> None:
    x = np.array([-1e4, -50.0, 0.0, 50.0, 1e4], dtype=np.float32)
    for activate in ACTIVATIONS.values():
        result = activate(x)
        assert np.isfinite(result).all()
        assert result.dtype == np.float32


@pytest.mark.slow
def test_a_dropout_that_is_on_when_serving_is_refused() -> None:
    import keras

    x = keras.Input((3,), name="x")
    model = keras.Model({"x": x}, keras.layers.Dropout(0.5)(x, training=True))
    with pytest.raises(ModelError, match="training"):
        read_keras(archive_bytes(model))


@pytest.mark.slow
def test_an_input_that_keras_knows_by_another_name_is_refused() -> None:
    import keras

    x = keras.Input((3,), name="x")
    with pytest.warns(UserWarning, match="Received key 'given'"):
        model = keras.Model({"given": x}, keras.layers.Dense(1)(x))
    with pytest.raises(ModelError, match="given"):
        read_keras(archive_bytes(model))
