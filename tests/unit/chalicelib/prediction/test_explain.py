"""What moved a prediction: signs, what is left out, and where there is nothing to say."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest

from chalicelib.domain.predictions import DEFAULT_PREDICTION, Source
from chalicelib.features.inputs import N_ITEM_COLUMNS
from chalicelib.features.item_effects import ItemTable
from chalicelib.features.items import ItemRecord
from chalicelib.features.sequences import ATTEMPTS, no_sequences
from chalicelib.features.state import Answer, UserState, replay
from chalicelib.features.summary import Summary
from chalicelib.prediction.explain import Group, Influence, explain
from chalicelib.prediction.predictor import Predictor
from chalicelib.prediction.vocabulary import read_vocabulary
from tests.support.archives import (
    N_DENSE,
    Layer,
    archive,
    attentive_files,
    forgetful_files,
    headed,
    network_input_layers,
    overflowing,
    version_files,
    with_vocabulary,
)

NOW = datetime(2026, 1, 31, tzinfo=UTC)
NEWCOMER = UserState("newcomer", 0, ())


def practised(*outcomes: bool, topic: str = "topic 0", seconds: float = 30.0) -> UserState:
    return replay("student 0", [Answer(topic, 2, outcome, seconds, NOW) for outcome in outcomes])


def why(predictor: Predictor, state: UserState, topic: str, difficulty: int = 2) -> dict[Group, Influence]:
    prediction = predictor.predict(state, topic, difficulty, NOW)
    return {one.group: one for one in explain(predictor, prediction, state, topic, difficulty, NOW)}


@pytest.fixture
def predictor() -> Predictor:
    return Predictor.from_files(version_files())


def test_successes_on_a_topic_raise_its_chance_and_failures_lower_it(predictor: Predictor) -> None:
    right = why(predictor, practised(*[True] * 6), "topic 0")[Group.TOPIC_RECORD]
    wrong = why(predictor, practised(*[False] * 6), "topic 0")[Group.TOPIC_RECORD]
    assert right.probability > 0 > wrong.probability
    assert right.text.startswith("Your record on this topic raises the chance of success by")
    assert "lowers the chance" in wrong.text


def test_a_slow_student_is_told_that_their_record_lengthens_the_time(predictor: Predictor) -> None:
    slow = why(predictor, practised(*[True] * 6, seconds=900.0), "topic 1")[Group.OVERALL_RECORD]
    assert slow.seconds is not None
    assert slow.seconds > 0
    assert "lengthens the expected time" in slow.text


def test_a_pause_says_how_long_it_was_and_lowers_the_chance() -> None:
    predictor, state, later = Predictor.from_files(forgetful_files()), practised(True, True), NOW + timedelta(hours=48)
    prediction = predictor.predict(state, "topic 0", 2, later)
    influences = {one.group: one for one in explain(predictor, prediction, state, "topic 0", 2, later)}
    assert influences[Group.PAUSE].hours_since_last == 48.0
    assert influences[Group.PAUSE].probability < 0.0
    assert {one.hours_since_last for group, one in influences.items() if group is not Group.PAUSE} == {None}
    undated = replay("student 0", [Answer("topic 0", 2, True, 30.0, None)])
    assert Group.PAUSE not in {one.group for one in explain(predictor, prediction, undated, "topic 0", 2, later)}


def test_practice_elsewhere_counts_as_recent_work(predictor: Predictor) -> None:
    assert Group.RECENT_ANSWERS in why(predictor, practised(True, True, topic="topic 1"), "topic 0")


def test_a_harder_task_is_compared_with_a_medium_one(predictor: Predictor) -> None:
    assert Group.DIFFICULTY not in why(predictor, practised(True), "topic 0", 2)
    assert why(predictor, practised(True), "topic 0", 4)[Group.DIFFICULTY].probability < 0
    assert why(predictor, practised(True), "topic 0", 1)[Group.DIFFICULTY].probability > 0


def test_a_newcomer_is_only_told_of_the_difficulty_and_of_others_who_began_so(predictor: Predictor) -> None:
    told = set(why(predictor, NEWCOMER, "topic 0", 3))
    assert {Group.DIFFICULTY} <= told <= {Group.DIFFICULTY, Group.COURSE}
    assert set(why(predictor, NEWCOMER, "topic 0", 2)) == told - {Group.DIFFICULTY}


def test_on_an_unknown_topic_lnirt_explains_itself_by_ability(predictor: Predictor) -> None:
    state = practised(*[True] * 12)
    assert predictor.predict(state, "elsewhere", 2, NOW).source is Source.LNIRT
    assert why(predictor, state, "elsewhere")[Group.OVERALL_RECORD].probability > 0


def test_the_students_own_embedding_is_compared_with_the_shared_one() -> None:
    table = Layer("Embedding", "users", ["user"], {"input_dim": 2, "output_dim": 1}, [[[0.0], [1.0]]])
    layers = [*network_input_layers(4), table, Layer("Flatten", "flat", ["users"])]
    layers += [Layer("Add", "output", ["prior", "flat"])]
    predictor = Predictor.from_files({**version_files(), "correctness_model.keras": archive(layers, "output")})
    assert why(predictor, practised(True), "topic 0")[Group.STUDENT].probability > 0.1


class Recording(Predictor):
    """Remembers which summaries it was asked about."""

    asked: list[Summary]

    def values(self, source: Source, state: UserState, past: Summary) -> tuple[float, float | None]:
        self.asked.append(past)
        return super().values(source, state, past)


def replaced(state: UserState, topic: str) -> tuple[Recording, Summary, dict[Group, Summary]]:
    """What the networks were given as the student's past, and with each group replaced."""
    predictor = Recording.from_files(attentive_files())
    assert isinstance(predictor, Recording)
    predictor.asked = []
    explain(predictor, predictor.predict(state, topic, 2, NOW), state, topic, 2, NOW)
    actual, *others = predictor.asked
    return predictor, actual, dict(zip(Group, others, strict=True))  # asked in the order of the groups


MIXED = replay(
    "student 0",
    [
        Answer("topic 1", 2, True, 20.0, NOW),
        Answer("topic 0", 3, True, 90.0, NOW),
        Answer("topic 2", 2, False, 50.0, NOW),
        Answer("topic 0", 2, True, 40.0, NOW),
        Answer("topic 1", 1, True, 70.0, NOW),
    ],
)


def test_without_the_record_on_the_topic_it_is_as_if_the_topic_was_never_met() -> None:
    predictor, actual, others = replaced(MIXED, "topic 0")
    past = others[Group.TOPIC_RECORD]
    elsewhere = UserState("student 0", 5, tuple(row for row in MIXED.rows if row.topic != "topic 0"))
    expected = predictor.summarise(elsewhere, "topic 0", 2, NOW)
    for name in (
        "last_outcome", "answers_since_topic", "attempts", "correct", "topic_decayed", "overall_decayed",
        "trait_success", "trait_log_seconds",
    ):  # fmt: skip
        np.testing.assert_allclose(getattr(past, name), getattr(expected, name), atol=1e-12, err_msg=name)
    assert (actual.last_outcome, actual.answers_since_topic) == (1.0, 2.0)
    assert (past.last_outcome, past.answers_since_topic) == (0.0, 0.0)
    assert past.trait_success != actual.trait_success != 0.0
    assert past.ability_if_incorrect == actual.ability


def test_without_the_overall_record_ability_traits_and_amounts_are_a_newcomers() -> None:
    predictor, actual, others = replaced(MIXED, "topic 0")
    past, expected = others[Group.OVERALL_RECORD], predictor.summarise(NEWCOMER, "topic 0", 2, NOW)
    for name in (
        "n_answers", "n_topics", "ability", "ability_sd", "ability_if_incorrect", "speed_precision", "speed_weighted",
        "trait_success", "trait_log_seconds",
    ):  # fmt: skip
        np.testing.assert_array_equal(getattr(past, name), getattr(expected, name), err_msg=name)
        assert getattr(past, name) != getattr(actual, name)
    assert past.last_outcome == actual.last_outcome


def test_without_the_course_only_the_paths_are_those_of_the_average_student() -> None:
    _, actual, others = replaced(MIXED, "topic 0")
    past = others[Group.COURSE]
    assert any(actual.sequences)
    assert not any(past.sequences[:ATTEMPTS])
    assert past.sequences[ATTEMPTS:] == actual.sequences[ATTEMPTS:]
    for field in msgspec.structs.fields(Summary):
        if field.name != "sequences":
            np.testing.assert_array_equal(getattr(past, field.name), getattr(actual, field.name))


@pytest.mark.parametrize(("beyond", "verb"), [(0.2, "raises"), (-0.2, "lowers")])
def test_a_course_moves_the_chance_as_its_students_performed(beyond: float, verb: str) -> None:
    known = read_vocabulary(version_files()["vocabulary.json"]).sequences
    files = with_vocabulary(version_files(), sequences=replace(known, values=np.full(len(known.keys), beyond)))
    weights = np.zeros((N_DENSE, 1))
    # The sequences are the dense columns before those of the item.
    weights[-N_ITEM_COLUMNS - ATTEMPTS : -N_ITEM_COLUMNS] = 1.0
    files["correctness_model.keras"] = headed(network_input_layers(4), "state", [weights, np.zeros(1)])
    predictor = Predictor.from_files(files)
    course = why(predictor, MIXED, "topic 0")[Group.COURSE]
    assert course.probability * beyond > 0
    assert course.text.startswith(f"The performance of students in your course {verb} the chance of success by")


def test_an_easy_exercise_raises_the_chance() -> None:
    items = ItemTable(np.array([5, 7]), np.array([1.0, -1.0]), np.zeros(2))
    predictor = Predictor.from_files(with_vocabulary(attentive_files(), items=items))
    for key, verb in ((5, "raises"), (7, "lowers")):
        item = ItemRecord(key)
        prediction = predictor.predict(MIXED, "topic 0", 2, NOW, item)
        found = {one.group: one for one in explain(predictor, prediction, MIXED, "topic 0", 2, NOW, item)}
        assert found[Group.ITEM].text.startswith(
            f"This exercise, with your record on it, {verb} the chance of success by"
        )
    assert Group.ITEM not in why(predictor, MIXED, "topic 0")


def test_where_no_path_is_known_the_course_is_not_mentioned() -> None:
    files = with_vocabulary(attentive_files(), sequences=no_sequences())
    assert Group.COURSE not in why(Predictor.from_files(files), MIXED, "topic 0")


def test_the_strongest_group_comes_first(predictor: Predictor) -> None:
    state = practised(True, False, True, True, topic="topic 1")
    prediction = predictor.predict(state, "topic 1", 4, NOW)
    moved = [abs(one.probability) for one in explain(predictor, prediction, state, "topic 1", 4, NOW)]
    assert len(moved) > 1
    assert moved == sorted(moved, reverse=True)


def test_a_version_without_times_explains_no_seconds() -> None:
    found = why(Predictor.from_files(version_files(times=False)), practised(*[True] * 6), "topic 0")
    assert found
    assert all(one.seconds is None for one in found.values())


def test_a_default_has_no_explanation(predictor: Predictor) -> None:
    assert explain(None, DEFAULT_PREDICTION, practised(True), "topic 0", 2, NOW) == []
    assert explain(predictor, DEFAULT_PREDICTION, NEWCOMER, "elsewhere", 2, NOW) == []


def test_a_network_that_overflows_leaves_it_unexplained_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    state = practised(*[True] * 30, topic="topic 1")
    prediction = Predictor.from_files(version_files()).predict(state, "topic 0", 2, NOW)
    broken = overflowing()
    with caplog.at_level(logging.WARNING, "studysmart.prediction"):
        assert explain(broken, prediction, state, "topic 0", 2, NOW) == []
    assert "could not be explained" in caplog.text
