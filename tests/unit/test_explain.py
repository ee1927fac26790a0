"""What moved a prediction: signs, what is left out, and where there is nothing to say."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest

from chalicelib.domain.predictions import DEFAULT_PREDICTION, Source
from chalicelib.features.practice_state import Answer, UserState, replay
from chalicelib.prediction.explain import Group, Influence, explain
from chalicelib.prediction.predictor import Predictor
from tests.unit.archives import Layer, archive, network, network_input_layers, version_files

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


def test_practice_elsewhere_counts_as_recent_work(predictor: Predictor) -> None:
    assert Group.RECENT_ANSWERS in why(predictor, practised(True, True, topic="topic 1"), "topic 0")


def test_a_harder_task_is_compared_with_a_medium_one(predictor: Predictor) -> None:
    assert Group.DIFFICULTY not in why(predictor, practised(True), "topic 0", 2)
    assert why(predictor, practised(True), "topic 0", 4)[Group.DIFFICULTY].probability < 0
    assert why(predictor, practised(True), "topic 0", 1)[Group.DIFFICULTY].probability > 0


def test_a_newcomer_is_only_told_of_the_difficulty(predictor: Predictor) -> None:
    assert set(why(predictor, NEWCOMER, "topic 0", 3)) == {Group.DIFFICULTY}
    assert why(predictor, NEWCOMER, "topic 0", 2) == {}


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
    broken = Predictor.from_files({**version_files(), "correctness_model.keras": network(3e38, 4)})
    with caplog.at_level(logging.WARNING, "studysmart.prediction"):
        assert explain(broken, prediction, state, "topic 0", 2, NOW) == []
    assert "could not be explained" in caplog.messages[0]
