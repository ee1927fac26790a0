"""The yardsticks see only what they may, and score as published."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pytest

from evaluation.answers import AnswerFile
from evaluation.baselines import fsrs_chances, running_log_seconds, running_means, topic_means
from evaluation.dkt import dkt_chances
from evaluation.quality import Figures, after_pauses, in_windows, summary
from tests.support.histories import simulate
from training_job.history.answers import AnswerTable, Rows
from training_job.scores import auc, resampled_aucs

N = 400


@pytest.fixture
def table() -> AnswerTable:
    return simulate(20, 5, N)


def flipped(table: AnswerTable, rows: Rows) -> AnswerTable:
    """The table with other outcomes of some rows."""
    return dataclasses.replace(table, is_correct=np.where(rows, ~table.is_correct, table.is_correct))


def test_topic_means_know_the_training_rows_only(table: AnswerTable) -> None:
    known = np.arange(N) < 200
    np.testing.assert_array_equal(topic_means(table, known), topic_means(flipped(table, ~known), known))


def test_running_means_know_earlier_answers_and_training_rows(table: AnswerTable) -> None:
    item, known = table.topic.astype(np.int64), table.user >= 10
    before = running_means(table, item, known)
    row = int(np.flatnonzero(table.user == 3)[5])
    after = running_means(flipped(table, np.arange(N) == row), item, known)
    changed = np.flatnonzero(~np.isclose(before, after))
    assert changed.tolist() == list(range(row + 1, int(np.flatnonzero(table.user == 3)[-1]) + 1))


def test_a_running_mean_is_the_item_and_the_record_of_the_student() -> None:
    table = AnswerTable.from_columns(
        user=[0, 0, 1, 1], user_ids=["a", "b"], topic=[0] * 4, topics=["x"], difficulty=[2] * 4,
        is_correct=[True, True, True, False],
    )  # fmt: skip
    known = table.user == 1
    # The item: one of two, with the topic's 0.5 added five times. The record: half an answer over six.
    assert running_means(table, np.zeros(4, dtype=np.int64), known)[:2].tolist() == pytest.approx([0.5, 0.5 + 0.5 / 6])


def test_running_log_seconds_leave_out_answers_without_a_time() -> None:
    table = AnswerTable.from_columns(
        user=[0, 0, 0, 1, 1], user_ids=["a", "b"], topic=[0] * 5, topics=["x"], difficulty=[2] * 5,
        is_correct=[True] * 5, seconds=np.exp([3.0, np.nan, 9.0, 1.0, 3.0]),
    )  # fmt: skip
    item = np.zeros(5, dtype=np.int64)
    # The item takes 2 on average. The record at the third answer: one log second more, over one answer and five.
    expected = [2.0, 2.0 + 1.0 / 6.0, 2.0 + 1.0 / 6.0]
    assert running_log_seconds(table, item, table.user == 1)[:3].tolist() == pytest.approx(expected)
    with pytest.raises(ValueError, match="no known answer has a time"):
        running_log_seconds(table, item, np.arange(5) == 1)


def test_fsrs_forgets_with_time_and_falls_back_for_a_first_answer() -> None:
    days = [0.0, 1.0, 0.0, 30.0]
    table = AnswerTable.from_columns(
        user=[0, 0, 1, 1], user_ids=["a", "b"], topic=[0] * 4, topics=["x"], difficulty=[2] * 4, is_correct=[True] * 4,
        at=[datetime(2026, 1, 1, tzinfo=UTC).timestamp() + 86_400 * day for day in days],
    )  # fmt: skip
    chances = fsrs_chances(table, np.zeros(4, dtype=np.int64), np.full(4, 0.3))
    assert chances[[0, 2]].tolist() == [0.3, 0.3]
    assert 0.9 < chances[1] < 1.0
    assert chances[3] < 0.9


@pytest.mark.slow
def test_dkt_learns_from_the_training_students_only(table: AnswerTable) -> None:
    test = table.user < 4
    chances = dkt_chances(table, test, 30.0, seed=0)
    assert len(chances) == test.sum()
    last = np.flatnonzero(test)[np.flatnonzero(np.diff(table.user[test], append=-1))]
    again = dkt_chances(flipped(table, np.isin(np.arange(N), last)), test, 30.0, seed=0)
    np.testing.assert_allclose(chances, again, atol=1e-6)


def test_resampled_aucs_lie_around_the_auc(table: AnswerTable) -> None:
    score = np.round(np.random.default_rng(0).random(N) + 0.3 * table.is_correct, 1)
    found = resampled_aucs(table.is_correct, score, table.user, seed=0)
    middle = auc(table.is_correct, score)
    assert middle is not None
    assert abs(found.mean() - middle) < 0.02
    assert 0.005 < found.std() < 0.1
    one_student = np.zeros(N, dtype=np.int64)
    assert resampled_aucs(table.is_correct, score, one_student, seed=0).tolist() == pytest.approx([middle] * 200)


def test_windows_start_anew_and_their_first_answer_is_not_tested() -> None:
    table = simulate(1, 2, 450)
    answers = AnswerFile(table, table.topic.astype(np.int64), np.zeros(450, bool), np.full(450, -1), 0)
    cut, (test,) = in_windows(answers, [np.ones(450, dtype=bool)])
    assert np.bincount(cut.table.user).tolist() == [200, 200, 50]
    assert np.flatnonzero(~test).tolist() == [0, 200, 400]


def test_an_answer_after_a_pause_is_one_of_the_same_student() -> None:
    table = AnswerTable.from_columns(
        user=[0, 0, 0, 1], user_ids=["a", "b"], topic=[0] * 4, topics=["x"], difficulty=[2] * 4, is_correct=[True] * 4,
        at=[0, 60, 50_000, 200_000],
    )  # fmt: skip
    assert after_pauses(table).tolist() == [False, False, True, False]


def test_a_figure_is_the_mean_of_the_folds_with_its_deviation() -> None:
    parts: list[Figures] = [
        {"auc": 0.7, "dkt_auc": 0.6, "coverage80": None},
        {"auc": 0.8, "dkt_auc": 0.6, "coverage80": 0.8},
    ]
    figures = summary(parts, [np.full(200, 0.1), np.full(200, 0.2)])
    assert figures["auc"] == pytest.approx(0.75)
    assert figures["auc_sd"] == pytest.approx(0.1 / np.sqrt(2))
    assert figures["coverage80"] is None
    assert figures["auc_gain_over_dkt"] == figures["auc_gain_low"] == pytest.approx(0.15)
