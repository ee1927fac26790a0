"""Item effects: recovered from simulated answers, and hard to move for one account."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from chalicelib.features.item_effects import ItemTable
from tests.support.histories import simulate
from training_job.fit import items
from training_job.fit.items import fit_items
from training_job.fit.lnirt import fit_lnirt
from training_job.history.answers import AnswerTable

EFFECTS = np.array([1.2, 0.0, -1.2])
TIMES = np.array([-0.5, 0.0, 0.5])


def with_items(n_answers: int = 12_000) -> AnswerTable:
    """Answers on three items of each topic: an easy and quick one, an average one, and a hard and slow one."""
    table = simulate(150, 3, n_answers)
    rng = np.random.default_rng(1)
    kind = rng.integers(3, size=n_answers)
    chance = 1.0 / (1.0 + np.exp(-EFFECTS[kind]))
    correct = rng.random(n_answers) < chance
    seconds = table.seconds * np.exp(TIMES[kind])
    return replace(table, is_correct=correct, seconds=seconds, item=table.topic.astype(np.int64) * 3 + kind + 1)


@pytest.fixture(scope="module")
def table() -> AnswerTable:
    return with_items()


@pytest.fixture(scope="module")
def fitted(table: AnswerTable) -> ItemTable:
    return fit_items(table, fit_lnirt(table))


def test_easy_and_quick_items_are_told_from_hard_and_slow_ones(fitted: ItemTable) -> None:
    assert fitted.keys.tolist() == list(range(1, 10))
    success, time = fitted.success.reshape(3, 3), fitted.time.reshape(3, 3)
    assert (np.diff(success, axis=1) < -0.4).all()
    assert (np.diff(time, axis=1) > 0.3).all()


def test_an_unknown_item_has_no_effect(fitted: ItemTable) -> None:
    assert fitted.lookup(np.array([0, 99, -5])).tolist() == [[0.0, 0.0]] * 3
    assert fitted.lookup_one(None) == fitted.lookup_one(99) == (0.0, 0.0)
    assert fitted.lookup_one(1) == (fitted.success[0], fitted.time[0])


def test_a_student_counts_once_on_an_item(table: AnswerTable, fitted: ItemTable) -> None:
    mine = np.flatnonzero((table.user == table.user[0]) & (table.item == 1))
    stubborn = np.concatenate([np.arange(len(table)), np.full(500, mine[-1])])
    columns = {name: getattr(table, name)[stubborn] for name in ("user", "topic", "difficulty", "seconds", "item")}
    correct = np.concatenate([table.is_correct, np.zeros(500, dtype=np.bool_)])
    repeated = AnswerTable.from_columns(
        user_ids=table.user_ids, topics=table.topics, is_correct=correct, **columns,
    )  # fmt: skip
    # The student's ability falls by so many failures, and with it what the other items expected of one student.
    np.testing.assert_allclose(fit_items(repeated, fit_lnirt(table)).success, fitted.success, atol=0.05)


def test_an_item_of_one_student_has_no_effect(table: AnswerTable) -> None:
    alone = replace(table, item=table.user.astype(np.int64) + 1)
    assert not len(fit_items(alone, fit_lnirt(table)).keys)


def test_only_the_most_answered_items_are_kept(table: AnswerTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "MAX_ITEMS", 4)
    assert len(fit_items(table, fit_lnirt(table)).keys) == 4


def test_answers_without_items_give_no_effects() -> None:
    plain = simulate(20, 3, 300)
    assert not len(fit_items(plain, fit_lnirt(plain)).keys)


def test_learning_an_item_is_no_effect_of_the_item(table: AnswerTable) -> None:
    """First answers on items are much harder than later ones, so LNIRT's easiness is that of the later ones."""
    pair = table.user.astype(np.int64) * 100 + table.item
    first = np.zeros(len(table), dtype=np.bool_)
    first[np.unique(pair, return_index=True)[1]] = True
    rng = np.random.default_rng(2)
    chance = np.where(first, 0.2, 0.8) + 0.1 * ((table.item - 1) % 3 - 1)
    learnt = replace(
        table, is_correct=rng.random(len(table)) < chance, seconds=np.where(first, 60.0, 20.0) * rng.uniform(0.9, 1.1)
    )
    found = fit_items(learnt, fit_lnirt(learnt))
    for effects in (found.success, found.time):
        assert effects.mean() == pytest.approx(0.0, abs=0.1)
    assert (np.diff(found.success.reshape(3, 3), axis=1) > 0.1).all()
