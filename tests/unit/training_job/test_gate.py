"""The gate promotes what is as good as the champion, keeps out what is worse, and says on what it decided."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from chalicelib.domain.lnirt_json import to_json
from chalicelib.features.sequences import no_sequences
from chalicelib.features.traits import no_traits
from chalicelib.prediction.predictor import Predictor
from tests.support.archives import network, overflowing, version_files, with_vocabulary
from tests.support.histories import rebuilt, simulate
from training_job.fit.lnirt import fit_lnirt
from training_job.fit.split import validation_rows
from training_job.gate import (
    MIN_COMPARED,
    MIN_UNSEEN,
    NEWEST_ANSWER,
    SEEN_TOLERANCE,
    Incumbent,
    Verdict,
    _clearly_worse,
    judge_on,
    reach,
    unseen_rows,
)
from training_job.history.answers import AnswerTable
from training_job.scores import MIN_STUDENTS, mean_difference, student_means


def version(table: AnswerTable, *, logit: float = 0.0, log_seconds: float = 0.0) -> Predictor:
    """A version that has learnt from a table, whose networks are off LNIRT by so much."""
    model = fit_lnirt(table)
    files = with_vocabulary(
        version_files(times=model.time is not None),
        topics=model.topics,
        traits=no_traits(len(model.topics)),
        sequences=no_sequences(),
    )
    files["correctness_model.keras"] = network(0.0, 4, bias=logit)
    files["time_model.keras"] = network(0.0, 4, bias=log_seconds)
    return Predictor.from_files({**files, "lnirt.json": to_json(model)})


def reached(table: AnswerTable, share: float) -> dict[str, Any]:
    """The metadata of a version whose snapshot held that share of the answers."""
    return {NEWEST_ANSWER: float(np.quantile(table.at, share))}


def verdict(
    table: AnswerTable, champion: Predictor, metadata: Mapping[str, Any], validated: Predictor, challenger: Predictor
) -> Verdict:
    found = judge_on(table, validated)(Incumbent(champion, metadata), challenger)
    json.dumps(dict(found.figures), allow_nan=False)
    return found


@pytest.fixture(scope="module")
def table() -> AnswerTable:
    return simulate(20, 3, 800, seed=1)


@pytest.fixture(scope="module")
def good(table: AnswerTable) -> Predictor:
    """What has learnt from the answers before the hold-out."""
    return version(table.select(~validation_rows(table)))


@pytest.fixture(scope="module")
def bad(table: AnswerTable) -> Predictor:
    return version(table.select(~validation_rows(table)), logit=1.5, log_seconds=1.0)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_better_and_an_equal_challenger_are_promoted_and_a_worse_one_is_not(
    table: AnswerTable, good: Predictor, bad: Predictor, share: float
) -> None:
    known = reached(table, share)
    better, equal, worse = (
        verdict(table, *who) for who in ((bad, known, good, good), (good, known, good, good), (good, known, bad, bad))
    )
    assert (better.promoted, equal.promoted, worse.promoted) == (True, True, False)
    assert better.figures["log_loss_high"] < 0 < worse.figures["log_loss_low"]
    assert equal.figures["log_loss_difference"] == 0.0
    assert worse.reason.startswith("worse in log-loss and squared log-time error: log-loss ")
    assert worse.figures["n"] == 160
    assert worse.figures["n_unseen"] == (160 if share == 0.5 else 0)


def test_on_answers_after_the_champions_snapshot_what_was_validated_stands_for_the_challenger(
    table: AnswerTable, good: Predictor, bad: Predictor
) -> None:
    flattered = verdict(table, good, reached(table, 0.9), validated=bad, challenger=good)
    assert not flattered.promoted
    assert flattered.figures["n"] == flattered.figures["n_unseen"] == 80
    assert "that neither has learnt from" in flattered.reason


def test_with_few_answers_after_the_champions_snapshot_both_meet_on_those_they_learnt_from(
    table: AnswerTable, good: Predictor, bad: Predictor
) -> None:
    known = reached(table, 1 - (MIN_UNSEEN - 1) / len(table))
    found = verdict(table, good, known, validated=bad, challenger=good)
    assert found.promoted
    assert (found.figures["n"], found.figures["n_unseen"]) == (160 - MIN_UNSEEN + 1, MIN_UNSEEN - 1)
    assert "that both have learnt from" in found.reason


@pytest.mark.parametrize("metadata", [{}, {NEWEST_ANSWER: None}, {NEWEST_ANSWER: "yesterday"}, {NEWEST_ANSWER: True}])
def test_of_a_version_that_does_not_say_how_far_it_reached_nothing_counts_as_unseen(
    table: AnswerTable, good: Predictor, bad: Predictor, metadata: dict[str, Any]
) -> None:
    assert not unseen_rows(table, metadata).any()
    assert not verdict(table, good, metadata, bad, bad).promoted
    assert verdict(table, good, metadata, good, good).promoted


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_challenger_that_is_worse_only_in_time_is_not_promoted(
    table: AnswerTable, good: Predictor, share: float
) -> None:
    slower = version(table.select(~validation_rows(table)), log_seconds=0.5)
    found = verdict(table, good, reached(table, share), slower, slower)
    assert not found.promoted
    assert found.reason.startswith("worse in squared log-time error")
    assert found.figures["log_loss_difference"] == 0.0


def test_an_irrelevant_difference_does_not_count_even_when_it_is_certain(table: AnswerTable) -> None:
    slower = version(table.select(~validation_rows(table)), log_seconds=0.3)
    a_little = version(table.select(~validation_rows(table)), log_seconds=0.303)
    found = verdict(table, slower, reached(table, 0.5), a_little, a_little)
    assert found.figures["log_time_mse_low"] > 0
    assert found.promoted


@pytest.mark.parametrize(("scale", "worse"), [(1e-9, False), (1.0, True)])
def test_an_error_of_nearly_nothing_may_double(scale: float, worse: bool) -> None:
    """Where all times are equal, both versions predict them nearly exactly."""
    rng, students = np.random.default_rng(0), np.repeat(np.arange(40), 5)
    theirs = scale * rng.uniform(0.5, 1.5, 200)
    assert _clearly_worse(2.0 * theirs, theirs, students, SEEN_TOLERANCE) == worse


def test_absurd_times_do_not_decide(table: AnswerTable) -> None:
    seconds = np.where(table.order >= 796, 80_000.0, table.seconds)
    assert not worse_by(rebuilt(table, seconds=seconds), log_seconds=0.5).promoted


def test_without_times_only_correctness_is_compared(table: AnswerTable) -> None:
    found = worse_by(rebuilt(table, seconds=None), logit=1.5)
    assert not found.promoted
    assert not [name for name in found.figures if "time" in name]


def worse_by(table: AnswerTable, **worse: float) -> Verdict:
    """The verdict on a challenger that is worse than the champion; an equal one is promoted."""
    older, known = table.select(~validation_rows(table)), reached(table, 0.5)
    champion, challenger = version(older), version(older, **worse)
    assert verdict(table, champion, known, champion, champion).promoted
    return verdict(table, champion, known, challenger, challenger)


def test_a_hold_out_that_is_too_small_to_tell_promotes_and_says_so() -> None:
    few = simulate(3, 3, 15)
    found = verdict(few, version(few), reached(few, 0.6), version(few, logit=1.0), version(few, logit=1.0))
    assert found.promoted
    assert found.reason.endswith("too few to tell")
    assert 0 < found.figures["n"] < MIN_COMPARED
    assert found.figures["champion_log_loss"] > 0


def test_one_student_is_enough_to_find_what_is_clearly_worse() -> None:
    found = worse_by(simulate(1, 3, 400), logit=-1.5)
    assert (found.promoted, found.figures["n_students"]) == (False, 1)


def test_topics_that_only_the_published_challenger_knows_do_not_count_against_it(table: AnswerTable) -> None:
    # The champion knows topic 2; it is younger than what the challenger's validated networks learnt from.
    without = table.select(~validation_rows(table) & (table.topic != 2))
    champion, validated = version(table), version(without)
    found = verdict(table, champion, reached(table, 0.5), validated, champion)
    assert found.figures["n"] == int((validation_rows(table) & (table.topic != 2)).sum())


def with_new_accounts(table: AnswerTable, n: int) -> AnswerTable:
    """The table with three newer incorrect answers of each of ``n`` new accounts."""
    rows = np.arange(3 * n) % len(table)
    return AnswerTable.from_columns(
        user=np.concatenate([table.user, len(table.user_ids) + np.arange(3 * n) // 3]),
        user_ids=[*table.user_ids, *(f"new {number}" for number in range(n))],
        topic=np.concatenate([table.topic, table.topic[rows]]),
        topics=table.topics,
        difficulty=np.concatenate([table.difficulty, table.difficulty[rows]]),
        is_correct=np.concatenate([table.is_correct, np.zeros(3 * n, dtype=np.bool_)]),
        at=np.concatenate([table.at, table.at.max() + 1.0 + rows]),
        order=np.concatenate([table.order, table.order.max() + 1 + np.arange(3 * n)]),
    )


def test_new_accounts_do_not_decide_for_the_others(table: AnswerTable, good: Predictor) -> None:
    pessimist = version(table.select(~validation_rows(table)), logit=-1.0)
    found = verdict(with_new_accounts(table, 45), good, reached(table, 0.7), pessimist, pessimist)
    assert found.figures["log_loss_high"] < 0
    assert not found.promoted
    assert found.reason.startswith("worse in log-loss of students with earlier answers: ")


def test_every_student_counts_the_same_in_one_view() -> None:
    means = student_means(np.array([1.0, 3.0, 5.0, 0.0]), np.array([7, 7, 9, 2]))
    assert means.tolist() == [0.0, 2.0, 5.0]


def test_what_overflows_loses(table: AnswerTable, good: Predictor) -> None:
    files = {**version_files(weight=0.0), "lnirt.json": to_json(good.lnirt)}
    endless = overflowing(Predictor.from_files(files), time=True)
    assert not verdict(table, good, {}, endless, endless).promoted
    assert verdict(table, endless, {}, good, good).promoted


def test_without_a_champion_the_challenger_is_promoted(table: AnswerTable, good: Predictor) -> None:
    assert judge_on(table, good)(None, good) == Verdict(True, "there is no champion to compare with", {})


def test_answers_that_were_imported_with_an_old_time_or_none_count_as_seen(table: AnswerTable) -> None:
    metadata = {NEWEST_ANSWER: reach(table.select(table.order < 700))}
    assert unseen_rows(table, metadata).sum() == 100
    imported = rebuilt(table, at=np.where(table.order < 750, table.at, np.nan))
    assert unseen_rows(imported, metadata).sum() == 50
    assert reach(rebuilt(table, at=None)) is None


def test_the_bounds_hold_the_true_difference_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(30), 20)
    above = 0
    for seed in range(200):
        losses = rng.normal(size=30)[user] + rng.normal(size=600)
        above += mean_difference(losses, np.zeros(600), user, seed=seed).low > 0
    assert 2 <= above <= 25


def test_answers_of_one_student_count_as_alike_where_there_are_enough_students() -> None:
    rng = np.random.default_rng(0)
    losses, nothing = np.repeat(rng.normal(size=40), 25), np.zeros(1000)
    clustered = mean_difference(losses, nothing, np.repeat(np.arange(40), 25))
    apart = mean_difference(losses, nothing, np.arange(1000))
    assert clustered.high - clustered.low > 3 * (apart.high - apart.low)
    assert clustered == mean_difference(losses, nothing, np.repeat(np.arange(40), 25))
    few = mean_difference(losses, nothing, np.repeat(np.arange(MIN_STUDENTS - 1), 1000)[:1000])
    assert few == mean_difference(losses, nothing, np.arange(1000))


def test_nothing_and_what_is_not_finite_cannot_be_compared() -> None:
    for losses in (np.zeros(0), np.array([np.nan, 1.0])):
        with pytest.raises(ValueError, match="finite"):
            mean_difference(losses, np.zeros(len(losses)), np.arange(len(losses)))
