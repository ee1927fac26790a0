"""Statistics come from all answers, and networks learn from a stable sample of the students."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from chalicelib.domain.lnirt import LnirtParameters
from chalicelib.features.constants import VersionConstants
from tests.support.histories import rebuilt, simulate
from training_job.fit import samples
from training_job.fit.lnirt import fit_lnirt
from training_job.fit.passes import Stage, stage_of, statistics_of, with_statistics
from training_job.fit.population import Population
from training_job.fit.samples import build_vocabulary, fit_constants, read_history_by_others
from training_job.fit.split import validation_rows
from training_job.history.answers import AnswerTable


@pytest.fixture(scope="module")
def table() -> AnswerTable:
    """120 students with 50 answers each on 25 topics."""
    return simulate(120, 25, 6000, seed=5)


def names(population: Population) -> set[str]:
    return {population.sample.user_ids[user] for user in np.unique(population.sample.user)}


def test_a_sample_has_whole_students_up_to_the_bound(table: AnswerTable) -> None:
    population = Population.of(table, 2000)
    assert 1500 < len(population.sample) <= 2000
    of_all, of_sample = np.bincount(table.user), np.bincount(population.sample.user, minlength=120)
    assert ((of_sample == of_all) | (of_sample == 0)).all()
    np.testing.assert_array_equal(population.sampled, np.isin(table.user, population.sample.user))


def test_a_small_cohort_is_its_own_sample(table: AnswerTable) -> None:
    population = Population.of(table, 6000)
    assert population.sample is table
    assert population.sampled.all()


def test_the_bound_leaves_one_student_at_least(table: AnswerTable) -> None:
    assert len(names(Population.of(table, 1))) == 1


def test_few_students_come_into_a_sample_as_histories_grow(table: AnswerTable) -> None:
    early = table.select(table.order < 4000)
    late_names, early_names = names(Population.of(table, 2000)), names(Population.of(early, 2000))
    assert len(late_names - early_names) <= 2
    assert len(early_names) > len(late_names)


def test_a_busy_student_neither_ends_a_sample_nor_breaks_its_bound(table: AnswerTable) -> None:
    for busy in range(0, 120, 7):
        user = np.where(np.arange(len(table)) < 3000, busy, table.user)
        population = Population.of(rebuilt(table, user=user), 1000)
        assert 900 < len(population.sample) <= 1000


def test_a_sample_does_not_depend_on_the_order_of_the_students(table: AnswerTable) -> None:
    turned = replace(table, user=(119 - table.user).astype(np.int32), user_ids=table.user_ids[::-1])
    turned = turned.select(np.ones(len(table), dtype=np.bool_))
    assert names(Population.of(turned, 2000)) == names(Population.of(table, 2000))


@pytest.mark.parametrize(("bound", "parts"), [(6000, 5), (3000, 3), (1200, 1)])
def test_each_student_learns_from_four_fifths_of_the_others(
    table: AnswerTable, bound: int, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    population = Population.of(table, bound)
    lnirt, learnt = fit_lnirt(table), list[AnswerTable]()
    everything = np.ones(len(table), dtype=np.bool_)
    vocabulary = build_vocabulary(population.sample, everything[population.sampled], fit_constants(table, lnirt))

    def fitted(others: AnswerTable, lnirt: LnirtParameters) -> VersionConstants:
        learnt.append(others)
        return fit_constants(others, lnirt)

    monkeypatch.setattr(samples, "fit_constants", fitted)
    read_history_by_others(population, everything, lnirt, vocabulary, 0)
    assert len(learnt) == parts
    assert all(len(others) > 0.75 * len(table) for others in learnt)
    assert sum(len(table) - len(others) for others in learnt) == len(population.sample)


def test_a_first_pass_knows_neither_the_newest_answers_of_the_sample_nor_those_of_others(table: AnswerTable) -> None:
    population = Population.of(table, 2000)
    newest = validation_rows(population.sample)
    older = population.older(~newest)
    np.testing.assert_array_equal(older[population.sampled], ~newest)
    others = table.select(~population.sampled)
    left_out = ~older[~population.sampled]
    assert left_out.mean() == pytest.approx(newest.mean(), abs=0.01)
    assert others.order[left_out].min() > others.order[~left_out].max()
    assert population.older(np.ones_like(newest)).all()


@pytest.fixture(scope="module")
def stage(table: AnswerTable) -> Stage:
    population = Population.of(table, 2000)
    return stage_of(population, ~validation_rows(population.sample), 0, lambda _: None)


def test_lnirt_learns_from_all_students_in_the_end(table: AnswerTable, stage: Stage) -> None:
    final = with_statistics(stage, statistics_of(stage.population.everything)).lnirt
    np.testing.assert_allclose(final.easiness, fit_lnirt(table).easiness, atol=1e-5)
    assert not np.allclose(stage.lnirt.easiness, final.easiness, atol=1e-3)


def test_networks_learn_from_the_sample(stage: Stage) -> None:
    assert len(stage.correctness.samples.target) == len(stage.table) == len(stage.population.sample)


def test_what_a_student_of_the_sample_learns_from_others_does_not_hold_own_answers(table: AnswerTable) -> None:
    """Without folds too: the others are those outside of the sample then."""
    population = Population.of(table, 1200)
    mine = np.flatnonzero(table.user == population.sample.user[0])
    changed = table.is_correct.copy()
    changed[mine[-1]] = not changed[mine[-1]]
    other = Population.of(rebuilt(table, is_correct=changed), 1200)
    everything = np.ones(len(table), dtype=np.bool_)
    lnirt = fit_lnirt(table)
    vocabulary = build_vocabulary(
        population.sample, np.ones(len(population.sample), dtype=np.bool_), fit_constants(table, lnirt)
    )
    own = population.sample.user == population.sample.user[0]
    before, after = (
        read_history_by_others(one, everything, lnirt, vocabulary, 0).dense[own] for one in (population, other)
    )
    np.testing.assert_array_equal(before, after)
    # Those of others do count.
    changed = np.where(np.isin(table.user, population.sample.user), table.is_correct, ~table.is_correct)
    others = Population.of(rebuilt(table, is_correct=changed), 1200)
    assert (read_history_by_others(others, everything, lnirt, vocabulary, 0).dense[own] != before).any()
