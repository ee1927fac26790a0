"""Use cases of predictions: predict for a student, and explain the prediction."""

from __future__ import annotations

from datetime import UTC, datetime

from chalicelib import logs
from chalicelib.domain.items import key_of_id
from chalicelib.domain.predictions import Prediction, Source
from chalicelib.domain.tasks import Difficulty, name_key
from chalicelib.features.state import UserState
from chalicelib.ports import PredictionContext, TaskStore
from chalicelib.prediction.chain import choose
from chalicelib.prediction.explain import Influence, explain
from chalicelib.prediction.predictor import Predictor, predict
from chalicelib.services.champion import ChampionCache


def predict_for(
    tasks: TaskStore, champion: ChampionCache, user_id: str, topic: str, difficulty: Difficulty
) -> Prediction:
    """Predict the student's result on a task of this topic and difficulty now."""
    return predict_in(tasks.prediction_context(user_id), champion, topic, difficulty)


def predict_in(context: PredictionContext, champion: ChampionCache, topic: str, difficulty: Difficulty) -> Prediction:
    """Predict from a context that was read already, for the item that it was read for."""
    return _predict(context, champion, topic, difficulty, datetime.now(UTC))[0]


def predict_and_explain(
    tasks: TaskStore,
    champion: ChampionCache,
    user_id: str,
    topic: str,
    difficulty: Difficulty,
    item_id: str | None = None,
) -> tuple[Prediction, list[Influence]]:
    """Return a prediction with its explanation, which takes as long as a dozen predictions."""
    now = datetime.now(UTC)
    context = tasks.prediction_context(user_id, None if item_id is None else key_of_id(item_id))
    prediction, predictor, state = _predict(context, champion, topic, difficulty, now)
    return prediction, explain(predictor, prediction, state, name_key(topic), difficulty.numeric, now)


def _predict(
    context: PredictionContext, champion: ChampionCache, topic: str, difficulty: Difficulty, now: datetime
) -> tuple[Prediction, Predictor | None, UserState]:
    """Return a prediction, and the predictor and state behind it. Its source goes into the request's log line."""
    predictor = champion.current(context.model_version)
    key = name_key(topic)
    prediction = predict(predictor, context.state, key, difficulty.numeric, now)
    logs.note(source=prediction.source.value)
    if (reason := fallback_reason(prediction, predictor, context.state, key)) is not None:
        logs.note(fallback_reason=reason)
    return prediction, predictor, context.state


def fallback_reason(prediction: Prediction, predictor: Predictor | None, state: UserState, topic: str) -> str | None:
    """Return why the networks did not make a prediction on a topic key, None if they did.

    ``all new`` means a new student on a new topic. No reason is a part of another one, so queries can search for them.
    """
    if prediction.source is Source.EMBEDDING:
        return None
    if predictor is None:
        return "no model"
    chosen = choose(predictor.knows(topic), state.n_answers)
    if chosen is Source.EMBEDDING:
        return "networks failed"
    if chosen is Source.DEFAULT:
        return "all new"
    return "new student" if state.n_answers == 0 else "new topic"
