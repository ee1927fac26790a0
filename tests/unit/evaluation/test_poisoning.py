"""Attacks add what they say to the answers of honest students, and the shift they cause is measured on others."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.attacks import BURST_ANSWERS, Attack, attacks, thin_topic
from evaluation.poisoning import Served, Split, shift
from tests.support.histories import simulate
from training_job.history.answers import AnswerTable


@pytest.fixture(scope="module")
def honest() -> AnswerTable:
    return simulate(60, 5, 1500, seed=3)


def hostile_of(attack: Attack, honest: AnswerTable) -> AnswerTable:
    both = attack.on(honest, 0)
    assert both.user_ids[: len(honest.user_ids)] == honest.user_ids
    kept = both.select(both.user < len(honest.user_ids))
    assert (kept.order == honest.order).all()
    assert (kept.is_correct == honest.is_correct).all()
    return both.select(both.user >= len(honest.user_ids))


@pytest.mark.parametrize("attack", attacks(60), ids=lambda attack: f"{attack.kind} {attack.accounts}")
def test_an_attack_has_its_accounts_and_keeps_honest_answers(attack: Attack, honest: AnswerTable) -> None:
    assert len(np.unique(hostile_of(attack, honest).user)) == attack.accounts


def test_the_heavy_account_gives_three_of_ten_answers(honest: AnswerTable) -> None:
    n = len(hostile_of(Attack("heavy", 1), honest))
    assert n / (n + len(honest)) == pytest.approx(0.3, abs=0.001)


def test_a_burst_is_on_the_topic_with_fewest_students(honest: AnswerTable) -> None:
    rare = honest.select((honest.topic != 2) | (honest.user < 25))
    hostile = hostile_of(Attack("burst", 7), rare)
    assert thin_topic(rare) == 2
    assert set(hostile.topic) == {2}
    assert len(hostile) == 7 * BURST_ANSWERS


def test_the_newest_answers_own_the_newest_fifth(honest: AnswerTable) -> None:
    hostile = hostile_of(Attack("newest", 3), honest)
    assert len(hostile) >= 0.2 * (len(hostile) + len(honest))
    assert hostile.order.min() > honest.order.max()


def test_wrong_and_inverted_outcomes(honest: AnswerTable) -> None:
    assert not hostile_of(Attack("wrong", 6), honest).is_correct.any()
    inverted = hostile_of(Attack("inverted", 60), honest)
    assert inverted.is_correct.mean() == pytest.approx(1 - honest.is_correct.mean())


def test_held_out_students_are_asked_once_more(honest: AnswerTable) -> None:
    split = Split.of(honest, 40, 10, 0)
    trained, held = np.unique(split.train.user), np.unique(split.held_out.user)
    assert (len(trained), len(held)) == (32, 8)
    assert not np.isin(held, trained).any()
    assert split.thin.sum() == 8
    assert (split.thin != split.test).all()
    assert set(split.held_out.topic[split.thin]) == {thin_topic(split.train)}
    assert np.bincount(split.train.user).max() == 10


def test_a_shift_is_absolute() -> None:
    clean = Served(np.array([0.5, 0.5]), np.array([0.7, 0.7]), np.array([0.5]))
    attacked = Served(np.array([0.4, 0.6]), np.array([0.9, 0.5]), np.array([0.2]))
    assert shift(attacked, clean, Attack("burst", 1)) == pytest.approx(
        {"mean": 0.1, "p95": 0.1, "topic": 0.3, "log_loss": 0.7}
    )
