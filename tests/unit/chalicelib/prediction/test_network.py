"""The forward pass gives what Keras gives, and serves only the graph that is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chalicelib.domain.errors import ModelError
from chalicelib.prediction.archive import read_keras
from chalicelib.prediction.network import BLOCK_ROWS, Network
from tests.support.archives import network, network_inputs, rewritten
from training_job.fit.networks import NetworkShape, archive_bytes, build_network

pytestmark = pytest.mark.slow

N_TOPICS, N_USERS, N_DENSE, N_POOLED = 4, 3, 6, 8


def trained(
    name: str, members: int = 1, *, n_topics: int = N_TOPICS, n_users: int = N_USERS, spread: float = 0.4
) -> Any:
    """A Keras network of the trained graph with random weights."""
    shape = NetworkShape(name, n_topics, n_users, N_DENSE, N_POOLED, members)
    model = build_network(shape, scale=0.8, temperature=1.3)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(scale=spread, size=weights.shape) for weights in model.get_weights()])
    return model


def served(model: Any) -> Network:
    return Network(read_keras(archive_bytes(model)))


def random_inputs(n: int, *, n_topics: int = N_TOPICS, n_users: int = N_USERS) -> dict[str, Any]:
    return network_inputs(n, N_DENSE, N_POOLED, n_topics=n_topics, n_users=n_users)


@pytest.mark.parametrize("name", ["correctness", "time"])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("spread", [0.1, 0.3])
def test_the_forward_pass_gives_what_keras_gives(name: str, members: int, spread: float) -> None:
    model = trained(name, members, spread=spread)
    numpy_network = served(model)
    assert numpy_network.forward_pass is not None
    for n in (1, 7, BLOCK_ROWS + 1):
        inputs = random_inputs(n)
        expected = model(inputs, training=False).numpy()[:, 0]
        for found in (numpy_network(inputs), numpy_network.model(inputs)[:, 0]):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("members", [1, 3])
def test_one_topic_and_only_unknown_users_are_served(members: int) -> None:
    model, inputs = trained("correctness", members, n_topics=2, n_users=1), random_inputs(5, n_topics=2, n_users=1)
    numpy_network = served(model)
    assert numpy_network.forward_pass is not None
    np.testing.assert_allclose(numpy_network(inputs), model(inputs, training=False).numpy()[:, 0], rtol=1e-5, atol=1e-5)


def test_no_rows_give_no_outputs() -> None:
    assert served(trained("time"))(random_inputs(0)).shape == (0,)


def test_an_archive_of_another_graph_runs_layer_by_layer() -> None:
    other, inputs = Network(read_keras(network(0.5, N_POOLED, N_DENSE))), random_inputs(5)
    assert other.forward_pass is None
    np.testing.assert_allclose(other(inputs), inputs["prior"][:, 0] + 0.5 * inputs["pooled"].sum(axis=1), rtol=1e-4)


@pytest.mark.parametrize(
    ("layer", "change"),
    [
        ("hidden_2_1", {"activation": "softplus"}),
        ("temperature", {"offset": 0.5}),
        ("prior_plus_residual", None),
    ],
)
def test_an_edited_graph_with_the_same_names_runs_layer_by_layer(layer: str, change: dict[str, Any] | None) -> None:
    def edited(content: bytes) -> bytes:
        graph = json.loads(content)
        (found,) = [one for one in graph["config"]["layers"] if one["name"] == layer]
        if change is None:
            found["class_name"] = "Multiply"
        else:
            found["config"].update(change)
        return json.dumps(graph).encode()

    model = read_keras(rewritten(archive_bytes(trained("correctness", 3)), "config.json", edited))
    other, inputs = Network(model), random_inputs(9)
    assert other.forward_pass is None
    np.testing.assert_allclose(other(inputs), model(inputs)[:, 0], rtol=1e-6)


@pytest.mark.parametrize("name", ["user", "topic", "difficulty"])
@pytest.mark.parametrize("code", [-1, 99, 2**31 - 1])
def test_a_code_out_of_range_is_refused(name: str, code: int) -> None:
    numpy_network, inputs = served(trained("correctness")), random_inputs(3)
    inputs[name][1] = code
    with pytest.raises(ModelError):
        numpy_network(inputs)
    with pytest.raises(ModelError):
        numpy_network.model(inputs)


@pytest.mark.parametrize(
    "change",
    [
        lambda inputs: {**inputs, "state": inputs["state"][:, :-1]},
        lambda inputs: {**inputs, "pooled": inputs["pooled"][:, :-1]},
        lambda inputs: {name: value for name, value in inputs.items() if name != "state"},
    ],
    ids=["a narrower state", "a narrower pooled vector", "no state"],
)
def test_inputs_that_do_not_fit_are_refused(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    with pytest.raises(ModelError):
        served(trained("time"))(change(random_inputs(3)))


def test_an_overflow_is_not_finite() -> None:
    inputs = random_inputs(2)
    inputs["pooled"][0] = 3e38
    found = served(trained("correctness"))(inputs)
    assert not np.isfinite(found[0])
    assert np.isfinite(found[1])
