"""The state read row by row and the whole history at once must be the same arithmetic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.features.inputs import FEATURE_SCHEMA, dense_columns, monotone_columns, time_priors
from chalicelib.features.item_effects import ItemTable
from chalicelib.features.items import ANSWERS_COUNTED, ItemRecord
from chalicelib.features.pooled import PooledLayout, Pooling
from chalicelib.features.sequences import N_SEQUENCES
from chalicelib.features.state import DECAY_ANSWERS, advance, replay
from chalicelib.features.summary import StateView
from tests.support.archives import N_ITEM_COLUMNS_BEFORE
from tests.support.histories import answers_of, begun_at, record_before, record_of, simulate, state_before, time_of
from tests.support.models import constants_of, model_of
from training_job.history.answers import AnswerTable
from training_job.history.pooled import PooledSteps
from training_job.history.scan import exclusive_decayed
from training_job.history.steps import answer_steps
from training_job.history.summaries import summarise_history, user_chunks

LAYOUT = PooledLayout(((0, 0), (1, 1), (3, 2)), 3)
OTHER_LAYOUT = PooledLayout(((3, 1), (4, 3)), 3)


ITEMS = ItemTable(np.array([-7, 1 << 60]), np.array([0.5, -1.0]), np.array([0.25, 0.0]))


@st.composite
def histories(draw: st.DrawFn) -> AnswerTable:
    n = draw(st.integers(1, 25))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=n, max_size=n))

    start = draw(st.one_of(st.none(), st.floats(1e9, 2e9)))
    gaps = column(st.floats(0, 1e6))
    return AnswerTable.from_columns(
        user=column(st.integers(0, 2)),
        user_ids=["a", "b", "c"],
        topic=column(st.integers(0, 3)),
        topics=[f"topic {i}" for i in range(4)],
        difficulty=column(st.integers(1, 4)),
        is_correct=column(st.booleans()),
        seconds=column(st.sampled_from([np.nan, 0.1, 5.0, 60.0, 72000.0])),
        at=None if start is None else start + np.cumsum(gaps),
        item=column(st.sampled_from([0, *ITEMS.keys.tolist(), 99])),
    )


@settings(max_examples=25)
@given(histories(), st.booleans(), st.sampled_from([(), ("",)]))
def test_a_whole_history_gives_what_each_stored_state_gives(
    table: AnswerTable, times: bool, subjects: tuple[str, ...]
) -> None:
    model = model_of(3, times=times, subjects=subjects)  # the fourth topic is unknown to the model
    constants = replace(constants_of(model), items=ITEMS)
    steps, column = answer_steps(table, model), np.array([0, 1, 2, 2])
    pooled, other = (
        PooledSteps.of(table, steps, column[table.topic], layout).vectors(np.arange(len(table)))
        for layout in (LAYOUT, OTHER_LAYOUT)
    )
    for rows in user_chunks(table, 7):
        batch = summarise_history(table, rows, constants)
        dense = dense_columns(batch, model, time_priors(batch, model))
        for i, row in enumerate(range(rows.start, rows.stop)):
            state = state_before(table, row)
            topic, difficulty = table.topics[table.topic[row]], int(table.difficulty[row])
            view = StateView(state, constants)
            one = view.summary(topic, difficulty, begun_at(table, row), record_before(table, row))
            for field in msgspec.structs.fields(one):
                expected: Any = getattr(one, field.name)
                np.testing.assert_allclose(
                    getattr(batch, field.name)[i], expected, rtol=1e-6, atol=1e-6, err_msg=field.name
                )
            single = dense_columns(one, model, time_priors(one, model))
            np.testing.assert_allclose(dense[i], single[0], rtol=1e-4, atol=1e-4)
            columns = np.array([column[int(item.topic[-1])] for item in state.rows], dtype=np.int64)
            vectors = Pooling((OTHER_LAYOUT, LAYOUT)).vectors(view.decayed, columns, column[table.topic[[row, row]]])
            np.testing.assert_allclose(np.repeat(pooled[[row]], 2, axis=0), vectors[1], atol=2e-3)
            np.testing.assert_allclose(np.repeat(other[[row]], 2, axis=0), vectors[0], atol=2e-3)


def test_the_population_of_these_tests_has_something_to_say_of_most_answers() -> None:
    table = simulate(10, 4, 300)
    model = model_of(3)
    past = summarise_history(table, slice(0, len(table)), constants_of(model))
    assert past.sequences.shape == (300, N_SEQUENCES)
    assert (np.abs(past.sequences) > 0).mean(axis=0).min() > 0.2
    assert (past.sequences == 0).mean(axis=0).min() > 0.02
    assert (np.abs(past.trait_success) > 0).mean() > 0.9
    assert (np.abs(past.trait_log_seconds) > 0).mean() > 0.9


@settings(max_examples=50)
@given(histories(), st.booleans(), st.integers(1, 4))
def test_the_dense_columns_do_not_know_how_the_last_answer_on_the_asked_topic_was(
    table: AnswerTable, times: bool, difficulty: int
) -> None:
    model = model_of(3, times=times)
    answers = answers_of(table, np.flatnonzero(table.user == table.user[0]).tolist())
    asked = answers[0].topic
    latest = max(number for number, answer in enumerate(answers) if answer.topic == asked)
    columns, lasts, abilities = [], [], []
    items = [number for number, answer in enumerate(answers) if number % 3 and answer.topic == asked]
    for outcome in (True, False):
        changed = list(answers)
        changed[latest] = msgspec.structs.replace(answers[latest], is_correct=outcome)
        past = StateView(replay("a", changed), constants_of(model)).summary(
            asked, difficulty, answers[-1].at, record_of(1, [(number, changed[number]) for number in items])
        )
        columns.append(dense_columns(past, model, time_priors(past, model)))
        lasts.append(past.last_outcome)
        abilities.append(past.ability)
    np.testing.assert_allclose(columns[0], columns[1], atol=1e-6)
    assert lasts == [1.0, -1.0]
    assert abilities[0] > abilities[1]


def test_a_record_on_an_item_counts_its_newest_answers_only() -> None:
    n = ANSWERS_COUNTED + 20
    correct = np.arange(n) < 30
    table = AnswerTable.from_columns(
        user=np.zeros(n), user_ids=["a"], topic=np.zeros(n), topics=["topic 1"], difficulty=np.ones(n),
        is_correct=correct, item=np.full(n, 99),
    )  # fmt: skip
    past = summarise_history(table, slice(0, n), constants_of(model_of(3)))
    record = record_before(table, n - 1)
    assert (record.attempts, record.correct) == (ANSWERS_COUNTED, int(correct[-ANSWERS_COUNTED - 1 : -1].sum()))
    assert (past.item_attempts[-1], past.item_correct[-1]) == (record.attempts, record.correct)


def test_the_time_that_an_answer_takes_is_not_part_of_the_pause_before_it() -> None:
    table = AnswerTable.from_columns(
        user=[0, 0], user_ids=["a"], topic=[0, 0], topics=["topic 1"], difficulty=[1, 1], is_correct=[1, 1],
        seconds=[10.0, 600.0], at=[1000.0, 8200.0], item=[5, 5],
    )  # fmt: skip
    past = summarise_history(table, slice(0, 2), constants_of(model_of(3)))
    for hours in (past.hours_since_topic, past.hours_since_any, past.hours_since_item):
        assert hours[1] == pytest.approx((8200.0 - 600.0 - 1000.0) / 3600.0)


def test_the_dense_columns_are_those_that_the_schema_stands_for() -> None:
    """Networks were trained on these columns: who changes one raises FEATURE_SCHEMA, and notes the new sums here."""
    table = simulate(1, 4, 60)
    model = model_of(3)
    sums, of_schema_4, of_schema_3, monotone = [], [], [], []
    for row in (7, 30, 59):
        past = StateView(state_before(table, row), constants_of(model)).summary(
            "topic 1", 2, time_of(table, row), ItemRecord(1, 3, 2, True, row - 2, time_of(table, row - 2))
        )
        dense, older = (dense_columns(past, model, time_priors(past, model), schema)[0] for schema in (5, 4))
        weighted, weighted_4, weighted_5 = (
            part * np.cos(np.arange(len(part))) for part in (dense, older, monotone_columns(past)[0])
        )
        sums.append(float(weighted.sum()))
        of_schema_4.append(float(weighted_4.sum()))
        of_schema_3.append(float(weighted_4[:-N_ITEM_COLUMNS_BEFORE].sum()))
        monotone.append(float(weighted_5.sum()))
        assert monotone_columns(past, 4).tolist() == [[past.last_outcome]]
    assert of_schema_3 == pytest.approx([-12.22294, -12.44523, -12.05253], abs=1e-4)
    assert of_schema_4 == pytest.approx([-8.59706, -1.31018, -1.03470], abs=1e-4)
    assert {FEATURE_SCHEMA: sums} == {5: pytest.approx([-11.95331, -8.06680, -10.23542], abs=1e-4)}
    assert monotone == pytest.approx([-1.88241, -1.00842, -0.78513], abs=1e-4)


def test_a_history_of_a_hundred_thousand_answers_of_one_student_stays_finite() -> None:
    n = 100_000
    steps = np.ones((n, 1))
    sums = exclusive_decayed(steps, np.arange(n), np.zeros(n, dtype=np.int64), DECAY_ANSWERS)
    limit = 1 / (np.exp(1 / DECAY_ANSWERS) - 1)
    np.testing.assert_allclose(sums[-1, 0], limit, rtol=1e-9)


def test_a_table_is_sorted_by_student_and_then_by_time() -> None:
    table = AnswerTable.from_columns(
        user=[1, 0, 1], user_ids=["a", "b"], topic=[0, 0, 0], topics=["t"], difficulty=[1, 2, 3],
        is_correct=[1, 0, 1], seconds=[0.0, -3.0, 5.0], order=[9, 5, 2],
    )  # fmt: skip
    assert table.user.tolist() == [0, 1, 1]
    assert table.difficulty.tolist() == [2, 3, 1]
    assert table.timed.tolist() == [False, True, False]
    assert table.select(np.array([True, False, True])).order.tolist() == [5, 9]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"difficulty": [5]}, "difficulty"),
        ({"topic": [1]}, "topic"),
        ({"user": [-1]}, "user"),
        ({"is_correct": [True, False]}, "shape"),
    ],
)
def test_a_table_refuses_columns_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    columns: dict[str, Any] = {
        "user": [0], "user_ids": ["a"], "topic": [0], "topics": ["t"], "difficulty": [1], "is_correct": [True],
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        AnswerTable.from_columns(**{**columns, **change})


def test_advancing_out_of_order_is_refused() -> None:
    table = simulate(1, 1, 2)
    first, second = answers_of(table, [0, 1])
    row = advance(None, first, 3)
    with pytest.raises(ValueError, match="does not follow"):
        advance(row, msgspec.structs.replace(second, difficulty=first.difficulty), 3)
