"""Ranking, forgetting, and the vectorised predictions behind them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest

from chalicelib.domain.predictions import DEFAULT_PREDICTION, Prediction, Source
from chalicelib.domain.tasks import Difficulty
from chalicelib.features.state import Answer, UserState, replay
from chalicelib.ports import TopicChoice
from chalicelib.prediction.predictor import Predictor, predict, predict_at, predict_many
from chalicelib.services.recommendations import (
    FORGETTING_BONUS,
    Candidate,
    bonus,
    candidates,
    rank,
    remembered,
)
from tests.support.archives import attentive_files, forgetful_files, overflowing, version_files
from tests.support.histories import simulate, state_before

NOW = datetime(2026, 1, 31, tzinfo=UTC)
NEWCOMER = UserState("newcomer", 0, ())


def candidate(chance: float, topic: str = "Algebra", own: bool = True, days: float | None = None) -> Candidate:
    prediction = Prediction(chance, 30, 20, 40, Source.EMBEDDING, "v1")
    rows = () if days is None else state(days, *[True] * 3).rows
    return Candidate(
        TopicChoice("Maths", topic, topic.lower(), own), Difficulty.HARD, prediction, *remembered(rows, NOW)
    )


def state(days_ago: float, *outcomes: bool, at: bool = True) -> UserState:
    moment = NOW - timedelta(days=days_ago) if at else None
    return replay("student 0", [Answer("algebra", 2, outcome, 30.0, moment) for outcome in outcomes])


def test_the_nearest_to_the_target_comes_first_and_the_limit_holds() -> None:
    found = [candidate(0.2, "A"), candidate(0.78, "B"), candidate(0.7, "C"), candidate(0.99, "D")]
    assert [one.topic for one in rank(found, 0.75, 3)] == ["B", "C", "D"]
    assert [one.topic for one in rank(found, 0.1, 1)] == ["A"]


def test_equal_scores_stay_in_the_order_in_which_they_came() -> None:
    assert [one.topic for one in rank([candidate(0.7, "B"), candidate(0.7, "A")], 0.75, 2)] == ["B", "A"]


def test_what_is_about_to_be_forgotten_comes_before_what_is_fresh() -> None:
    fresh, fading = candidate(0.75, "Fresh", days=0.01), candidate(0.70, "Fading", days=16.0)
    first, second = rank([fresh, fading], 0.75, 2)
    assert (first.topic, second.topic) == ("Fading", "Fresh")
    assert first.reason.startswith("You last practised this 16 days ago and may be forgetting it.")


def test_the_bonus_peaks_in_between_and_never_exceeds_its_maximum() -> None:
    values = [bonus(candidate(0.5, days=float(days))) for days in (0, 4, 16, 60, 1000)]
    assert values.index(max(values)) == 2
    assert values[0] == 0.0
    assert all(0.0 <= value <= FORGETTING_BONUS for value in values)


def test_what_was_answered_right_more_often_is_remembered_longer() -> None:
    retention = [remembered(state(4, *outcomes).rows, NOW)[0] for outcomes in ([False] * 4, [True], [True] * 4)]
    assert retention == sorted(retention, key=lambda value: value or 0.0)
    assert len(set(retention)) == 3


def test_a_version_with_forgetting_says_how_much_is_remembered() -> None:
    predictor = Predictor.from_files(forgetful_files(pause=0.5))
    past = replay(
        "student 0",
        [
            Answer("topic 0", 2, True, 30.0, NOW - timedelta(hours=99)),
            Answer("b", 2, True, 30.0, NOW - timedelta(hours=3)),
        ],
    )
    choices = [TopicChoice("Maths", key, key, True) for key in ("topic 0", "b", "topic 1")]
    found = {one.choice.topic_key: one.retention for one in candidates(predictor, past, choices, NOW)}
    # Three hours since any answer, at half a logit per log(1 + hours).
    assert found["topic 0"] == found["b"] == pytest.approx(0.5)
    assert found["topic 1"] is None
    assert predictor.lnirt.forgetting is not None
    rates = np.full(len(predictor.lnirt.easiness), 0.25)
    forgetting = msgspec.structs.replace(predictor.lnirt.forgetting, rate=rates)
    assert forgetting.retention(0, 99.0, 3.0) == pytest.approx(100**-0.25 * 0.5)


def test_topics_without_dated_answers_get_no_bonus() -> None:
    assert remembered(state(4, True, at=False).rows, NOW) == (None, None, None)
    assert bonus(candidate(0.5)) == 0.0


def test_a_default_prediction_says_that_there_is_none() -> None:
    choice = TopicChoice("Maths", "Algebra", "algebra", True)
    (one, *_) = rank(candidates(None, NEWCOMER, [choice], NOW), 0.75, 10)
    assert one.prediction_source is Source.DEFAULT
    assert "no prediction" in one.reason


def test_every_choice_is_considered_at_every_difficulty() -> None:
    choices = [TopicChoice("Maths", name, name.lower(), True) for name in ("Topic 0", "Elsewhere")]
    found = candidates(Predictor.from_files(version_files()), state(1, True), choices, NOW)
    assert [(one.choice.topic, one.difficulty) for one in found] == [
        (choice.topic, difficulty) for choice in choices for difficulty in Difficulty
    ]


REQUESTED = [(f"topic {number}", difficulty) for number in range(5) for difficulty in range(1, 5)]


@pytest.mark.parametrize("times", [True, False])
@pytest.mark.parametrize("row", [0, 1, 30, 199])
def test_predicting_many_equals_predicting_one_by_one(times: bool, row: int) -> None:
    predictor = Predictor.from_files(attentive_files(times=times))  # knows topics 0 to 2
    table = simulate(3, 4, 200, times=times)
    before = state_before(table, row)
    for many, (topic, difficulty) in zip(predict_many(predictor, before, REQUESTED, NOW), REQUESTED, strict=True):
        one = predict(predictor, before, topic, difficulty, NOW)
        assert many.source is one.source
        np.testing.assert_allclose(many.correct, one.correct, atol=1e-5)
        assert many.seconds == pytest.approx(one.seconds, abs=1)
        assert (many.seconds_low is None) == (one.seconds_low is None)


@pytest.mark.parametrize("times", [True, False])
@pytest.mark.parametrize("row", [0, 1, 199])
def test_predicting_at_moments_equals_predicting_at_each(times: bool, row: int) -> None:
    predictor = Predictor.from_files(attentive_files(times=times))
    before = state_before(simulate(3, 4, 200, times=times), row)
    moments = [NOW + timedelta(days=days) for days in (-400, -1, 0, 3, 30)]
    together = predict_at(predictor, before, REQUESTED, moments)
    assert len(together) == len(moments)
    for found, moment in zip(together, moments, strict=True):
        for one, alone in zip(found, predict_many(predictor, before, REQUESTED, moment), strict=True):
            assert one.correct == pytest.approx(alone.correct, abs=1e-6)  # blocks of another size round otherwise
            assert (one.source, one.model_version) == (alone.source, alone.model_version)
            assert one.seconds == pytest.approx(alone.seconds, abs=1)


def test_without_a_version_all_are_the_default() -> None:
    assert predict_at(None, NEWCOMER, REQUESTED, [NOW, NOW]) == [[DEFAULT_PREDICTION] * len(REQUESTED)] * 2
    assert predict_many(None, NEWCOMER, REQUESTED, NOW) == [DEFAULT_PREDICTION] * len(REQUESTED)


def test_networks_that_overflow_fall_back_to_lnirt_and_say_why(caplog: pytest.LogCaptureFixture) -> None:
    predictor = overflowing()
    before = replay("student 0", [Answer("topic 0", 2, True, 30.0, NOW)] * 30)
    with caplog.at_level(logging.WARNING, "studysmart.prediction"):
        many = predict_many(predictor, before, REQUESTED, NOW)
    for found, requested in zip(many, REQUESTED, strict=True):
        alone = predict(predictor, before, *requested, NOW)
        assert found.correct == pytest.approx(alone.correct, abs=1e-12)
        assert msgspec.structs.replace(found, correct=alone.correct) == alone
    assert any(message.startswith("Embedding model prediction failed") for message in caplog.messages)
