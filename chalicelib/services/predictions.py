"""Predicting for a student, with or without a task."""

from __future__ import annotations

from datetime import UTC, datetime

from chalicelib import logs
from chalicelib.domain.predictions import Prediction, Source
from chalicelib.domain.tasks import Difficulty, name_key
from chalicelib.features.state import UserState
from chalicelib.ports import TaskStore
from chalicelib.prediction.explain import Influence, explain
from chalicelib.prediction.predictor import Predictor, predict
from chalicelib.services.champion import ChampionCache


def predict_for(
    tasks: TaskStore, champion: ChampionCache, user_id: str, topic: str, difficulty: Difficulty
) -> Prediction:
    """What the student is expected to do on a task of this topic and difficulty now."""
    context = tasks.prediction_context(user_id)
    predictor = champion.current(context.model_version)
    key = name_key(topic)
    prediction = predict(predictor, context.state, key, difficulty.numeric, datetime.now(UTC))
    _note(prediction, predictor, context.state, key)
    return prediction


def predict_and_explain(
    tasks: TaskStore, champion: ChampionCache, user_id: str, topic: str, difficulty: Difficulty
) -> tuple[Prediction, list[Influence]]:
    """A prediction, and what moved it: a dozen predictions' work, so never on the way of creating a task."""
    context, now = tasks.prediction_context(user_id), datetime.now(UTC)
    predictor = champion.current(context.model_version)
    key, level = name_key(topic), difficulty.numeric
    prediction = predict(predictor, context.state, key, level, now)
    _note(prediction, predictor, context.state, key)
    return prediction, explain(predictor, prediction, context.state, key, level, now)


def fallback_reason(prediction: Prediction, predictor: Predictor | None, state: UserState, topic: str) -> str | None:
    """Why the networks did not make this prediction on a topic key; None when they did.

    ``all new`` is a new student on a new topic. No reason is part of another, so that queries tell them apart.
    """
    if prediction.source is Source.EMBEDDING:
        return None
    if predictor is None:
        return "no model"
    new_student, new_topic = state.n_answers == 0, not predictor.knows(topic)
    if new_student and new_topic:
        return "all new"
    return "new student" if new_student else "new topic" if new_topic else "networks failed"


def _note(prediction: Prediction, predictor: Predictor | None, state: UserState, topic: str) -> None:
    """For the request's line and metrics."""
    logs.note(source=prediction.source.value)
    if (reason := fallback_reason(prediction, predictor, state, topic)) is not None:
        logs.note(fallback_reason=reason)
