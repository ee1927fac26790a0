"""The compiled program computes what the plain execution computes, whatever the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.errors import ModelError
from chalicelib.prediction.archive import KerasModel, read_keras
from chalicelib.prediction.compiled import Compiled, Plain, compiled
from chalicelib.prediction.stages import _Stacked
from tests.support.archives import Layer, archive, input_layer
from tests.support.graphs import inputs_of, layered, model_of_layers


def dense(name: str, source: str, n: int, m: int, rng: np.random.Generator, **config: Any) -> Layer:
    return Layer("Dense", name, [source], {"units": m, **config}, [rng.normal(size=(n, m)), rng.normal(size=m)])


def assert_equal(models: list[KerasModel], values: dict[str, Any], **tolerance: float) -> None:
    outputs = compiled(models)(values)
    for model, output in zip(models, outputs, strict=True):
        expected = model(values)
        assert output.dtype == np.float32
        scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
        np.testing.assert_allclose(output / scale, expected / scale, rtol=1e-4, atol=tolerance.get("atol", 2e-5))


@settings(max_examples=150, deadline=None)
@given(layered(), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_a_compiled_graph_gives_what_its_layers_give_one_after_the_other(graph: list[Layer], n: int, seed: int) -> None:
    model = model_of_layers(graph)
    assert_equal([model], inputs_of(model, n, seed))


@settings(max_examples=50, deadline=None)
@given(layered(), layered(), st.integers(0, 2**32 - 1))
def test_models_that_share_their_inputs_run_as_one_program(one: list[Layer], other: list[Layer], seed: int) -> None:
    models = [model_of_layers(one), model_of_layers(other)]
    assert_equal(models, inputs_of(models[0], 3, seed) | inputs_of(models[1], 3, seed))


def members(n_members: int, rng: np.random.Generator) -> bytes:
    """A mean of ``n_members`` networks of two hidden layers, as it is trained."""
    layers = [input_layer("x", 7), input_layer("code", 1, "int32")]
    for number in range(n_members):
        layers += [
            Layer("Dropout", f"dropped_{number}", ["x"], {"rate": 0.3}),
            Layer(
                "Embedding", f"rows_{number}", ["code"], {"input_dim": 9, "output_dim": 4}, [rng.normal(size=(9, 4))]
            ),
            Layer("Flatten", f"row_{number}", [f"rows_{number}"]),
            Layer("Concatenate", f"all_{number}", [f"dropped_{number}", f"row_{number}"], {"axis": -1}),
            dense(f"first_{number}", f"all_{number}", 11, 96, rng, activation="silu"),
            dense(f"second_{number}", f"first_{number}", 96, 48, rng, activation="silu"),
            dense(f"head_{number}", f"second_{number}", 48, 1, rng),
        ]
    layers.append(Layer("Average", "mean", [f"head_{number}" for number in range(n_members)]))
    layers.append(Layer("Rescaling", "scaled", ["mean"], {"scale": 0.7, "offset": 0.1}))
    return archive(layers, "scaled")


@pytest.mark.parametrize("n_members", [3, 5])
def test_members_run_side_by_side(n_members: int) -> None:
    model = read_keras(members(n_members, np.random.default_rng(0)))
    program = compiled([model])
    assert isinstance(program, Compiled)
    assert len(program.stages) == 2
    second = [part for _, part in program.stages[1].operands[0].tiles]
    assert [type(part) for part in second] == [_Stacked]
    assert_equal([model], inputs_of(model, 4, 0))


def test_more_rows_than_run_at_once_come_back_in_their_order() -> None:
    model = read_keras(members(3, np.random.default_rng(1)))
    values = inputs_of(model, 1000, 0)
    assert_equal([model], values)
    assert compiled([model])({name: value[:0] for name, value in values.items()})[0].shape == (0, 1)


@pytest.mark.parametrize("used", [0, 1, 40, 400, 799, 800])
def test_a_wide_row_of_which_only_some_numbers_are_not_0_reads_the_kernel_that_it_meets(used: int) -> None:
    rng = np.random.default_rng(used)
    model = read_keras(archive([input_layer("x", 800), dense("d", "x", 800, 50, rng)], "d"))
    values = np.zeros((1, 800), dtype=np.float32)
    values[0, rng.permutation(800)[:used]] = rng.normal(size=used)
    assert_equal([model], {"x": values})


def test_inputs_are_renamed_where_models_have_their_own() -> None:
    rng = np.random.default_rng(2)
    models = [read_keras(archive([input_layer("x", 3), dense("d", "x", 3, 2, rng)], "d")) for _ in range(2)]
    mine, theirs = rng.normal(size=(2, 4, 3)).astype(np.float32)
    for program in (compiled(models, [{}, {"x": "y"}]), Plain(tuple(models), ({}, {"x": "y"}))):
        first, second = program({"x": mine, "y": theirs})
        np.testing.assert_allclose(first, models[0]({"x": mine}), rtol=1e-5)
        np.testing.assert_allclose(second, models[1]({"x": theirs}), rtol=1e-5)


def test_models_that_disagree_on_a_shared_input_are_refused() -> None:
    rng = np.random.default_rng(3)
    models = [read_keras(archive([input_layer("x", n), dense("d", "x", n, 1, rng)], "d")) for n in (3, 4)]
    with pytest.raises(ModelError, match="disagree"):
        compiled(models)


def test_products_of_weights_beyond_float32_are_left_to_the_plain_execution() -> None:
    layers = [
        input_layer("x", 1),
        Layer("Dense", "up", ["x"], {"units": 1, "use_bias": False}, [np.full((1, 1), 1e30)]),
        Layer("Dense", "down", ["up"], {"units": 1, "use_bias": False}, [np.full((1, 1), 1e30)]),
    ]
    model = read_keras(archive(layers, "down"))
    program = compiled([model])
    assert isinstance(program, Plain)
    assert program({"x": np.full((1, 1), 1e-30, dtype=np.float32)})[0][0, 0] == pytest.approx(1e30)


def test_what_overflows_is_not_finite_and_what_does_not_fit_is_a_model_error() -> None:
    program = compiled([read_keras(members(2, np.random.default_rng(4)))])
    fitting = {"x": np.zeros((2, 7), dtype=np.float32), "code": np.zeros((2, 1), dtype=np.int64)}
    assert np.isfinite(program(fitting)[0]).all()
    assert not np.isfinite(program({**fitting, "x": np.full((2, 7), 3e38, dtype=np.float32)})[0]).any()
    for wrong in ({"x": np.zeros((2, 6), dtype=np.float32)}, {"x": np.zeros(7, dtype=np.float32)}):
        with pytest.raises(ModelError, match="expected"):
            program({**fitting, **wrong})
    with pytest.raises(ModelError):
        program({"x": fitting["x"]})
    with pytest.raises(ModelError, match="rows"):
        program({**fitting, "code": np.zeros((3, 1), dtype=np.int64)})


@pytest.mark.parametrize("code", [-1, -9, 9, 2**31, 2**32, 2**32 + 1, -(2**32)])
def test_a_code_out_of_range_is_a_model_error_and_never_another_row(code: int) -> None:
    model = read_keras(members(2, np.random.default_rng(5)))
    values = {"x": np.zeros((1, 7), dtype=np.float32), "code": np.array([[code]])}
    for run in (model, compiled([model])):
        with pytest.raises(ModelError):
            run(values)


def test_codes_that_are_no_integers_are_a_model_error() -> None:
    model = read_keras(members(2, np.random.default_rng(6)))
    values = {"x": np.zeros((1, 7), dtype=np.float32), "code": np.array([[1.0]])}
    for run in (model, compiled([model])):
        with pytest.raises(ModelError, match="integers"):
            run(values)
