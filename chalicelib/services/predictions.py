"""Use cases of predictions: predict for a student, and explain the prediction."""

from __future__ import annotations

from datetime import UTC, datetime

from chalicelib import logs
from chalicelib.domain.items import key_of_id
from chalicelib.domain.predictions import Prediction, Source
from chalicelib.domain.tasks import Difficulty, name_key
from chalicelib.domain.topics import split_key, topic_key
from chalicelib.features.columns import StateColumns
from chalicelib.features.items import ItemRecord
from chalicelib.features.state import UserState
from chalicelib.ports import PredictionContext, TaskStore
from chalicelib.prediction.chain import choose
from chalicelib.prediction.explain import Influence, explain
from chalicelib.prediction.predictor import Predictor, predict
from chalicelib.services.champion import ChampionCache


def predict_for(
    tasks: TaskStore, champion: ChampionCache, user_id: str, subject: str, topic: str, difficulty: Difficulty
) -> Prediction:
    """Predict the student's result on a task of this topic, given by its names, and difficulty now."""
    return predict_in(tasks.prediction_context(user_id), champion, topic_key(subject, topic), difficulty)


def predict_in(context: PredictionContext, champion: ChampionCache, topic: str, difficulty: Difficulty) -> Prediction:
    """Predict a topic, given by its key, from a context that was read already for the item."""
    predictor = champion.current(context.model_version)
    return _predict(predictor, context.state, topic, difficulty, datetime.now(UTC), context.item)


def predict_and_explain(
    tasks: TaskStore,
    champion: ChampionCache,
    user_id: str,
    subject: str | None,
    topic: str,
    difficulty: Difficulty,
    item_id: str | None = None,
) -> tuple[Prediction, list[Influence]]:
    """Return a prediction with its explanation, which takes as long as a dozen predictions.

    Subject and topic are names. Without a subject, :func:`key_of_name` finds one that has the topic.
    """
    now = datetime.now(UTC)
    context = tasks.prediction_context(user_id, None if item_id is None else key_of_id(item_id))
    predictor, state = champion.current(context.model_version), context.state
    key = key_of_name(predictor, state, topic) if subject is None else topic_key(subject, topic)
    prediction = _predict(predictor, state, key, difficulty, now, context.item)
    return prediction, explain(predictor, prediction, state, key, difficulty.numeric, now, context.item)


def key_of_name(predictor: Predictor | None, state: UserState, topic: str) -> str:
    """Return the key of a topic whose subject is not known, from its name.

    It is the one that the student practised last. If the student has no such topic, it is the one with the most answers
    among those that the version names. Otherwise the key has no subject.
    """
    name = name_key(topic)
    stored = StateColumns.of_rows(state.rows)
    own = [row for row, key in enumerate(stored.topics) if split_key(key)[1] == name]
    if own:
        return stored.topics[max(own, key=stored.last_index.tolist().__getitem__)]
    named = () if predictor is None else predictor.vocabulary.topics
    return next((key for key in named if split_key(key)[1] == name), name)


def _predict(
    predictor: Predictor | None,
    state: UserState,
    topic: str,
    difficulty: Difficulty,
    now: datetime,
    item: ItemRecord,
) -> Prediction:
    """Return the prediction of a topic key. Its source goes into the request's log line."""
    prediction = predict(predictor, state, topic, difficulty.numeric, now, item)
    logs.note(source=prediction.source.value)
    if (reason := fallback_reason(prediction, predictor, state, topic)) is not None:
        logs.note(fallback_reason=reason)
    return prediction


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
