"""LNIRT: parameters come back from simulated answers, sparse cells are shrunk sensibly, estimates use sums only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.digests import digest
from chalicelib.domain.errors import ModelError
from chalicelib.domain.lnirt import (
    LnirtParameters,
    TimeParameters,
    ability_from,
    grid_log_likelihoods,
    mean_log_attempts,
    success_prior,
)
from chalicelib.domain.lnirt_json import from_json, rounded, to_json
from chalicelib.domain.numerics import OF_FLOATS
from tests.support.histories import simulate
from training_job.fit.levels import SUCCESS_LEVELS, TIME_LEVELS, fit_levels
from training_job.fit.lnirt import MAX_TOPICS, clipped_times, fit_lnirt
from training_job.fit.practice import interval_quantiles
from training_job.history.answers import AnswerTable


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.integers(1, 60), st.sampled_from([(1,), (4,), (2, 3), (1, 2, 3, 4)]))
def test_any_small_history_gives_a_finite_and_ordered_model(seed: int, n: int, levels: tuple[int, ...]) -> None:
    table = simulate(3, 4, n, seed=seed, levels=levels)
    model = fit_lnirt(table)
    assert (np.diff(model.easiness, axis=1) <= 1e-9).all()
    assert np.isfinite(model.practice).all()
    assert (model.discrimination > 0).all()
    if model.time is not None:
        assert (np.diff(model.time.intensity, axis=1) >= -1e-9).all()
        assert (model.time.residual_variance > 0).all()


def test_a_level_nobody_tried_leans_on_its_topic_and_the_order_of_levels() -> None:
    observed = np.array([[0.0, 2.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0]])
    weight = np.array([[0.0, 50.0, 0.0, 0.0], [0.0, 50.0, 0.0, 0.0]])
    values = fit_levels(observed, weight, SUCCESS_LEVELS).values
    assert (np.diff(values, axis=1) < 0).all()
    assert values[0, 3] > values[1, 1]


def test_levels_that_contradict_their_order_are_pooled() -> None:
    values = fit_levels(np.array([[5.0, 4.0, 3.0, 2.0]]), np.full((1, 4), 1e4), TIME_LEVELS).values
    assert (np.diff(values, axis=1) >= 0).all()


def test_a_model_without_times_has_none() -> None:
    table = simulate(5, 3, 100, times=False)
    assert fit_lnirt(table).time is None


def test_only_the_most_practised_topics_are_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    table = simulate(20, 6, 1000)
    table = table.select((table.topic < 3) | (np.arange(len(table)) % 2 == 0))
    monkeypatch.setattr("training_job.fit.lnirt.MAX_TOPICS", 3)
    model = fit_lnirt(table)
    assert model.topics == ("topic 0", "topic 1", "topic 2")
    assert model.topic_row("topic 5") == model.average_row


def test_as_many_topics_as_are_fitted_can_be_published() -> None:
    n, draw = MAX_TOPICS + 1, np.random.default_rng(0)
    levels = draw.random((3, n, 4))
    time = TimeParameters(levels[0], levels[1], draw.random(n), draw.random((n, 2)), 0.1, 0.1, -1.3, 1.3)
    names = tuple(digest(str(i)) for i in range(MAX_TOPICS))
    model = LnirtParameters(names, draw.random(n), levels[2], draw.random((n, 2)), 0.25, time)
    assert rounded(model).topics == names


def test_absurd_times_do_not_move_the_intensity_far() -> None:
    table = simulate(20, 3, 1000)
    seconds = table.seconds.copy()
    seconds[::50], seconds[1::50] = 0.1, 72_000.0
    odd = AnswerTable.from_columns(
        user=table.user, user_ids=table.user_ids, topic=table.topic, topics=table.topics, order=table.order,
        difficulty=table.difficulty, is_correct=table.is_correct, seconds=seconds,
    )  # fmt: skip
    plain, robust = fit_lnirt(table).time, fit_lnirt(odd).time
    assert plain is not None
    assert robust is not None
    assert np.abs(plain.intensity - robust.intensity)[:-1].max() < 0.3
    assert np.nanmax(clipped_times(odd).seconds) < 10_000


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no answers"):
        fit_lnirt(simulate(1, 1, 1).select(np.array([False])))


@given(st.integers(1, 30), st.integers(0, 30), st.floats(-2, 2))
@settings(max_examples=60)
def test_one_more_success_on_a_topic_never_lowers_its_logit(attempts: int, correct: int, easiness: float) -> None:
    model = LnirtParameters(("t",), np.ones(2), np.full((2, 4), easiness), np.zeros((2, 2)), 0.5, None)
    correct = min(correct, attempts - 1)
    logits = []
    for successes in (correct, correct + 1):
        right, wrong = grid_log_likelihoods(np.ones(1), np.array([easiness]))
        ability, sd = ability_from(successes * right + (attempts - successes) * wrong)
        counts, wins = np.zeros((1, 4)), np.zeros((1, 4))
        counts[0, 1], wins[0, 1] = attempts, successes
        zero, level = np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64)
        logits.append(success_prior(model, zero, level, ability, sd, counts, wins).logit[0])
    assert logits[1] >= logits[0]


def test_mean_log_attempts_follows_the_plain_mean() -> None:
    for n in (1, 2, 5, 40, 700):
        assert mean_log_attempts(float(n), OF_FLOATS) == pytest.approx(np.log1p(np.arange(n)).mean(), abs=0.002)


def test_the_interval_leans_on_the_normal_while_there_are_few_residuals() -> None:
    assert interval_quantiles(np.array([])) == (-1.2816, 1.2816)
    low, high = interval_quantiles(np.full(3, 9.0))
    assert low < 0 < high < 3


def test_parameters_survive_their_file() -> None:
    model = fit_lnirt(simulate(10, 3, 300))
    again = rounded(model)
    np.testing.assert_allclose(again.easiness, model.easiness, rtol=1e-5)
    assert to_json(again) == to_json(rounded(again))
    with pytest.raises(ModelError):
        from_json(to_json(model)[:-20])
