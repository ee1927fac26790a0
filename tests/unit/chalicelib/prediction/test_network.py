"""The forward pass in numpy gives what Keras gives, and serves only the graph that is trained."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np
import pytest

from chalicelib.domain.errors import ModelError
from chalicelib.prediction.archive import read_keras
from chalicelib.prediction.network import BLOCK_ROWS, Network
from tests.support.archives import network
from training_job.fit.networks import NetworkShape, archive_bytes, build_network

pytestmark = pytest.mark.slow

N_TOPICS, N_USERS, N_DENSE, N_POOLED = 4, 3, 6, 8


def trained(name: str, members: int = 1, seed: int = 0) -> Any:
    """A Keras network of the trained graph with random weights."""
    model = build_network(NetworkShape(name, N_TOPICS, N_USERS, N_DENSE, N_POOLED, members), scale=0.8, temperature=1.3)
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(scale=0.4, size=weights.shape) for weights in model.get_weights()])
    return model


def random_inputs(n: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "prior": rng.normal(size=(n, 1)).astype(np.float32),
        "user": rng.integers(0, N_USERS, (n, 1)).astype(np.int32),
        "topic": rng.integers(0, N_TOPICS, (n, 1)).astype(np.int32),
        "difficulty": rng.integers(0, 4, (n, 1)).astype(np.int32),
        "last": rng.choice([-1.0, 0.0, 1.0], (n, 1)).astype(np.float32),
        "state": rng.normal(size=(n, N_DENSE)).astype(np.float32),
        "pooled": rng.normal(size=(n, N_POOLED)).astype(np.float32),
    }


@pytest.mark.parametrize("name", ["correctness", "time"])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("n", [1, 7, BLOCK_ROWS + 1])
def test_the_forward_pass_gives_what_keras_gives(name: str, members: int, n: int) -> None:
    model, inputs = trained(name, members), random_inputs(n)
    served = Network(read_keras(archive_bytes(model)))
    assert served.is_written_out
    np.testing.assert_allclose(served(inputs), model(inputs, training=False).numpy()[:, 0], atol=1e-5)


def test_no_rows_give_no_outputs() -> None:
    assert Network(read_keras(archive_bytes(trained("time"))))(random_inputs(0)).shape == (0,)


def test_an_archive_of_another_graph_runs_layer_by_layer() -> None:
    model = read_keras(network(0.5, N_POOLED, N_DENSE))
    served, inputs = Network(model), random_inputs(5)
    assert not served.is_written_out
    np.testing.assert_allclose(served(inputs), inputs["prior"][:, 0] + 0.5 * inputs["pooled"].sum(axis=1), rtol=1e-4)


def test_a_graph_with_the_trained_names_and_another_meaning_runs_layer_by_layer() -> None:
    raw = archive_bytes(trained("correctness"))
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as before, zipfile.ZipFile(packed, "w") as after:
        for member in before.namelist():
            content = before.read(member)
            if member == "config.json":
                graph = json.loads(content)
                (hidden,) = [layer for layer in graph["config"]["layers"] if layer["name"] == "hidden_2_1"]
                hidden["config"]["activation"] = "softplus"
                content = json.dumps(graph).encode()
            after.writestr(member, content)
    model = read_keras(packed.getvalue())
    served, inputs = Network(model), random_inputs(9)
    assert not served.is_written_out
    np.testing.assert_allclose(served(inputs), model(inputs)[:, 0], rtol=1e-6)


@pytest.mark.parametrize("name", ["user", "topic", "difficulty"])
@pytest.mark.parametrize("code", [-1, 99, 2**31 - 1])
def test_a_code_out_of_range_is_refused(name: str, code: int) -> None:
    served, inputs = Network(read_keras(archive_bytes(trained("correctness")))), random_inputs(3)
    inputs[name][1] = code
    with pytest.raises(ModelError):
        served(inputs)


@pytest.mark.parametrize("name", ["state", "pooled"])
def test_inputs_of_another_width_are_refused(name: str) -> None:
    served, inputs = Network(read_keras(archive_bytes(trained("time")))), random_inputs(3)
    with pytest.raises(ModelError):
        served({**inputs, name: inputs[name][:, :-1]})


def test_an_overflow_is_not_finite() -> None:
    served, inputs = Network(read_keras(archive_bytes(trained("correctness")))), random_inputs(2)
    inputs["pooled"][0] = 3e38
    found = served(inputs)
    assert not np.isfinite(found[0])
    assert np.isfinite(found[1])
