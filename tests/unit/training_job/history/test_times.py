"""A time that is far from a student's other times counts as a less extreme one, in the state and in a training."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.features.state import Answer, replay
from ops.imports.placing import Placed, states
from training_job.history.answers import AnswerTable
from training_job.history.times import counted_log_seconds

SECONDS = st.one_of(st.none(), st.sampled_from([0.001, 10.0, 36000.0]), st.floats(100.0, 200.0))
HISTORIES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(1, 2), SECONDS), max_size=60)


def counted(*seconds: float) -> list[float]:
    n = len(seconds)
    logs = counted_log_seconds(np.log(seconds), np.ones(n, bool), np.zeros(n, int))
    return [round(float(value), 3) for value in np.exp(logs)]


@pytest.mark.parametrize(
    ("seconds", "as_counted"),
    [
        ((140, 140, 140, 10), (140, 140, 140, 35)),
        ((140, 140, 140, 7200), (140, 140, 140, 560)),
        ((140, 140, 140, 50, 400), (140, 140, 140, 50, 400)),  # what a student may well need
        ((140, 140, 10), (140, 140, 10)),  # two times say little about the third
        ((36000, 60, 60, 60, 60), (36000, 60, 60, 60, 60)),  # an odd first time leaves the others as they are
    ],
)
def test_one_odd_time_is_bounded(seconds: tuple[float, ...], as_counted: tuple[float, ...]) -> None:
    assert counted(*seconds) == pytest.approx(list(as_counted))


def test_a_lasting_change_of_pace_is_followed() -> None:
    assert counted(*[140] * 5, *[20] * 5)[-1] == 20


@given(HISTORIES)
def test_state_training_and_import_count_the_same(history: list[tuple[int, int, int, float | None]]) -> None:
    table = AnswerTable.from_columns(
        user=[user for user, *_ in history],
        user_ids=["ada", "ben"],
        topic=[topic for _, topic, *_ in history],
        topics=["algebra", "geometry"],
        difficulty=[difficulty for *_, difficulty, _ in history],
        is_correct=[True] * len(history),
        seconds=[np.nan if seconds is None else seconds for *_, seconds in history],
    )
    by_user = {name: [row for row in history if row[0] == user] for user, name in enumerate(table.user_ids)}
    replayed = {
        (name, row.topic, row.difficulty): (row.sum_log_seconds, row.sum_sq_log_seconds, row.decayed)
        for name, rows in by_user.items()
        for row in replay(name, [Answer(table.topics[t], d, True, seconds) for _, t, d, seconds in rows]).rows
    }
    number = itertools.count()
    placed = {
        name: [Placed(str(next(number)), None, table.topics[t], d, True, seconds, None) for _, t, d, seconds in rows]
        for name, rows in by_user.items()
    }
    for line in states(placed.items()):
        log_sum, squares, decayed = replayed[line.user_id, line.topic, line.difficulty]
        assert (line.sum_log_seconds, line.sum_sq_log_seconds) == pytest.approx((log_sum, squares))
        np.testing.assert_allclose(line.decayed, decayed, atol=1e-9)
    for (name, topic, difficulty), (log_sum, squares, _) in replayed.items():
        logs = table.counted_log_seconds[
            (table.user == table.user_ids.index(name))
            & (table.topic == table.topics.index(topic))
            & (table.difficulty == difficulty)
        ]
        assert (logs.sum(), np.square(logs).sum()) == pytest.approx((log_sum, squares))
