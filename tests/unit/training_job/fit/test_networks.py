"""The Keras graphs: a success never counts against its student, and members are averaged exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from training_job.fit.networks import NetworkShape, build_network, combined

SHAPE = NetworkShape("correctness", n_topics=4, n_users=3, n_dense=6, n_pooled=8)

pytestmark = pytest.mark.slow


def random_inputs(n: int, rng: np.random.Generator) -> dict[str, Any]:
    return {
        "prior": rng.normal(size=(n, 1)).astype(np.float32),
        "user": rng.integers(0, 3, (n, 1)),
        "topic": rng.integers(0, 4, (n, 1)),
        "difficulty": rng.integers(0, 4, (n, 1)),
        "last": rng.choice([-1.0, 0.0, 1.0], (n, 1)).astype(np.float32),
        "state": rng.normal(size=(n, 6)).astype(np.float32),
        "pooled": rng.normal(size=(n, 8)).astype(np.float32),
    }


def with_random_weights(seed: int) -> Any:
    model, rng = build_network(SHAPE), np.random.default_rng(seed)
    model.set_weights([rng.normal(size=weights.shape) for weights in model.get_weights()])
    return model


@pytest.mark.parametrize("seed", range(5))
def test_no_weights_make_a_success_lower_a_prediction(seed: int) -> None:
    model, inputs = with_random_weights(seed), random_inputs(200, np.random.default_rng(seed))
    right, wrong = (
        np.asarray(model({**inputs, "last": np.full((200, 1), last, np.float32)}, training=False)) for last in (1, -1)
    )
    assert (right >= wrong).all()


def test_several_members_give_their_mean() -> None:
    members, inputs = [with_random_weights(seed) for seed in range(3)], random_inputs(50, np.random.default_rng(9))
    model, shape = combined(members, SHAPE)
    alone = [np.asarray(member(inputs, training=False)) for member in members]
    assert shape.members == 3
    np.testing.assert_allclose(np.asarray(model(inputs, training=False)), np.mean(alone, axis=0), rtol=1e-4, atol=1e-4)
