"""Accounts that look like bots are reported, each with its reason, and students are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evaluation.attacks import Attack
from ops.anomalies import anomalies
from tests.support.histories import rebuilt, simulate
from training_job.history.answers import COLUMN_TYPES, AnswerTable


@pytest.fixture(scope="module")
def honest() -> AnswerTable:
    return simulate(100, 25, 5000, seed=5)


def reasons(table: AnswerTable) -> dict[str, tuple[str, ...]]:
    return {one.user_id: one.reasons for one in anomalies(table)}


def test_students_are_not_reported(honest: AnswerTable) -> None:
    assert len(anomalies(honest)) <= 1


@pytest.mark.parametrize(
    ("kind", "words"), [("wrong", "incorrectly"), ("inverted", "the opposite"), ("heavy", "opposite")]
)
def test_what_trainings_leave_out_is_reported(kind: str, words: str, honest: AnswerTable) -> None:
    found = reasons(Attack(kind, 1).on(honest, 0))
    assert [words in reason for reason in found["hostile 0"]] == [True]


def test_an_account_that_is_always_right_is_reported(honest: AnswerTable) -> None:
    right = rebuilt(honest, is_correct=honest.is_correct | (honest.user == 7))
    assert any("answers are correct, where others would have" in reason for reason in reasons(right)["student 7"])


def test_answers_faster_than_reading_are_reported(honest: AnswerTable) -> None:
    fast = rebuilt(honest, seconds=np.where(honest.user == 7, 0.4, honest.seconds))
    assert reasons(fast)["student 7"] == ("half of its answers took less than 0.4 seconds",)


@pytest.mark.parametrize("timed", [True, False])
def test_a_copy_of_another_account_is_reported(timed: bool, honest: AnswerTable) -> None:
    source = honest if timed else rebuilt(honest, seconds=None)
    copied = source.select(source.user == 3)
    late = replace(copied, user=np.full(len(copied), 100, dtype=np.int32), order=copied.order + len(source))
    both = AnswerTable.from_columns(
        user_ids=(*source.user_ids, "copy"),
        topics=source.topics,
        **{name: np.concatenate([getattr(source, name), getattr(late, name)]) for name in COLUMN_TYPES},
    )
    found = reasons(both)
    assert found["copy"] == ("its answers are those of student 3",)
    assert "student 3" not in found


def test_students_who_are_all_right_in_one_order_are_no_copies() -> None:
    exam = AnswerTable.from_columns(
        user=np.repeat(np.arange(30), 60), user_ids=[f"e{n}" for n in range(30)], topic=np.tile(np.arange(60), 30),
        topics=[f"item {n}" for n in range(60)], difficulty=np.full(1800, 2), is_correct=np.ones(1800),
    )  # fmt: skip
    assert anomalies(exam) == []
