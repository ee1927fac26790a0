"""Predicting for a student, with or without a task."""

from __future__ import annotations

from datetime import UTC, datetime

from chalicelib.domain.predictions import Prediction
from chalicelib.domain.tasks import Difficulty, name_key
from chalicelib.prediction.explain import Influence, explain
from chalicelib.prediction.predictor import predict
from chalicelib.services.champion import ChampionModels
from chalicelib.services.ports import TaskStore


def predict_for(
    tasks: TaskStore, models: ChampionModels, user_id: str, topic: str, difficulty: Difficulty
) -> Prediction:
    """What the student is expected to do on a task of this topic and difficulty now."""
    context = tasks.prediction_context(user_id)
    predictor = models.current(context.model_version)
    return predict(predictor, context.state, name_key(topic), difficulty.numeric, datetime.now(UTC))


def predict_and_explain(
    tasks: TaskStore, models: ChampionModels, user_id: str, topic: str, difficulty: Difficulty
) -> tuple[Prediction, list[Influence]]:
    """A prediction, and what moved it: a dozen predictions' work, so never on the way of creating a task."""
    context, now = tasks.prediction_context(user_id), datetime.now(UTC)
    predictor = models.current(context.model_version)
    key, level = name_key(topic), difficulty.numeric
    prediction = predict(predictor, context.state, key, level, now)
    return prediction, explain(predictor, prediction, context.state, key, level, now)
