"""The first practice and the last outcome: the same whether counted one by one, replayed, or searched in a table."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.features.state import Answer, StateRow, UserState, advance, replay
from tests.support.histories import rows_by_key, state_before
from training_job.history.answers import AnswerTable

TOPICS = [f"topic {i}" for i in range(4)]

ANSWERS = st.lists(
    st.builds(
        Answer,
        topic=st.sampled_from(TOPICS),
        difficulty=st.integers(1, 4),
        is_correct=st.booleans(),
        seconds=st.sampled_from([None, 0.0, 30.0]),
    ),
    max_size=40,
)


def firsts(state: UserState) -> dict[tuple[str, int], int]:
    return {key: row.first_index for key, row in rows_by_key(state).items()}


def lasts(state: UserState) -> dict[tuple[str, int], bool]:
    return {key: row.last_correct for key, row in rows_by_key(state).items()}


def test_the_first_practice_is_counted_over_all_topics_and_stays() -> None:
    answers = [Answer(topic, 2, True) for topic in ("a", "b", "b", "a", "c", "b")]
    rows = rows_by_key(replay("ada", answers))
    assert [(key, row.first_index, row.last_index) for (key, _), row in rows.items()] == [
        ("a", 0, 3),
        ("b", 1, 5),
        ("c", 4, 4),
    ]


@given(ANSWERS)
@settings(max_examples=100)
def test_answers_added_one_by_one_a_replay_and_a_search_find_the_same_first_practice_and_last_outcome(
    answers: list[Answer],
) -> None:
    rows: dict[tuple[str, int], StateRow] = {}
    for index, answer in enumerate(answers):
        key = (answer.topic, answer.difficulty)
        rows[key] = advance(rows.get(key), answer, index)
    keys = [(answer.topic, answer.difficulty) for answer in answers]
    replayed = replay("ada", answers)
    assert rows == rows_by_key(replayed)
    assert firsts(replayed) == {key: keys.index(key) for key in keys}
    assert lasts(replayed) == {key: answer.is_correct for key, answer in zip(keys, answers, strict=True)}


@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.integers(0, 1000))
@settings(max_examples=50)
def test_the_first_practice_and_last_outcome_of_stored_states_are_those_of_the_whole_history(
    users: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    n = len(users)
    table = AnswerTable.from_columns(
        user=users,
        user_ids=["a", "b", "c"],
        topic=rng.integers(4, size=n),
        topics=TOPICS,
        difficulty=rng.integers(1, 5, size=n),
        is_correct=rng.random(n) < 0.5,
    )
    index = np.arange(n) - np.searchsorted(table.user, table.user)
    for row in range(n):
        known = np.flatnonzero((table.user == table.user[row]) & (np.arange(n) < row))
        expected: dict[tuple[str, int], int] = {}
        for i in known[::-1]:
            expected[table.topics[table.topic[i]], int(table.difficulty[i])] = int(index[i])
        outcomes = {(table.topics[table.topic[i]], int(table.difficulty[i])): bool(table.is_correct[i]) for i in known}
        state = state_before(table, row)
        assert firsts(state) == expected
        assert lasts(state) == outcomes
