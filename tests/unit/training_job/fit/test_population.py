"""Traits and topic sequences: fitting, reading from a state, and storage."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chalicelib.domain.errors import ModelError
from chalicelib.domain.lnirt import ABILITY_GRID
from chalicelib.features.columns import StateColumns
from chalicelib.features.constants import VersionConstants
from chalicelib.features.inputs import success_priors
from chalicelib.features.sequences import (
    ATTEMPTS,
    FIRST_TOPIC,
    MAX_RECORD,
    N_LATEST,
    N_SEQUENCES,
    RECORD,
    SequenceTable,
    StudentSequence,
    no_sequences,
    sequence_keys,
)
from chalicelib.features.state import Answer, UserState, replay
from chalicelib.features.summary import StateView
from chalicelib.prediction.predictor import Predictor
from chalicelib.prediction.vocabulary import read_vocabulary
from tests.support.archives import version_files, with_vocabulary
from tests.support.histories import simulate
from tests.support.models import constants_of, model_of
from training_job.fit import sequences as sequences_fit
from training_job.fit.lnirt import fit_lnirt
from training_job.fit.sequences import fit_sequences
from training_job.fit.traits import MIN_STUDENTS, fit_traits
from training_job.history.answers import AnswerTable
from training_job.history.sequences import keys_of_history
from training_job.history.summaries import summarise_history


def two_abilities(n_students: int, n_answers: int, seed: int) -> AnswerTable:
    """Students with one ability for even topics and another for odd ones, in success and in pace."""
    rng = np.random.default_rng(seed)
    student, topic = np.repeat(np.arange(n_students), n_answers), rng.integers(8, size=n_students * n_answers)
    able, slow = rng.normal(size=(n_students, 2)), rng.normal(scale=0.4, size=(n_students, 2))
    logit = 1.5 * able[student, topic % 2] + 0.3
    return AnswerTable.from_columns(
        user=student,
        user_ids=[f"student {i}" for i in range(n_students)],
        topic=topic,
        topics=[f"topic {i}" for i in range(8)],
        difficulty=np.full(len(topic), 2),
        is_correct=rng.random(len(topic)) < 1 / (1 + np.exp(-logit)),
        seconds=np.exp(3.5 + slow[student, topic % 2] + rng.normal(scale=0.4, size=len(topic))),
    )


def test_traits_predict_what_one_ability_cannot() -> None:
    learnt, later = two_abilities(300, 40, seed=0), two_abilities(100, 40, seed=1)
    model = fit_lnirt(learnt)
    assert model.time is not None
    traits = fit_traits(learnt, model)
    past = summarise_history(later, slice(0, len(later)), VersionConstants(model, traits, no_sequences()))
    expected = model.expected_success[past.topic_row, past.level]
    beyond = later.is_correct - expected
    slow = later.log_seconds - model.time.intensity[past.topic_row, past.level]
    late = past.n_answers >= 20
    assert np.mean((beyond - past.trait_success)[late] ** 2) < 0.85 * np.mean(beyond[late] ** 2)
    assert np.mean((slow - past.trait_log_seconds)[late] ** 2) < 0.65 * np.mean(slow[late] ** 2)


def test_too_few_students_have_no_traits() -> None:
    table = two_abilities(MIN_STUDENTS - 1, 20, seed=0)
    assert fit_traits(table, fit_lnirt(table)).n_traits == 0


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.lists(st.booleans(), max_size=12), st.booleans())
def test_what_answers_tell_of_traits_adds_up(seed: int, topic: int, outcomes: list[bool], timed: bool) -> None:
    rng = np.random.default_rng(seed)
    traits, n = constants_of(model_of(3)).traits, len(outcomes)
    beyond, slow = np.array(outcomes) - 0.6, rng.normal(size=n) * timed
    each = traits.evidence(np.full(n, topic), np.ones(n), beyond, np.full(n, float(timed)), slow)
    (together,) = traits.evidence(
        np.array([topic]), np.array([float(n)]), beyond.sum(keepdims=True), np.array([float(n * timed)]),
        slow.sum(keepdims=True),
    )  # fmt: skip
    np.testing.assert_allclose(each.sum(axis=0), together, atol=1e-9)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.integers(1, 30))
def test_traits_never_expect_less_on_a_topic_after_a_success_there(seed: int, topic: int, answers: int) -> None:
    rng = np.random.default_rng(seed)
    traits = constants_of(model_of(3)).traits
    asked = np.array([topic])
    told = traits.evidence(
        rng.integers(0, 4, answers),
        np.ones(answers),
        rng.uniform(-1, 1, answers),
        np.ones(answers),
        rng.normal(size=answers),
    ).sum(axis=0, keepdims=True)
    one, none = np.ones(1), np.zeros(1)
    wrong, _ = traits.expected(asked, traits.scores(told + traits.evidence(asked, one, none - 0.6, none, none)))
    right, _ = traits.expected(asked, traits.scores(told + traits.evidence(asked, one, none + 0.4, none, none)))
    assert right[0] >= wrong[0]


Row = tuple[int, int, bool]
"""Student, topic, and whether the answer was correct."""


def course(n_students: int, answers_each: int, *, right: bool) -> list[Row]:
    """Students who go from topic 0 to topic 1 and do well or badly there."""
    return [
        (student, topic, right if topic == 1 else number % 2 == 0)
        for student in range(n_students)
        for topic in (0, 1)
        for number in range(answers_each)
    ]


def table_of(rows: list[Row]) -> AnswerTable:
    user, topic, is_correct = zip(*rows, strict=True)
    user_ids, topics = [f"s{i}" for i in range(max(user) + 1)], [f"topic {i}" for i in range(max(2, *topic) + 1)]
    return AnswerTable.from_columns(
        user=user,
        user_ids=user_ids,
        topic=topic,
        topics=topics,
        difficulty=np.full(len(rows), 2),
        is_correct=is_correct,
    )


def after_topic_0(topic: int, attempts: int = 0, right: int = 0) -> np.ndarray[Any, np.dtype[np.uint32]]:
    return sequence_keys(
        np.array([topic]), np.array([[1, 0, 0]]), np.array([[1, 0]]), np.array([attempts]), np.array([right])
    )


def test_good_results_along_a_path_raise_it() -> None:
    model = model_of(3, times=False)
    well = fit_sequences(table_of(course(10, 4, right=True)), model).lookup(after_topic_0(1))[0]
    badly = fit_sequences(table_of(course(10, 4, right=False)), model).lookup(after_topic_0(1))[0]
    assert (well[:ATTEMPTS] > 0.1).all()
    assert (badly[:ATTEMPTS] < -0.1).all()


@pytest.mark.parametrize(("students", "each"), [(2, 10), (4, 1)])
def test_a_path_of_too_few_students_or_answers_is_not_kept(students: int, each: int) -> None:
    paths = fit_sequences(table_of(course(students, each, right=True)), model_of(3, times=False))
    assert not paths.lookup(after_topic_0(1)).any()


def test_an_unknown_path_falls_back_to_the_shorter_one() -> None:
    paths = fit_sequences(table_of(course(10, 4, right=True)), model_of(3, times=False))
    known, longer = (
        after_topic_0(1),
        sequence_keys(np.array([1]), np.array([[1, 3, 2]]), np.array([[1, 3]]), np.array([0]), np.array([0])),
    )
    found, expected = paths.lookup(longer)[0], paths.lookup(known)[0]
    np.testing.assert_allclose(found[[0, 1, 2]], expected[0])
    np.testing.assert_allclose(found[[3, 4]], expected[3])


def test_paths_are_capped_and_the_common_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    table = simulate(40, 6, 3000)
    model = model_of(6, times=False)
    whole = fit_sequences(table, model)
    monkeypatch.setattr(sequences_fit, "MAX_SEQUENCES", 20)
    capped = fit_sequences(table, model)
    assert len(whole.keys) > len(capped.keys) == 20
    assert np.isin(capped.keys, whole.keys).all()


@settings(max_examples=60)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(0, 2**40 - 1))
@example([0, 1, 0, 1, 0, 1, 2, 0, 2, 0], 0b1011011101)
@example([4, 5, 4, 5, 4, 0], 0b111111)
@example([3] * (MAX_RECORD + 5), 2**40 - 1)
def test_the_paths_of_a_history_are_those_of_each_stored_state(topics: list[int], outcomes: int) -> None:
    model, topic = model_of(4), np.array(topics)  # topics 4 and 5 are both unknown
    correct = np.array([bool(outcomes >> row & 1) for row in range(len(topics))])
    table = AnswerTable.from_columns(
        user=np.zeros(len(topics)),
        user_ids=["a"],
        topic=topic,
        topics=[f"topic {number}" for number in range(6)],
        difficulty=1 + np.arange(len(topics)) % 4,
        is_correct=correct,
    )
    keys = keys_of_history(table, table.topic_rows(model))
    answers = [Answer(f"topic {target}", 1 + row % 4, bool(correct[row])) for row, target in enumerate(topics)]
    for row, target in enumerate(topics):
        earlier = correct[:row][topic[:row] == target]
        columns = StateColumns.of_rows(replay("a", answers[:row]).rows)
        one = StudentSequence(columns, model.topic_rows(columns.topics)).keys(
            min(target, 4), f"topic {target}", len(earlier), int(earlier[:-1].sum())
        )
        np.testing.assert_array_equal(keys[row], one)


@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.integers(1, 20))
@settings(max_examples=50)
def test_a_few_paths_are_looked_up_as_many_are(seed: int, known: int, asked: int) -> None:
    rng = np.random.default_rng(seed)
    table = SequenceTable(np.unique(rng.integers(0, 40, known, dtype=np.uint32)), rng.normal(size=0))
    table = SequenceTable(table.keys, rng.normal(size=len(table.keys)))
    keys = rng.integers(0, 40, (asked, N_SEQUENCES), dtype=np.uint32)
    np.testing.assert_array_equal([table.lookup_one(path) for path in keys.tolist()], table.lookup(keys))


@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.booleans())
@settings(max_examples=50)
def test_the_evidence_of_a_state_is_the_sum_of_what_its_rows_tell(seed: int, rows: int, times: bool) -> None:
    rng = np.random.default_rng(seed)
    model = model_of(3, times=times)
    constants, topic, level = constants_of(model), rng.integers(0, 4, rows), rng.integers(0, 4, rows)
    attempts, correct, timed, log_seconds = rng.uniform(0, 9, (4, rows))
    found = constants.evidence(np.stack([attempts, correct, timed, log_seconds], axis=1), constants.cells(topic, level))
    logit = model.discrimination[topic][:, None] * ABILITY_GRID + model.easiness[topic, level][:, None]
    log_wrong, slope = -np.logaddexp(0.0, logit), model.discrimination[topic][:, None] * ABILITY_GRID
    np.testing.assert_allclose(found.log_likelihood, attempts @ log_wrong + correct @ slope, atol=1e-9)
    noise = np.inf if model.time is None else model.time.residual_variance[topic]
    slow = log_seconds - timed * (0.0 if model.time is None else model.time.intensity[topic, level])
    assert found.speed_precision == pytest.approx((timed / noise).sum(), abs=1e-9)
    assert found.speed_weighted == pytest.approx((-slow / noise).sum(), abs=1e-9)
    beyond = correct - attempts * model.expected_success[topic, level]
    told = constants.traits.evidence(topic, attempts, beyond, timed * times, slow * times)
    np.testing.assert_allclose(found.traits, told.sum(axis=0), atol=1e-9)


def test_a_record_knows_what_followed_it_on_a_topic() -> None:
    """Students who are correct at first on topic 1 are correct on their third attempt; the others are not."""
    rows = [(student, 1, right) for student in range(20) for right in (student < 10, False, student < 10)]
    paths = fit_sequences(table_of(rows), model_of(3, times=False))
    found = {right: paths.lookup(after_topic_0(1, attempts=2, right=right))[0] for right in (0, 1)}
    assert found[1][RECORD] - found[0][RECORD] > 0.2
    assert found[1][ATTEMPTS] == found[0][ATTEMPTS]
    unknown = paths.lookup(after_topic_0(1, attempts=2, right=2))[0]
    assert unknown[RECORD] == unknown[ATTEMPTS] != 0.0


def test_columns_of_paths_are_told_apart() -> None:
    keys = sequence_keys(np.array([1]), np.array([[2, 0, 0]]), np.array([[2, 0]]), np.array([2]), np.array([0]))[0]
    assert len(set(keys.tolist())) == N_SEQUENCES == RECORD + 1 == ATTEMPTS + 2
    assert N_LATEST == 2


def test_a_population_comes_back_from_vocabulary_json_as_it_was() -> None:
    raw = version_files()["vocabulary.json"]
    vocabulary = read_vocabulary(raw)
    assert vocabulary.to_json() == raw
    constants = constants_of(model_of(3))
    np.testing.assert_array_equal(vocabulary.traits.success, constants.traits.success)
    np.testing.assert_array_equal(vocabulary.sequences.values, constants.sequences.values)


def packed(values: Any, kind: str) -> str:
    return base64.b64encode(np.asarray(values).astype(kind).tobytes()).decode()


@pytest.mark.parametrize(
    "change",
    [
        {"traits": {"success": packed([0.0], "<f4")}},
        {"traits": {"success": packed(np.full(8, np.nan), "<f4")}},
        {"traits": {"time_noise": packed([0.0, 1.0, 1.0, 1.0], "<f4")}},
        {"traits": {"time_noise": packed([1.0], "<f4")}},
        {"traits": {"success_noise": "not base64!"}},
        {"traits": {"n_traits": 3}},
        {"traits": {"n_traits": 10**30}},
        {"paths": {"keys": packed([2, 1], "<u4"), "values": packed([0, 0], "<f2")}},
        {"paths": {"keys": packed([1, 2], "<u4"), "values": packed([0], "<f2")}},
        {"paths": {"keys": packed([1], "<u4"), "values": packed([np.inf], "<f2")}},
        {"paths": {"keys": "AAA=", "values": ""}},
    ],
)
def test_a_damaged_population_is_refused(change: dict[str, dict[str, Any]]) -> None:
    document = json.loads(version_files()["vocabulary.json"])
    for name, part in change.items():
        document[name] = {**document[name], **part}
    with pytest.raises(ModelError, match=r"vocabulary\.json"):
        read_vocabulary(json.dumps(document).encode())


def test_a_population_of_other_topics_than_lnirts_is_refused() -> None:
    files = with_vocabulary(version_files(), traits=constants_of(model_of(7)).traits)
    with pytest.raises(ModelError, match="number of topics"):
        Predictor.from_files(files)


def test_a_newcomer_is_predicted_as_others_who_began_there() -> None:
    model = model_of(3, times=False)
    # Everybody's first answer is wrong, everything later on the same topic right.
    rows = [(student, 0, number > 0) for student in range(60) for number in range(6)]
    plain_lnirt = VersionConstants.of_lnirt(model)
    learnt = replace(plain_lnirt, sequences=fit_sequences(table_of(rows), model))
    newcomer = UserState("new", 0, ())
    (began, elsewhere), (plain, same) = (
        [
            success_priors(StateView(newcomer, constants).summary(topic, 2, None), model).logit
            for topic in ("topic 0", "topic 1")
        ]
        for constants in (learnt, plain_lnirt)
    )
    assert began < plain - 0.5
    assert began < elsewhere < same
    at, away = (
        StateView(newcomer, learnt).summary(topic, 2, None).sequences[FIRST_TOPIC] for topic in ("topic 0", "topic 1")
    )
    assert 0.6 * at < away < 0.4 * at  # one topic says little about the others


def test_first_answers_of_many_topics_say_what_to_expect_of_another() -> None:
    model = model_of(12, times=False)
    # Two students begin with each of ten topics, fail, and succeed from then on. Nobody begins with the other two.
    rows = [(student, student % 10, number > 0) for student in range(20) for number in range(6)]
    learnt = replace(VersionConstants.of_lnirt(model), sequences=fit_sequences(table_of(rows), model))
    plain, informed = (
        [
            success_priors(StateView(UserState("new", 0, ()), constants).summary(topic, 2, None), model).logit
            for topic in ("topic 3", "topic 11")
        ]
        for constants in (VersionConstants.of_lnirt(model), learnt)
    )
    assert all(after < before - 0.5 for before, after in zip(plain, informed, strict=True))
