"""The order of time over all students, on which the newest answers are held out."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training_job.history.answers import time_order

NAN = float("nan")


def order(rows: list[tuple[int, int, float]]) -> list[int]:
    user, index, at = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    return list(time_order(user, index, at))


def test_answers_are_ordered_by_time_over_students() -> None:
    assert order([(0, 0, 10.0), (0, 1, 30.0), (1, 0, 20.0)]) == [0, 2, 1]


def test_answers_without_a_time_come_first_as_of_students_who_join_one_after_the_other() -> None:
    rows = [(0, 0, NAN), (0, 1, NAN), (0, 2, NAN), (0, 3, NAN), (1, 0, NAN), (1, 1, NAN), (2, 0, 5.0)]
    assert order(rows) == [0, 1, 3, 5, 2, 4, 6]


def test_the_newest_of_many_histories_without_times_are_not_only_their_ends() -> None:
    places = np.array(order([(user, index, NAN) for user in range(200) for index in range(20)])).reshape(200, 20)
    newest = places >= 0.8 * places.size
    assert newest[:, :10].any()
    assert newest[:, -5:].any()
    assert newest[180:].sum() > newest[:20].sum()


def test_a_students_own_order_holds_where_clocks_disagree() -> None:
    assert order([(0, 0, 50.0), (0, 1, 40.0), (0, 2, NAN)]) == [0, 1, 2]


@given(st.lists(st.tuples(st.integers(0, 3), st.one_of(st.just(NAN), st.floats(0, 1e9))), min_size=1, max_size=40))
def test_the_order_is_a_permutation_that_keeps_each_students_own(answers: list[tuple[int, float]]) -> None:
    seen = {user: 0 for user, _ in answers}
    rows = []
    for user, at in answers:
        rows.append((user, seen[user], at))
        seen[user] += 1
    places = order(rows)
    assert sorted(places) == list(range(len(rows)))
    for user in seen:
        mine = [place for place, row in zip(places, rows, strict=True) if row[0] == user]
        assert mine == sorted(mine)
