"""A training does not learn from accounts that answer unlike students, nor too much from any one account."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.attacks import Attack
from tests.support.histories import rebuilt, simulate
from training_job.fit.lnirt import fit_success
from training_job.fit.sums import sums_of
from training_job.fit.trust import (
    INEXPERIENCED_SHARE,
    MAX_ANSWERS,
    MIN_STUDENTS,
    limited_rows,
    log_odds,
    trusted_answers,
    without_students,
)
from training_job.history.answers import COLUMN_TYPES, AnswerTable, Rows

HOSTILE_KINDS = ("heavy 1", "wrong 12", "inverted 12", "random 12", "newest 3", "newest 12")


@pytest.fixture(scope="module")
def honest() -> AnswerTable:
    """120 students with 50 answers each on 25 topics."""
    return simulate(120, 25, 6000, seed=5)


def hostile_names(table: AnswerTable) -> set[str]:
    return {table.user_ids[user] for user in np.unique(table.user) if table.user_ids[user].startswith("hostile")}


def everybody(table: AnswerTable) -> Rows:
    return np.ones(len(table.user_ids), dtype=np.bool_)


@pytest.mark.parametrize("attack", HOSTILE_KINDS)
def test_hostile_accounts_are_left_out(attack: str, honest: AnswerTable) -> None:
    kind, accounts = attack.split()
    learnt = trusted_answers(Attack(kind, int(accounts)).on(honest, 0))
    # A coin resembles a student of low ability, and some are not found.
    assert len(hostile_names(learnt)) <= (0.6 if kind == "random" else 0.25) * int(accounts)
    assert len(set(learnt.user_ids) & set(honest.user_ids)) >= 118


@pytest.mark.parametrize(("number", "kind"), [(0, "random"), (1, "inverted"), (2, "wrong")])
def test_accounts_of_each_kind_of_bot_are_most_likely_of_that_kind(number: int, kind: str, honest: AnswerTable) -> None:
    model = fit_success(sums_of(honest), len(honest.topics))
    attacked = Attack(kind, 20).on(honest, 0)
    odds = log_odds(sums_of(attacked.select(attacked.user >= len(honest.user_ids))), *model)
    assert (odds.argmax(axis=0) == number).mean() > 0.7


def test_a_training_is_as_if_hostile_accounts_had_never_been(honest: AnswerTable) -> None:
    attacked, clean = trusted_answers(Attack("wrong", 12).on(honest, 0)), trusted_answers(honest)
    assert (attacked.user_ids, attacked.topics) == (clean.user_ids, clean.topics)
    for name in COLUMN_TYPES:
        np.testing.assert_array_equal(getattr(attacked, name), getattr(clean, name))


def test_honest_students_are_learnt_from(honest: AnswerTable) -> None:
    assert len(trusted_answers(honest)) > 0.97 * len(honest)


def test_few_students_are_all_learnt_from() -> None:
    few = simulate(MIN_STUDENTS - 1, 5, 600)
    assert trusted_answers(few) is few


def test_all_are_learnt_from_when_too_many_are_unusual() -> None:
    coins = simulate(80, 25, 4000)
    half = coins.user % 2 == 0
    table = rebuilt(coins, is_correct=np.where(half, coins.topic % 2 == 0, coins.topic % 2 == 1))
    assert set(trusted_answers(table).user_ids) == set(table.user_ids)


def test_a_student_without_answers_does_not_confuse_the_numbers(honest: AnswerTable) -> None:
    gap = honest.select(honest.user != 7)
    left_out = np.arange(len(gap.user_ids)) == 3
    rest = without_students(gap, left_out)
    assert rest.user_ids == gap.user_ids[:3] + gap.user_ids[4:]
    names = [rest.user_ids[user] for user in rest.user]
    assert names == [gap.user_ids[user] for user in gap.user if user != 3]


def test_an_account_counts_on_a_topic_with_its_first_answers() -> None:
    table = simulate(1, 2, 300)
    counted = limited_rows(table, everybody(table))
    for topic in (0, 1):
        on_topic = table.topic == topic
        assert counted[on_topic].sum() == MAX_ANSWERS
        assert counted[on_topic][:MAX_ANSWERS].all()


def test_new_accounts_cannot_own_a_thin_topic(honest: AnswerTable) -> None:
    thin = honest.select((honest.topic != 4) | (honest.user < 30))
    attacked = Attack("burst", 20).on(thin, 0)
    counted = limited_rows(attacked, everybody(attacked))
    hostile, on_topic = attacked.user >= len(thin.user_ids), attacked.topic == 4
    assert counted[~hostile].all()
    assert 20 <= counted[hostile].sum() <= max(20, INEXPERIENCED_SHARE * (on_topic & ~hostile).sum() + 20)


def test_where_all_practise_one_topic_all_answers_count() -> None:
    table = simulate(70, 1, 1400)
    assert limited_rows(table, everybody(table)).all()
