"""Whatever a history looks like, it is trained on, and then every step of the chain predicts within bounds."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from datetime import UTC, datetime

import numpy as np
import pytest

from chalicelib.domain.predictions import DEFAULT_SECONDS, Prediction, Source
from chalicelib.domain.tasks import MAX_SECONDS, Difficulty, name_key
from chalicelib.features.state import UserState
from chalicelib.prediction.predictor import Predictor, predict, predict_many
from tests.support.histories import rebuilt, simulate, state_before
from tests.support.trainings import Published, published
from training_job.fit.split import validation_rows
from training_job.history.answers import AnswerTable
from training_job.history.replay import predict_history

pytestmark = pytest.mark.slow

ANSWERS = 200
"""Of most histories: enough for 40 validation answers, so that the networks' worth is looked at."""


def _usual() -> AnswerTable:
    return simulate(6, 5, ANSWERS)


def _crowded() -> AnswerTable:
    table = _usual()
    return rebuilt(table, user=np.where(np.random.default_rng(0).random(ANSWERS) < 0.9, 0, table.user))


def _without_exceptions() -> AnswerTable:
    table = simulate(4, 2, 4 * ANSWERS)
    return rebuilt(table, is_correct=table.user % 2 == 1)


def _topics_met_once() -> AnswerTable:
    table = simulate(30, 1500, 1500)
    return rebuilt(table, topic=np.random.default_rng(0).permutation(1500))


HISTORIES: dict[str, Callable[[], AnswerTable]] = {
    "ten samples": lambda: simulate(2, 2, 10),
    "no times and no timestamps": lambda: rebuilt(_usual(), seconds=None, at=None),
    "three times": lambda: rebuilt(_usual(), seconds=np.where(np.arange(ANSWERS) < 3, _usual().seconds, np.nan)),
    "enough students for traits": lambda: simulate(80, 5, 1600),
    "one user": lambda: simulate(1, 5, ANSWERS),
    "one topic at one difficulty": lambda: simulate(6, 1, ANSWERS, levels=(2,)),
    "one user with most answers": _crowded,
    "students who are always right or always wrong": _without_exceptions,
    "absurd times": lambda: rebuilt(_usual(), seconds=np.random.default_rng(0).choice([0.1, 72_000.0], ANSWERS)),
    "times only in the newest answers": lambda: rebuilt(
        _usual(), seconds=np.where(validation_rows(_usual()), _usual().seconds, np.nan)
    ),
    "1,500 topics, each met once": _topics_met_once,
    "one failure, in the newest answers": lambda: rebuilt(_usual(), is_correct=_usual().order != ANSWERS - 3),
}


Odd = tuple[AnswerTable, Published, Predictor]


@pytest.fixture(scope="module", params=list(HISTORIES))
def odd(request: pytest.FixtureRequest, processes: Executor) -> Odd:
    table = HISTORIES[request.param]()
    trained = processes.submit(published, table).result()
    return table, trained, trained.predictor()


def test_every_answer_of_the_history_gets_a_finite_bounded_prediction(odd: Odd) -> None:
    table, trained, predictor = odd
    assert trained.max_difference <= 1e-5
    assert sum(map(len, trained.files.values())) < 4 * 1024 * 1024
    for served in (trained.validated, predict_history(predictor, table, np.ones(len(table), dtype=np.bool_))):
        assert ((served.correct >= 0.01) & (served.correct <= 0.99)).all()
        assert np.isfinite(served.log_seconds).all()


def _is_sound(prediction: Prediction, has_times: bool) -> bool:
    if not (0.01 <= prediction.correct <= 0.99 and isinstance(prediction.seconds, int)):
        return False
    low, high = prediction.seconds_low, prediction.seconds_high
    if prediction.source is Source.DEFAULT or not has_times:
        return prediction.seconds == DEFAULT_SECONDS and low is None and high is None
    return low is not None and high is not None and 1 <= low <= prediction.seconds <= high <= MAX_SECONDS


def test_the_whole_chain_answers_at_every_difficulty_for_everybody(odd: Odd) -> None:
    table, _, predictor = odd
    now = datetime(2026, 1, 1, tzinfo=UTC)
    student = state_before(table, int(np.flatnonzero(table.user == table.user[0])[-1]))
    stranger = UserState("nobody we met", student.n_answers, student.rows)
    newcomer = UserState("nobody we met", 0, ())
    practised, elsewhere = table.topics[table.topic[0]], "a topic that nobody practised"
    expected = {
        (student, practised): Source.EMBEDDING, (stranger, practised): Source.EMBEDDING,
        (student, elsewhere): Source.LNIRT, (newcomer, practised): Source.LNIRT,
        (newcomer, elsewhere): Source.DEFAULT,
    }  # fmt: skip
    for (state, topic), source in expected.items():
        requested = [(name_key(f"  {topic.upper()} "), difficulty.numeric) for difficulty in Difficulty]
        found = [predict(predictor, state, *what, now) for what in requested]
        assert [prediction.source for prediction in found] == [source] * 4
        assert all(_is_sound(prediction, bool(table.timed.sum() >= 5)) for prediction in found)
        together = predict_many(predictor, state, requested, now)
        assert [prediction.correct for prediction in together] == pytest.approx([p.correct for p in found], abs=1e-5)
