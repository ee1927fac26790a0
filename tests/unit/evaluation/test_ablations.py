"""A part that is left out says nothing any more, in the training and in the test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from chalicelib.features.inputs import N_ITEM_COLUMNS
from chalicelib.prediction.chain import bounded_probability
from evaluation.ablations import N_OTHERS, PARTS, difference, without
from evaluation.additive import additive_chances
from tests.support.histories import simulate
from training_job.fit.passes import Stage, stage_of
from training_job.fit.population import Population
from training_job.fit.samples import Samples, samples_of
from training_job.fit.split import validation_rows
from training_job.history.answers import AnswerTable
from training_job.history.replay import read_history
from training_job.scores import log_losses


@pytest.fixture(scope="module")
def table() -> AnswerTable:
    """Answers that only the item explains: half of the items are always answered correctly, and half never."""
    table = simulate(40, 3, 2000)
    item = np.random.default_rng(0).integers(1, 9, size=len(table))
    return replace(table, item=item, is_correct=item % 2 == 0)


@pytest.fixture(scope="module")
def stage(table: AnswerTable) -> Stage:
    return stage_of(Population.of(table), np.ones(len(table), dtype=np.bool_), 0, lambda _: None)


@pytest.fixture(scope="module")
def samples(table: AnswerTable, stage: Stage) -> Samples:
    return samples_of(table, stage.lnirt, stage.vocabulary, read_history(table, stage.lnirt, stage.vocabulary))[0]


def test_the_parts_cover_columns_that_exist(samples: Samples) -> None:
    assert samples.dense.shape[1] == N_OTHERS + N_ITEM_COLUMNS


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_is_left_out_changes_the_samples(samples: Samples, stage: Stage, name: str) -> None:
    effect = stage.vocabulary.items.lookup(stage.table.item)[:, 0]
    changed = PARTS[name](samples, effect)
    same = (
        np.array_equal(changed.dense, samples.dense)
        and np.array_equal(changed.prior, samples.prior)
        and np.array_equal(changed.pooled.steps, samples.pooled.steps)
        and all(
            np.array_equal(getattr(changed.history, part), getattr(samples.history, part))
            for part in ("user", "topic", "level", "monotone")
        )
    )
    assert not same
    assert len(changed.target) == len(samples.target)


def test_the_additive_model_learns_what_single_columns_say(table: AnswerTable, stage: Stage, samples: Samples) -> None:
    """LNIRT alone has a scale of its own; the item's column says everything."""
    chances = additive_chances(stage.correctness, validation_rows(table), samples, 0)
    alone = bounded_probability(samples.prior)
    assert log_losses(table.is_correct, chances).mean() < 0.9 * log_losses(table.is_correct, alone).mean()


def test_without_the_items_the_chances_say_little(table: AnswerTable, stage: Stage, samples: Samples) -> None:
    chances = without(stage, samples, table, PARTS["items"], 0)
    perfect = np.where(table.is_correct, 0.99, 0.01)
    found = difference(table, perfect, chances, 0)
    assert found["auc"] < -0.2
    assert found["log_loss"] > 0.3
    assert found["auc_se"] > 0.0
    assert found["log_loss_se"] > 0.0
    assert difference(table, chances, chances, 0)["log_loss"] == 0.0
