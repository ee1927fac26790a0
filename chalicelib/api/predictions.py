"""Predictions without a task."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from chalicelib.api.routing import Routes
from chalicelib.domain.accounts import Caller
from chalicelib.domain.errors import ForbiddenError
from chalicelib.domain.fields import LearnerId, LnirtVersion, SubjectText, TopicText, about
from chalicelib.domain.predictions import (
    HighTime,
    LowTime,
    MedianTime,
    PredictingVersion,
    PredictionSource,
    Probability,
)
from chalicelib.domain.service_accounts import Scope
from chalicelib.domain.tasks import DifficultyField, ItemId, Numeric, Subject, Topic
from chalicelib.prediction.explain import Influence
from chalicelib.services import predictions
from chalicelib.services.accounts import check_cohort
from chalicelib.services.learners import accounts_of
from chalicelib.wiring import Container

routes = Routes(__name__, "predictions")


class PredictionQuery(Struct):
    """The topic and difficulty to predict, and the exercise. ``user_id`` of another student is for admins.

    A topic is known within its ``subject``. Without one, the topic of this name that the student practised last is
    meant, or else the one with the most answers.
    """

    topic: Topic
    difficulty: DifficultyField
    subject: Subject | None = None
    item_id: ItemId | None = None
    user_id: Annotated[str, about("Another student, for admins", min_length=1, max_length=200)] | None = None


class PredictionAnswer(Struct):
    """The expected result of a student, and the reasons. 80 % of the times lie between the two limits.

    ``explanation`` names the groups of inputs that moved the prediction away from that of a new student, the strongest
    first.
    """

    subject: SubjectText | None
    topic: TopicText
    difficulty: DifficultyField
    difficulty_numeric: Numeric
    predicted_correct: Probability
    predicted_time_seconds: MedianTime
    predicted_time_low: LowTime | None
    predicted_time_high: HighTime | None
    prediction_source: PredictionSource
    model_version: PredictingVersion | None
    lnirt_model_version: LnirtVersion
    explanation: Annotated[list[Influence], about("Groups of inputs that moved the prediction, the strongest first")]


@routes.route(
    "GET",
    "/predictions",
    "Predict a topic and difficulty",
    query=PredictionQuery,
    answer=PredictionAnswer,
    errors=(403, 404),
    of_cohort=True,
    scope=Scope.PREDICTIONS,
)
def predict(container: Container, caller: Caller, query: PredictionQuery) -> PredictionAnswer:
    """Predict a topic and difficulty for the caller, without a task. Admins may ask for any student of the cohort."""
    user_id = query.user_id or caller.user_id
    if user_id != caller.user_id:
        if not caller.is_admin:
            raise ForbiddenError("Only admins may ask for another student")
        check_cohort(container.users, user_id, container.settings.cohort)
    prediction, explanation = predictions.predict_and_explain(
        container.tasks, container.champion, user_id, query.subject, query.topic, query.difficulty, query.item_id
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


class PredictionRequest(Struct):
    """A topic and difficulty to predict for a learner, and the exercise. ``subject`` is as in `GET /predictions`."""

    topic: Topic
    difficulty: DifficultyField
    subject: Subject | None = None
    item_id: ItemId | None = None
    learner_id: LearnerId | None = None


class PredictionBatch(Struct):
    """The predictions to make."""

    predictions: Annotated[
        list[PredictionRequest],
        about("Up to 1,000 predictions, of up to 1,000 learners", min_length=1, max_length=1_000),
    ]


class BatchPrediction(Struct):
    """One prediction of a batch. 80 % of the times lie between the two limits."""

    learner_id: LearnerId | None
    subject: SubjectText | None
    topic: TopicText
    difficulty: DifficultyField
    item_id: ItemId | None
    predicted_correct: Probability
    predicted_time_seconds: MedianTime
    predicted_time_low: LowTime | None
    predicted_time_high: HighTime | None
    prediction_source: PredictionSource
    model_version: PredictingVersion | None


class PredictedBatch(Struct):
    """The predictions of a batch."""

    predictions: Annotated[list[BatchPrediction], about("The predictions in the order of the request")]


@routes.route(
    "POST",
    "/predictions:batch",
    "Predict for many learners at once",
    body=PredictionBatch,
    answer=PredictedBatch,
    errors=(403, 404),
    of_cohort=True,
    scope=Scope.PREDICTIONS,
    learner=False,
)
def predict_batch(container: Container, caller: Caller, body: PredictionBatch) -> PredictedBatch:
    """Predict up to 1,000 topics, for one learner or many. It is much faster than single requests.

    Without ``learner_id`` a prediction is for the caller. Admins name existing accounts by their ids. Service accounts
    name their own learners, and one who is not known yet has no answers. Nothing is stored, and there are no
    explanations.
    """
    accounts = accounts_of(caller, {one.learner_id for one in body.predictions})
    batch = [
        predictions.Asked(accounts[one.learner_id], one.subject, one.topic, one.difficulty, one.item_id)
        for one in body.predictions
    ]
    others = set() if caller.service is not None else set(accounts.values()) - {caller.user_id}
    found = predictions.predict_batch(container.tasks, container.champion, batch, others)
    return PredictedBatch(
        [
            BatchPrediction(
                one.learner_id,
                one.subject,
                one.topic,
                one.difficulty,
                one.item_id,
                prediction.correct,
                prediction.seconds,
                prediction.seconds_low,
                prediction.seconds_high,
                prediction.source,
                prediction.model_version,
            )
            for one, prediction in zip(body.predictions, found, strict=True)
        ]
    )
