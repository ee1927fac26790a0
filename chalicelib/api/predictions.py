"""Predictions without a task."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from chalicelib.api.routing import Routes
from chalicelib.domain.accounts import Caller
from chalicelib.domain.errors import ForbiddenError
from chalicelib.domain.predictions import Source
from chalicelib.domain.tasks import Difficulty, Name
from chalicelib.prediction.explain import Influence
from chalicelib.services import predictions
from chalicelib.wiring import Container

routes = Routes(__name__, "predictions")


class PredictionQuery(Struct):
    """The topic and difficulty to predict. ``user_id`` of another student is for admins."""

    topic: Name
    difficulty: Difficulty
    subject: Name | None = None
    user_id: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class PredictionAnswer(Struct):
    """The expected result of a student, and the reasons. 80 % of the times lie between the two limits.

    ``explanation`` names the groups of inputs that moved the prediction away from that of a new student, the strongest
    first.
    """

    subject: str | None
    topic: str
    difficulty: Difficulty
    difficulty_numeric: Annotated[int, Meta(ge=1, le=4)]
    predicted_correct: Annotated[float, Meta(ge=0, le=1)]
    predicted_time_seconds: int
    predicted_time_low: int | None
    predicted_time_high: int | None
    prediction_source: Source
    model_version: str | None
    lnirt_model_version: str
    explanation: list[Influence]


@routes.route(
    "GET",
    "/predictions",
    "Predict a topic and difficulty",
    query=PredictionQuery,
    answer=PredictionAnswer,
    errors=(403,),
)
def predict(container: Container, caller: Caller, query: PredictionQuery) -> PredictionAnswer:
    """Predict a topic and difficulty for the caller, without a task. Admins may ask for any student."""
    user_id = query.user_id or caller.user_id
    if user_id != caller.user_id and not caller.is_admin:
        raise ForbiddenError("Only admins may ask for another student")
    prediction, explanation = predictions.predict_and_explain(
        container.tasks, container.champion, user_id, query.topic, query.difficulty
    )
    return PredictionAnswer(
        query.subject,
        query.topic,
        query.difficulty,
        query.difficulty.numeric,
        prediction.correct,
        prediction.seconds,
        prediction.seconds_low,
        prediction.seconds_high,
        prediction.source,
        prediction.model_version,
        prediction.lnirt_model_version,
        explanation,
    )
