"""A training gives a version that serves, or says why not, whatever the history looks like."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.digests import digest
from chalicelib.domain.lnirt import sigmoid
from chalicelib.domain.predictions import Source
from chalicelib.domain.topics import topic_key
from chalicelib.features.inputs import N_ITEM_COLUMNS
from chalicelib.features.state import replay
from chalicelib.prediction.interval import TimeInterval
from chalicelib.prediction.predictor import Predictor, predict
from tests.support.histories import answers_of, rebuilt, simulate, state_before
from tests.support.trainings import Published, published
from training_job.fit.calibrate import (
    PRIOR_ONLY,
    Calibration,
    beats_prior,
    calibrated,
    choose_scale,
    choose_temperature,
)
from training_job.fit.lnirt import fit_lnirt
from training_job.fit.networks import rescaled, shortened
from training_job.fit.optimise import fit_network, go_on, losses_of, outputs_of, predict_rows
from training_job.fit.passes import Stage, TrainedNetwork, final_networks, stage_of, statistics_of, with_statistics
from training_job.fit.population import Population
from training_job.fit.samples import build_vocabulary, fit_constants, read_history_by_others
from training_job.fit.split import validation_rows
from training_job.fit.train import TrainingSkipped, train_version
from training_job.history.answers import AnswerTable
from training_job.history.pooled import NEGLIGIBLE
from training_job.history.replay import predict_history, read_history
from training_job.scores import auc, expected_calibration_error, holdout_scores

Floats = np.ndarray[Any, np.dtype[np.float64]]
Small = tuple[AnswerTable, Published]
RARE = 6
"""The topic that only three students practise."""
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def small(processes: Executor) -> Small:
    table = simulate(6, 7, 679)
    few = (table.topic == RARE) & (table.user > 2)
    table = rebuilt(table, topic=np.where(few, 0, table.topic))
    return table, processes.submit(published, table).result()


@pytest.mark.slow
def test_a_version_names_no_student_and_no_topic_of_few(small: Small) -> None:
    _, trained = small
    text = trained.files["lnirt.json"].decode() + trained.files["vocabulary.json"].decode()
    assert "student" not in text
    assert f'"topic {RARE}"' not in text
    assert '"topic 0"' in text
    assert trained.predictor().knows(f"topic {RARE}")


@pytest.mark.slow
def test_a_version_with_plain_names_predicts_the_same(small: Small) -> None:
    table, trained = small
    plain = dict(trained.files)
    for name in (*table.user_ids, *table.topics):
        for file in ("lnirt.json", "vocabulary.json"):
            plain[file] = plain[file].replace(digest(name).encode(), name.encode())
    assert b"student 1" in plain["vocabulary.json"]
    everything = np.ones(len(table), dtype=np.bool_)
    old, new = (predict_history(Predictor.from_files(files), table, everything) for files in (plain, trained.files))
    np.testing.assert_array_equal(old.correct, new.correct)
    state = state_before(table, 500)
    for topic in table.topics:
        assert predict(Predictor.from_files(plain), state, topic, 2, NOW) == predict(
            trained.predictor(), state, topic, 2, NOW
        )


@pytest.mark.slow
def test_a_version_of_several_subjects_predicts_their_new_topics(small: Small, processes: Executor) -> None:
    """A subject of few students has no name, but is known."""
    table = small[0]
    subjects = ["history", "history", "history", "physics", "physics", "physics", "secret"]
    named = dataclasses.replace(
        table, topics=tuple(topic_key(*pair) for pair in zip(subjects, table.topics, strict=True))
    )
    trained = processes.submit(published, named).result()
    predictor, state = trained.predictor(), replay("anybody", answers_of(named, range(5)))
    assert predictor.lnirt.subjects == ("history", "physics", digest("secret"))
    assert "secret" not in trained.files["lnirt.json"].decode() + trained.files["vocabulary.json"].decode()
    new = [topic_key(subject, "new") for subject in ("history", "physics", "secret", "latin")]
    assert [predictor.lnirt.topic_row(key) - predictor.lnirt.average_row for key in new] == [1, 2, 3, 0]
    assert not any(map(predictor.knows, new))
    many = predictor.predict_many(state, [(key, 2) for key in new], NOW)
    assert many == [predictor.predict(state, key, 2, NOW) for key in new]
    assert {found.source for found in many} == {Source.LNIRT}
    assert len({found.correct for found in many}) == 4


@pytest.mark.slow
def test_a_trained_version_serves_and_agrees_with_keras(small: Small) -> None:
    table, trained = small
    assert trained.max_difference <= 1e-5
    prediction = predict(trained.predictor(), state_before(table, 500), "topic 1", 2, datetime.now(UTC))
    assert prediction.lnirt_model_version == "embedding_v1"


@pytest.mark.slow
def test_metadata_and_progress_say_what_was_done(small: Small) -> None:
    _, trained = small
    metadata = trained.metadata
    assert (metadata["n_samples"], metadata["n_users"], metadata["n_topics"]) == (679, 6, 7)
    assert "temperature" in metadata["validation_decided_on"]
    epochs = [item for item in trained.progress if item["phase"] == "correctness"]
    assert [item["epoch"] for item in epochs] == list(range(1, len(epochs) + 1))
    assert {"lnirt", "features", "correctness", "time", "evaluate"} <= {item["phase"] for item in trained.progress}


@pytest.mark.slow
def test_the_same_seed_trains_the_same_networks(small: Small, processes: Executor) -> None:
    table, first = small
    second = processes.submit(published, table).result()
    first_losses, losses = (
        [item["val_loss"] for item in version.progress if "val_loss" in item] for version in (first, second)
    )
    assert len(losses) > 5
    assert losses == pytest.approx(first_losses, abs=1e-4)
    everything = np.ones(len(table), dtype=np.bool_)
    before, after = (predict_history(version.predictor(), table, everything) for version in (first, second))
    np.testing.assert_allclose(before.correct, after.correct, atol=1e-4)


@pytest.mark.parametrize(("n", "correct", "reason"), [(9, None, "9 samples"), (40, 1, "correct"), (40, 0, "incorrect")])
def test_too_few_answers_or_one_class_only_is_skipped_with_a_reason(n: int, correct: int | None, reason: str) -> None:
    table = simulate(3, 2, n)
    if correct is not None:
        table = rebuilt(table, is_correct=np.full(n, correct, dtype=np.bool_))
    with pytest.raises(TrainingSkipped, match=reason):
        train_version(Population.of(table), version="v1")


def drawn_logits(n: int, scale: float = 2.0) -> tuple[Floats, Floats]:
    """True logits, and outcomes that are drawn by them."""
    rng = np.random.default_rng(0)
    truth = rng.normal(scale=scale, size=n)
    return truth, (rng.random(n) < sigmoid(truth)).astype(np.float64)


def test_a_residual_that_is_noise_is_not_used() -> None:
    prior, target = drawn_logits(200, scale=1.0)
    output = prior + np.random.default_rng(1).normal(size=200)
    assert choose_scale(prior, output, target, np.arange(200) % 10, binary=True) == 0.0


def test_a_residual_that_is_right_is_used() -> None:
    truth, target = drawn_logits(4000)
    assert choose_scale(np.zeros(4000), truth, target, np.arange(4000) % 400, binary=True) > 0.7


@settings(max_examples=60)
@given(
    st.integers(0, 10_000), st.sampled_from([1, 29, 30, 200, 1500]), st.floats(-3, 3), st.floats(0, 3), st.booleans()
)
def test_what_was_calibrated_is_never_worse_than_lnirt_on_the_answers_that_decided(
    seed: int, n: int, right: float, noise: float, binary: bool
) -> None:
    rng = np.random.default_rng(seed)
    prior, signal = rng.normal(size=n), rng.normal(size=n)
    target = prior + signal + rng.normal(size=n)
    if binary:
        target = (rng.random(n) < sigmoid(prior + signal)).astype(np.float64)
    output = prior + right * signal + noise * rng.normal(size=n)
    chosen = calibrated(prior, output, target, rng.integers(0, 20, n), binary=binary)
    served = (prior + chosen.scale * (output - prior)) / chosen.temperature
    ours, theirs = (losses_of(values, target, binary).mean() for values in (served, prior))
    assert ours < theirs if chosen.scale else chosen == PRIOR_ONLY


def test_a_network_that_is_worse_than_its_prior_or_not_finite_does_not_beat_it() -> None:
    prior, target = np.zeros(50), np.ones(50)
    whole = Calibration(1.0, 1.0)
    for binary in (True, False):
        assert beats_prior(prior, prior + 0.5, target, whole, binary=binary)
        assert not beats_prior(prior, prior - 0.5, target, whole, binary=binary)
        assert not beats_prior(prior, prior, target, whole, binary=binary)
        for broken in (np.nan, np.inf):
            output = np.where(np.arange(50) == 3, broken, 0.5)
            assert not beats_prior(prior, output, target, whole, binary=binary)
            assert not beats_prior(prior, output, target, PRIOR_ONLY, binary=binary)
    assert not beats_prior(prior[:0], prior[:0], target[:0], whole, binary=True)


def test_the_newest_fifth_validates() -> None:
    table = simulate(5, 3, 100)
    newest = validation_rows(table)
    assert newest.sum() == 20
    assert table.order[newest].min() > table.order[~newest].max()


def test_topics_that_all_students_meet_in_the_same_order_are_split_one_by_one() -> None:
    table = simulate(40, 10, 400)
    step = np.repeat(np.arange(10), 40)
    table = rebuilt(table, user=np.tile(np.arange(40), 10), topic=step, order=np.arange(400))
    late = validation_rows(table)
    assert np.bincount(table.topic[late]).tolist() == [8] * 10
    for topic in range(10):
        mine = table.topic == topic
        assert table.order[mine & late].min() > table.order[mine & ~late].max()


def test_few_validation_answers_are_no_proof() -> None:
    assert choose_scale(np.zeros(20), np.full(20, 3.0), np.ones(20), np.arange(20), binary=True) == 0.0


def test_a_residual_that_is_certain_is_used_up_to_its_best_factor() -> None:
    truth, target = drawn_logits(40_000)
    user, rng = np.arange(40_000) % 400, np.random.default_rng(1)
    assert choose_scale(np.zeros(40_000), truth, target, user, binary=True) == pytest.approx(1.0, abs=0.03)
    assert choose_scale(np.zeros(40_000), 1.25 * truth, target, user, binary=True) == pytest.approx(0.8, abs=0.03)
    assert choose_scale(np.zeros(40_000), 0.5 * truth, target, user, binary=True) == 1.0
    seconds = truth + rng.normal(size=40_000)
    assert choose_scale(np.zeros(40_000), 1.25 * truth, seconds, user, binary=False) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("binary", [True, False])
def test_a_few_other_answers_move_the_scale_by_little(binary: bool) -> None:
    rng = np.random.default_rng(2)
    user, signal = np.repeat(np.arange(200), 12), rng.normal(scale=0.6, size=2400)
    noise = rng.logistic(size=2400) if binary else rng.normal(size=2400)
    changed, others = np.isin(user, [3, 50, 121]), rng.permutation(2400)
    scales = []
    for right in np.arange(-0.1, 1.2, 0.02):
        drawn = right * signal + noise
        target = (drawn > 0).astype(np.float64) if binary else drawn
        scales += [
            choose_scale(np.zeros(2400), signal, answers, user, binary=binary)
            for answers in (target, np.where(changed, target[others], target))
        ]
    assert min(scales) == 0.0
    assert max(scales) > 0.95
    assert np.abs(np.diff(scales)).max() < 0.1


@pytest.mark.slow
def test_a_final_network_that_went_wrong_is_given_up_for_lnirt(caplog: pytest.LogCaptureFixture) -> None:
    table = simulate(6, 7, 300)
    newest, quiet = validation_rows(table), lambda _: None
    stage = stage_of(Population.of(table), ~newest, 0, quiet)
    # No network is right behind a temperature like this one.
    correctness, time = (
        TrainedNetwork(
            fit_network(part.samples, part.shape, ~newest, newest, seed=0, on_progress=quiet), Calibration(1.0, 50.0)
        )
        for part in (stage.correctness, stage.time)
    )
    finished = final_networks(stage, (correctness, time), newest, 0, quiet)
    everyone = np.ones(len(table), dtype=np.bool_)
    for network, samples in zip(finished, (stage.correctness.samples, stage.time.samples), strict=True):
        assert network.calibration == PRIOR_ONLY
        published = rescaled(network.fitted.model, network.fitted.shape, scale=0.0, temperature=1.0)
        np.testing.assert_allclose(predict_rows(published, samples, everyone), samples.prior, atol=1e-5)
    assert stage.lnirt.time is not None
    assert finished[1].interval == TimeInterval.constant(stage.lnirt.time.low, stage.lnirt.time.high)
    assert caplog.text.count("LNIRT serves") == 2


def test_a_gain_that_few_students_show_is_in_doubt() -> None:
    rng = np.random.default_rng(0)
    signal, student = rng.normal(size=300), np.repeat([0, 1, 2], 100)
    target = np.array([1.0, 0.3, -0.2])[student] * signal + rng.normal(size=300)

    def chosen(user: np.ndarray[Any, np.dtype[np.int64]]) -> float:
        return choose_scale(np.zeros(300), signal, target, user, binary=False)

    assert chosen(np.zeros(300, dtype=np.int64)) == 0.0
    assert chosen(student) < chosen(np.arange(300))


def test_overconfident_logits_get_a_temperature_above_one() -> None:
    truth, target = drawn_logits(20_000, scale=1.0)
    assert choose_temperature(1.1 * truth, target) == pytest.approx(1.08, abs=0.03)
    assert choose_temperature(1.1 * truth[:50], target[:50]) == pytest.approx(1.0, abs=0.01)


def test_the_area_under_the_curve_counts_ties_half() -> None:
    assert auc(np.array([True, False, True]), np.array([0.5, 0.5, 0.9])) == 0.75
    assert auc(np.array([True, True]), np.array([0.1, 0.2])) is None


def test_calibration_error_is_the_gap_between_predicted_and_actual() -> None:
    assert expected_calibration_error(np.array([True, False]), np.array([0.9, 0.9])) == pytest.approx(0.4)


@pytest.mark.slow
def test_holdout_scores_have_a_loss_for_each_row(small: Small) -> None:
    table, trained = small
    holdout = validation_rows(table)
    scores = holdout_scores(trained.predictor(), table, holdout)
    assert scores["losses"].shape == (int(holdout.sum()),)
    assert scores["log_loss"] == pytest.approx(scores["losses"].mean())
    assert scores["n_timed"] == int(holdout.sum())


def test_where_nothing_is_known_of_the_population_a_history_is_read_in_its_own_order() -> None:
    table = simulate(6, 4, 30)
    lnirt, everything = fit_lnirt(table), np.ones(len(table), dtype=np.bool_)
    vocabulary = build_vocabulary(table, everything, fit_constants(table, lnirt))
    assert not len(vocabulary.sequences.keys)
    assert vocabulary.traits.n_traits == 0
    by_others = read_history_by_others(Population.of(table), everything, lnirt, vocabulary, 0)
    for field in msgspec.structs.fields(by_others):
        alone = getattr(read_history(table, lnirt, vocabulary), field.name)
        np.testing.assert_allclose(getattr(by_others, field.name), alone, atol=1e-6, err_msg=field.name)


def test_a_students_own_answer_is_left_out_of_an_item_effect() -> None:
    table, item = simulate(80, 4, 2400), np.zeros(2400, dtype=np.int64)
    both = [np.flatnonzero(table.user == user)[-1] for user in (5, 6)]
    item[both] = 9
    table, everything = rebuilt(table, item=item), np.ones(2400, dtype=np.bool_)
    lnirt = fit_lnirt(table)
    vocabulary = build_vocabulary(table, everything, fit_constants(table, lnirt))
    assert vocabulary.items.keys.tolist() == [9]
    assert vocabulary.items.success[0] != 0.0
    by_others = read_history_by_others(Population.of(table), everything, lnirt, vocabulary, 0)
    assert by_others.dense[both, -N_ITEM_COLUMNS].tolist() == [0.0, 0.0]


def test_what_the_networks_learn_the_population_from_never_holds_the_students_own_answers() -> None:
    table = simulate(80, 4, 2400)
    lnirt, everything = fit_lnirt(table), np.ones(len(table), dtype=np.bool_)
    vocabulary = build_vocabulary(table, everything, fit_constants(table, lnirt))
    assert vocabulary.traits.n_traits > 0
    # The last answers of one student: no input but those of the population could know of them.
    mine = np.flatnonzero(table.user == 5)
    changed = table.is_correct.copy()
    changed[mine[-1]] = not changed[mine[-1]]
    before, after = (
        read_history_by_others(Population.of(other), everything, lnirt, vocabulary, 0).dense
        for other in (table, rebuilt(table, is_correct=changed))
    )
    np.testing.assert_array_equal(before[mine], after[mine])
    assert (before != after).any()  # others do learn from it


def test_published_weights_are_rounded_to_what_packs_well() -> None:
    weights = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    kept = shortened(weights)
    np.testing.assert_allclose(kept, weights, rtol=1 / 4096)
    np.testing.assert_array_equal(shortened(kept), kept)
    assert len(zlib.compress(kept.tobytes())) < 0.75 * len(zlib.compress(weights.tobytes()))
    np.testing.assert_array_equal(shortened(np.array([0.0, 1.0, -2.0], dtype=np.float32)), [0.0, 1.0, -2.0])


@pytest.fixture(scope="module")
def half() -> Stage:
    """A stage whose networks have learnt from the older answers only."""
    table = simulate(6, 4, 400)
    return stage_of(Population.of(table), ~validation_rows(table), 0, lambda _: None)


@pytest.mark.slow
def test_members_differ_and_the_network_is_their_mean(half: Stage) -> None:
    part, newest, notes = half.correctness, validation_rows(half.table), list[Mapping[str, Any]]()
    how: Any = {"members": 2, "seed": 0, "on_progress": notes.append}
    fitted = fit_network(part.samples, part.shape, part.known & ~newest, newest, **how)
    assert {note["phase"] for note in notes} == {"correctness"}
    assert 1 <= fitted.best_epoch <= len(notes)
    assert fitted.shape.members == 2
    heads = [fitted.model.get_layer(f"hidden_1_{number}").get_weights()[0] for number in (1, 2)]
    assert not np.allclose(heads[0], heads[1])
    outputs = [predict_rows(member.model, part.samples, part.known) for member in fitted.members]
    np.testing.assert_allclose(outputs_of(fitted, part.samples, part.known), np.mean(outputs, axis=0), atol=2e-3)


@pytest.mark.slow
def test_a_network_goes_on_with_the_newest_answers(half: Stage) -> None:
    part, newest, notes = half.time, validation_rows(half.table), list[Mapping[str, Any]]()
    fitted = fit_network(part.samples, part.shape, part.known & ~newest, newest, seed=0, on_progress=lambda _: None)
    before = fitted.model.get_weights()
    finished = go_on(fitted, part.samples, part.known, newest, seed=0, on_progress=notes.append)
    assert [note["phase"] for note in notes] == ["final time"]
    # The gate judges the network from before, which must stay as it was.
    for now, then in zip(fitted.model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    mean_loss = [
        losses_of(outputs_of(network, part.samples, newest), part.samples.target[newest], False).mean()
        for network in (fitted, finished)
    ]
    assert mean_loss[1] < mean_loss[0]


@pytest.mark.slow
def test_answers_that_cannot_be_learnt_change_no_network(half: Stage) -> None:
    part, none = half.correctness, np.zeros(len(half.table), dtype=np.bool_)
    newest = validation_rows(half.table)
    fitted = fit_network(part.samples, part.shape, ~newest, newest, seed=0, on_progress=lambda _: None)
    assert go_on(fitted, part.samples, none, newest, seed=0, on_progress=lambda _: None) is fitted


def test_a_published_version_knows_topics_of_the_newest_answers(half: Stage) -> None:
    table = half.table
    late = rebuilt(table, topic=np.where(table.order == table.order.max(), 3, table.topic % 3))
    first = stage_of(Population.of(late), ~validation_rows(late), 0, lambda _: None)
    assert "topic 3" not in first.lnirt.topics
    final = with_statistics(first, statistics_of(late))
    assert "topic 3" in final.lnirt.topics
    assert final.vocabulary.traits.n_traits == 0
    np.testing.assert_array_equal(final.vocabulary.mean, first.vocabulary.mean)


def test_stored_vectors_are_those_of_the_steps(half: Stage) -> None:
    pooled, rows = half.correctness.samples.pooled, np.random.default_rng(0).permutation(len(half.table))
    stored = pooled.stored()
    whole = np.concatenate([vectors for _, vectors in pooled.blocks()])
    assert np.abs(whole).max() > 1.0
    np.testing.assert_allclose(stored.vectors(rows), whole[rows], atol=NEGLIGIBLE, rtol=2**-10)
    assert stored.vectors(rows[:0]).shape == (0, pooled.layout.width)


def test_dropout_leaves_out_numbers_and_keeps_the_mean(half: Stage) -> None:
    rows, stored = np.arange(len(half.table)), half.correctness.samples.pooled.stored()
    whole, dropped = stored.vectors(rows), stored.vectors(rows, 0.2, np.random.default_rng(0))
    kept = dropped != 0.0
    assert kept.sum() / (whole != 0.0).sum() == pytest.approx(0.8, abs=0.02)
    np.testing.assert_allclose(dropped[kept], whole[kept] / 0.8, rtol=1e-6)
    assert dropped.sum() == pytest.approx(whole.sum(), rel=0.02)
