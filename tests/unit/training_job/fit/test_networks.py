"""The Keras graphs: a success never counts against its student, and members are averaged exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.archives import network_inputs
from training_job.fit.networks import NetworkShape, build_network, combined

SHAPE = NetworkShape("correctness", n_topics=4, n_users=3, n_dense=6, n_pooled=8)

pytestmark = pytest.mark.slow


def random_inputs(n: int, seed: int) -> dict[str, Any]:
    return network_inputs(n, SHAPE.n_dense, SHAPE.n_pooled, n_topics=SHAPE.n_topics, n_users=SHAPE.n_users, seed=seed)


def with_random_weights(seed: int) -> Any:
    model, rng = build_network(SHAPE), np.random.default_rng(seed)
    model.set_weights([rng.normal(size=weights.shape) for weights in model.get_weights()])
    return model


@pytest.mark.parametrize("seed", range(5))
def test_no_weights_make_a_success_or_freshness_lower_a_prediction(seed: int) -> None:
    model, inputs = with_random_weights(seed), random_inputs(200, seed)
    for column in range(SHAPE.n_monotone):
        high, low = inputs["last"].copy(), inputs["last"].copy()
        high[:, column], low[:, column] = 1.0, -1.0
        right, wrong = (np.asarray(model({**inputs, "last": last}, training=False)) for last in (high, low))
        assert (right >= wrong).all()


def test_several_members_give_their_mean() -> None:
    members, inputs = [with_random_weights(seed) for seed in range(3)], random_inputs(50, 9)
    model, shape = combined(members, SHAPE)
    alone = [np.asarray(member(inputs, training=False)) for member in members]
    assert shape.members == 3
    np.testing.assert_allclose(np.asarray(model(inputs, training=False)), np.mean(alone, axis=0), rtol=1e-4, atol=1e-4)
