"""Predictions without a task."""

from __future__ import annotations

from chalicelib.api.routing import Routes
from chalicelib.api.schemas import PredictionAnswer, PredictionQuery, prediction_answer
from chalicelib.domain.accounts import Caller
from chalicelib.domain.errors import ForbiddenError
from chalicelib.services import predictions
from chalicelib.wiring import Container

routes = Routes(__name__, "predictions")


@routes.route(
    "GET",
    "/predictions",
    "Predict a topic and difficulty without a task",
    query=PredictionQuery,
    answer=PredictionAnswer,
)
def predict(container: Container, caller: Caller, query: PredictionQuery) -> PredictionAnswer:
    """What the caller is expected to do; admins may ask for any student, imported ones too."""
    user_id = query.user_id or caller.user_id
    if user_id != caller.user_id and not caller.is_admin:
        raise ForbiddenError("Only admins may ask for another student")
    prediction, explanation = predictions.predict_and_explain(
        container.tasks, container.champion, user_id, query.topic, query.difficulty
    )
    return prediction_answer(query, prediction, explanation)
