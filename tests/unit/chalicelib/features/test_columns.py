"""A state's rows and its columns are the same, whichever it was made of, and predictions do not know the difference."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from chalicelib.domain.numerics import Columns, Row, columns_of, functions_for, side_by_side, table_columns
from chalicelib.features.columns import (
    NUMBERS,
    StateColumns,
    StoredRows,
    decayed_to_bytes,
    rows_from_bytes,
    without_topic,
)
from chalicelib.features.state import Answer, UserState, replay
from chalicelib.prediction.predictor import Predictor, predict
from tests.support.archives import attentive_files

MOMENTS = st.datetimes(
    datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.sampled_from([UTC, timezone(timedelta(hours=5))])
)

STATES = st.lists(
    st.builds(
        Answer,
        topic=st.sampled_from(["topic 0", "topic 1", "Ünïcode \N{GREEK SMALL LETTER ALPHA}", "elsewhere"]),
        difficulty=st.integers(1, 4),
        is_correct=st.booleans(),
        seconds=st.sampled_from([None, 0.0, 0.3, 30.0, 86_400.0]),
        at=st.none() | MOMENTS,
    ),
    max_size=30,
).map(lambda answers: replay("student 0", answers))


def kept_as_columns(state: UserState) -> UserState:
    return replace(state, rows=StoredRows(StateColumns.of_rows(state.rows)))


def packed(state: UserState) -> bytes:
    """What PostgreSQL sends of a state: numbers big-endian, each row followed by its decayed block as it is stored."""
    numbers = StateColumns.of_rows(state.rows).numbers
    blocks = [decayed_to_bytes(row.decayed) for row in state.rows]
    return b"".join(struct.pack(f">{len(NUMBERS)}d", *row) + block for row, block in zip(numbers, blocks, strict=True))


def assert_same_rows(found: UserState, expected: UserState) -> None:
    assert found == expected
    assert len(found.rows) == len(expected.rows)
    for row, other in zip(found.rows, expected.rows, strict=True):
        assert row.last_at == other.last_at
        assert (row.decayed == other.decayed).all()


@given(STATES)
@settings(max_examples=100)
def test_rows_come_back_from_columns_as_they_were(state: UserState) -> None:
    stored = kept_as_columns(state)
    assert_same_rows(stored, state)
    assert hash(stored) == hash(state)
    assert list(stored.rows[1:]) == list(state.rows[1:])


@given(STATES)
@settings(max_examples=100)
def test_rows_come_back_from_what_postgresql_sends(state: UserState) -> None:
    topics = json.loads(json.dumps([row.topic for row in state.rows]))
    assert_same_rows(replace(state, rows=rows_from_bytes(topics, packed(state))), state)


def test_bytes_that_are_no_rows_are_refused() -> None:
    state = replay("student 0", [Answer("topic 0", 1, True)])
    with pytest.raises(ValueError, match="buffer size"):
        rows_from_bytes(["topic 0"], packed(state)[:-8])


@given(STATES)
@settings(max_examples=50)
def test_a_state_without_a_topic_has_the_other_topics_rows(state: UserState) -> None:
    found = without_topic(state, "topic 1")
    assert list(found.rows) == [row for row in state.rows if row.topic != "topic 1"]
    assert (found.user_id, found.n_answers) == (state.user_id, state.n_answers)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_files(attentive_files())


@given(STATES, st.integers(1, 4), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_a_prediction_is_the_same_from_rows_in_any_order_and_from_columns(
    predictor: Predictor, state: UserState, difficulty: int, random: object
) -> None:
    shuffled = replace(state, rows=tuple(random.sample(list(state.rows), len(state.rows))))  # type: ignore[attr-defined]
    now = datetime(2100, 1, 2, tzinfo=UTC)
    for topic in ("topic 0", "elsewhere", "never met"):
        expected = predict(predictor, state, topic, difficulty, now)
        for other in (kept_as_columns(state), shuffled):
            found = predict(predictor, other, topic, difficulty, now)
            assert found.correct == pytest.approx(expected.correct, abs=1e-6)
            assert structs.replace(found, correct=0.0) == structs.replace(expected, correct=0.0)


@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_a_formula_on_floats_and_on_arrays_gives_the_same(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, rows = rng.normal(size=(n, 3)), rng.integers(0, 5, n)
    table = rng.normal(size=(5, 2))

    def formula(values: Columns, row: Row) -> Any:
        f = functions_for(row)
        a, b, c = columns_of(values)
        d, e = table_columns(table, row)
        assert f.any_true(a * a >= 0.0)
        assert not f.any_true(a * a < 0.0)
        columns = [f.logistic(a), f.where(b > 0, b, f.exp(c)), f.bounded(d * e, -0.5, 0.5), f.log1p(f.maximum(a, 0.0))]
        return side_by_side([*columns, f.sqrt(a * a), f.log(b * b), f.tanh(c), f.minimum(a, b), 1.0], row)

    together = formula(values, rows)
    one_by_one = np.concatenate([formula(values[i].tolist(), int(rows[i])) for i in range(n)])
    np.testing.assert_allclose(together, one_by_one, rtol=1e-6, atol=1e-6)  # rounded to float32
