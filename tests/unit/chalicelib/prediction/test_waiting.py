"""Waiting never raises the chance of success that a student sees."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chalicelib.domain.forgetting import Forgetting
from chalicelib.domain.lnirt_json import from_json, to_json
from chalicelib.domain.predictions import Source
from chalicelib.features.items import ItemRecord
from chalicelib.features.state import Answer, UserState, replay
from chalicelib.prediction.predictor import Predictor, predict, predict_at
from tests.support.archives import N_DENSE, version_files
from training_job.fit.networks import NetworkShape, archive_bytes, build_network

pytestmark = pytest.mark.slow

NOW = datetime(2026, 1, 31, tzinfo=UTC)

HOURS = st.one_of(st.floats(0, 1), st.floats(0, 1000), st.floats(0, 1e5))

ANSWERS = st.lists(
    st.builds(
        Answer,
        st.sampled_from(["topic 0", "topic 1", "topic 2", "elsewhere"]),
        st.integers(1, 4),
        st.booleans(),
        st.one_of(st.none(), st.floats(0, 1000)),
        st.one_of(st.none(), st.floats(0, 1000).map(lambda hours: NOW - timedelta(hours=hours))),
    ),
    max_size=6,
)


@cache
def version(seed: int) -> Predictor:
    """A version with forgetting, and networks of the trained graph with random weights."""
    files, rng = version_files(), np.random.default_rng(seed)
    for name in ("correctness", "time"):
        model = build_network(NetworkShape(name, 4, 2, N_DENSE, 4))
        model.set_weights([rng.normal(scale=0.2, size=weights.shape) for weights in model.get_weights()])
        if name == "correctness":
            # Slopes near 0.1, so that the bounds of probabilities do not hide what the clock does.
            kernel, bias = model.get_layer("last_slope_1").get_weights()
            model.get_layer("last_slope_1").set_weights([kernel, bias - 2.0])
        files[f"{name}_model.keras"] = archive_bytes(model)
    lnirt = from_json(files["lnirt.json"])
    rows = len(lnirt.easiness)
    forgetting = Forgetting(0.02 * rng.random(rows), rng.random(rows), 0.02, 0.4, 0.02, 0.1)
    files["lnirt.json"] = to_json(replace(lnirt, forgetting=forgetting))
    return Predictor.from_files(files)


def record_of(state: UserState, dated: bool) -> ItemRecord:
    """A record on an item whose last answer is the last one of the state."""
    if not state.n_answers:
        return ItemRecord(5)
    return ItemRecord(5, 3, 2, True, state.n_answers - 1, NOW - timedelta(hours=2) if dated else None)


@given(
    st.integers(0, 1),
    ANSWERS,
    st.sampled_from(["topic 0", "topic 1", "new"]),
    st.integers(1, 4),
    st.booleans(),
    HOURS,
    HOURS,
)
@example(0, [Answer("topic 0", 1, True, 5.0, NOW)], "topic 0", 1, True, 0.0, 0.001)
@settings(max_examples=60)
def test_waiting_never_raises_the_chance(
    seed: int, answers: list[Answer], topic: str, difficulty: int, dated: bool, hours: float, longer: float
) -> None:
    predictor, state = version(seed), replay("ada", answers)
    item = record_of(state, dated)
    first, second = (NOW + timedelta(hours=passed) for passed in (hours, hours + longer))
    before, after = (predict(predictor, state, topic, difficulty, moment, item).correct for moment in (first, second))
    assert after <= before
    (many,), (later,) = predict_at(predictor, state, [(topic, difficulty)], [first, second])
    assert later.correct <= many.correct + 1e-6


def test_waiting_lowers_the_chance_of_every_source() -> None:
    predictor, state = version(0), replay("ada", [Answer("topic 0", 2, True, 5.0, NOW), Answer("x", 2, True, 5.0, NOW)])
    for topic, source in (("topic 0", Source.EMBEDDING), ("x", Source.LNIRT)):
        soon, later = (predict(predictor, state, topic, 2, NOW + timedelta(days=days)) for days in (0, 30))
        assert soon.source is later.source is source
        assert later.correct < soon.correct - 0.01


def test_without_dates_the_clock_changes_nothing() -> None:
    predictor, state = version(0), replay("ada", [Answer("topic 0", 2, True, 5.0, None)])
    soon, later = (predict(predictor, state, "topic 0", 2, NOW + timedelta(days=days)) for days in (0, 30))
    assert soon == later
