"""The fallback chain, its bounds, and the batch path of the same predictions."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from chalicelib.domain.errors import ModelError
from chalicelib.domain.predictions import DEFAULT_PREDICTION, Source
from chalicelib.features.item_effects import ItemTable
from chalicelib.features.items import ItemRecord
from chalicelib.features.state import Answer, UserState, replay
from chalicelib.prediction.predictor import Predictor, predict
from tests.support.archives import (
    attentive_files,
    attentive_network,
    n_dense_of,
    overflowing,
    version_files,
    with_vocabulary,
)
from tests.support.histories import begun_at, simulate, state_before
from training_job.history.replay import predict_history

NOW = datetime(2026, 1, 31, tzinfo=UTC)
NEWCOMER = UserState("newcomer", 0, ())


@pytest.fixture
def predictor() -> Predictor:
    return Predictor.from_files(version_files())


def practised(*outcomes: bool, topic: str = "topic 0", seconds: float | None = 30.0) -> UserState:
    return replay("student 0", [Answer(topic, 2, outcome, seconds, NOW) for outcome in outcomes])


def test_without_a_version_the_default_answers() -> None:
    assert predict(None, practised(True), "topic 0", 2, NOW) == DEFAULT_PREDICTION


def test_a_newcomer_gets_lnirt_on_a_known_topic_only(predictor: Predictor) -> None:
    assert predict(predictor, NEWCOMER, "elsewhere", 2, NOW) == DEFAULT_PREDICTION
    prediction = predict(predictor, NEWCOMER, "topic 1", 2, NOW)
    assert (prediction.source, prediction.lnirt_model_version) == (Source.LNIRT, "lnirt_v1")


def test_a_student_on_an_unknown_topic_gets_lnirt_of_their_own_ability(predictor: Predictor) -> None:
    strong = predict(predictor, practised(*[True] * 12, seconds=10.0), "elsewhere", 2, NOW)
    weak = predict(predictor, practised(*[False] * 12, seconds=300.0), "elsewhere", 2, NOW)
    assert strong.source is weak.source is Source.LNIRT
    assert strong.correct > weak.correct
    assert strong.seconds < weak.seconds


def test_a_student_with_one_answer_on_a_known_topic_gets_the_embedding(predictor: Predictor) -> None:
    prediction = predict(predictor, practised(True), "topic 1", 2, NOW)
    assert prediction.source is Source.EMBEDDING
    assert prediction.lnirt_model_version == "embedding_v1"
    assert prediction.seconds_low is not None
    assert prediction.seconds_high is not None
    assert prediction.seconds_low <= prediction.seconds <= prediction.seconds_high


def test_a_network_that_overflows_falls_back_to_lnirt_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    state = practised(*[True] * 30)
    with caplog.at_level(logging.WARNING, "studysmart.prediction"):
        prediction = predict(overflowing(), state, "topic 1", 2, NOW)
    assert prediction.source is Source.LNIRT
    assert caplog.messages[0].startswith("Embedding model prediction failed, falling back to LNIRT: ")


def test_a_version_without_times_lets_the_time_fall_back() -> None:
    prediction = predict(Predictor.from_files(version_files(times=False)), practised(True), "topic 0", 2, NOW)
    assert prediction.source is Source.EMBEDDING
    assert (prediction.seconds, prediction.seconds_low, prediction.seconds_high) == (60, None, None)


@pytest.mark.parametrize("outcome", [True, False])
@pytest.mark.parametrize("seconds", [0.1, 86_400.0, None])
def test_extreme_students_stay_within_the_bounds(predictor: Predictor, outcome: bool, seconds: float | None) -> None:
    state = practised(*[outcome] * 500, seconds=seconds)
    for difficulty in range(1, 5):
        prediction = predict(predictor, state, "topic 0", difficulty, NOW)
        assert 0.01 <= prediction.correct <= 0.99
        assert 1 <= prediction.seconds <= 86_400


@pytest.mark.parametrize("before", [(), (False,), (True, True, False), (True,) * 9, (False,) * 9])
def test_a_success_never_predicts_less_than_a_failure(before: tuple[bool, ...]) -> None:
    for files in (version_files(), attentive_files()):
        predictor = Predictor.from_files(files)
        right, wrong = (predict(predictor, practised(*before, outcome), "topic 0", 2, NOW) for outcome in (True, False))
        assert right.correct >= wrong.correct


def test_easier_levels_are_never_predicted_to_be_harder(predictor: Predictor) -> None:
    chances = [predict(predictor, NEWCOMER, "topic 2", difficulty, NOW).correct for difficulty in range(1, 5)]
    assert chances == sorted(chances, reverse=True)


@pytest.mark.parametrize("times", [True, False])
def test_predicting_a_history_equals_predicting_one_by_one(times: bool) -> None:
    predictor = Predictor.from_files(attentive_files(times=times))
    table = simulate(5, 4, 80)  # topic 3 is unknown to the version
    requested = np.random.default_rng(0).random(len(table)) < 0.7
    requested[:3] = True
    batch = predict_history(predictor, table, requested)
    for position, row in enumerate(np.flatnonzero(requested)):
        moment = begun_at(table, int(row)) or NOW
        one = predict(
            predictor, state_before(table, int(row)), table.topics[table.topic[row]], int(table.difficulty[row]), moment
        )
        assert batch.correct[position] == pytest.approx(one.correct, abs=1e-5)
        seconds = float(np.exp(batch.log_seconds[position]))
        assert seconds == pytest.approx(round(seconds), abs=1e-6)
        assert seconds == pytest.approx(one.seconds, abs=1.01)
        assert np.isnan(batch.low[position]) == (one.seconds_low is None)


def of_schema(schema: int) -> Predictor:
    """A version of an older schema, whose networks read every input."""
    n_dense = n_dense_of(schema)
    files = version_files()
    document = json.loads(files["vocabulary.json"]) | {"feature_schema": schema, "mean": [0.0] * n_dense}
    document = {name: value for name, value in document.items() if name != "items" or schema > 3}
    files["vocabulary.json"] = json.dumps(document | {"scale": [1.0] * n_dense}).encode()
    for name in ("correctness_model.keras", "time_model.keras"):
        files[name] = attentive_network(4, n_dense, n_monotone=1)
    return Predictor.from_files(files)


def test_a_version_from_before_forgetting_reads_pauses_as_it_did() -> None:
    older, state = of_schema(4), practised(True, False)
    soon, later = (older.predict(state, "topic 1", 2, NOW + timedelta(hours=hours)) for hours in (0, 500))
    assert soon.source is later.source is Source.EMBEDDING
    assert soon.correct != later.correct
    assert older.predict_many(state, [("topic 1", 2)], NOW) == [soon]


def test_a_version_from_before_the_items_is_served_as_it_was() -> None:
    older = of_schema(3)
    state, item = practised(True, False), ItemRecord(5, 1, 1, True, 1, NOW)
    alone = older.predict(state, "topic 1", 2, NOW)
    assert alone.source is Source.EMBEDDING
    assert older.predict(state, "topic 1", 2, NOW, item) == alone
    assert older.predict_many(state, [("topic 1", 2)], NOW) == [alone]


def test_the_effect_of_an_item_moves_the_chance_and_the_time() -> None:
    items = ItemTable(np.array([5, 7]), np.array([1.0, -1.0]), np.array([-0.5, 0.5]))
    version = Predictor.from_files(with_vocabulary(version_files(weight=0.0), items=items))
    for state, topic in ((NEWCOMER, "topic 1"), (practised(True), "topic 1"), (practised(True), "elsewhere")):
        easy, plain, hard = (version.predict(state, topic, 2, NOW, ItemRecord(key)) for key in (5, 6, 7))
        assert easy.correct > plain.correct > hard.correct
        assert easy.seconds < plain.seconds < hard.seconds
        assert plain == version.predict(state, topic, 2, NOW)


@pytest.mark.parametrize("name", sorted(version_files()))
def test_a_version_with_a_missing_or_damaged_file_is_refused(name: str) -> None:
    files = version_files()
    content = files.pop(name)
    with pytest.raises(ModelError, match=name):
        Predictor.from_files(files)
    with pytest.raises(ModelError):
        Predictor.from_files({**files, name: content[: len(content) // 2]})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("vocabulary.json", {"feature_schema": 99}),
        ("vocabulary.json", {"state_schema": 99}),
        ("vocabulary.json", {"decay_answers": [1.0]}),
        ("vocabulary.json", {"mean": [0.0]}),
        ("vocabulary.json", {"items": {"keys": "AAAA", "success": "", "time": ""}}),
        ("vocabulary.json", {"items": {"keys": "", "success": "AAA=", "time": ""}}),
        ("vocabulary.json", {"items": {"keys": "AQAAAAAAAAA=", "success": "AHw=", "time": "AAA="}}),
        ("vocabulary.json", {"pooled_columns": 7}),
        ("vocabulary.json", {"has_time": False}),
        ("vocabulary.json", {"topics": ["topic 0", "topic 1", "elsewhere"]}),
        ("vocabulary.json", {"time_pooled": [[9, 0]]}),
        ("lnirt.json", {"schema": 99}),
        ("lnirt.json", {"easiness": [[0, 0, 0, 0]]}),
        ("lnirt.json", {"offset_variance": -1}),
        ("metadata.json", {"version": None}),
    ],
)
def test_files_that_do_not_belong_together_are_refused(name: str, change: dict[str, object]) -> None:
    files = version_files()
    with pytest.raises(ModelError):
        Predictor.from_files({**files, name: json.dumps({**json.loads(files[name]), **change}).encode()})
