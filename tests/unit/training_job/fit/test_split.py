"""The hold-out is the newest fifth of the answers, and no account owns it."""

from __future__ import annotations

import numpy as np

from evaluation.attacks import Attack
from tests.support.histories import simulate
from training_job.fit.split import MAX_OF_STUDENT, MIN_OF_STUDENT, validation_rows


def test_the_newest_fifth_is_held_out() -> None:
    table = simulate(60, 5, 3000)
    assert (validation_rows(table) == (table.order >= 2400)).all()


def test_one_account_with_the_newest_answers_owns_little_of_the_hold_out() -> None:
    honest = simulate(200, 5, 16_000)
    attacked = Attack("newest", 1).on(honest, 0)
    held_out = validation_rows(attacked)
    assert held_out.sum() == 4000
    assert (held_out & (attacked.user >= 200)).sum() == max(MIN_OF_STUDENT, MAX_OF_STUDENT * 4000)


def test_a_single_student_has_a_hold_out_as_before() -> None:
    table = simulate(1, 5, 2000)
    assert validation_rows(table).sum() == 400
    assert np.flatnonzero(validation_rows(table)).min() == 1600
