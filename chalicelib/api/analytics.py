"""A student's figures, results by topic, and predicted against actual."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from chalicelib.api.routing import Access, Routes
from chalicelib.domain.accounts import Caller
from chalicelib.domain.errors import ForbiddenError
from chalicelib.domain.results import PredictedAnswer
from chalicelib.services import analytics, drift
from chalicelib.wiring import Container

routes = Routes(__name__, "analytics")


class Scope(StrEnum):
    """Whose predictions to judge."""

    MINE = "mine"
    ALL = "all"


class SummaryQuery(Struct):
    """Where the reader's days begin: minutes that their clock is ahead of UTC (-14 to 14 hours)."""

    utc_offset_minutes: Annotated[int, Meta(ge=-840, le=840)] = 0


class TopicsQuery(Struct):
    """How many topics, most recently practised first."""

    limit: Annotated[int, Meta(ge=1, le=500)] = 200


class CalibrationQuery(Struct):
    """Whose predictions; ``all`` is for admins."""

    scope: Scope = Scope.MINE


class PredictedQuery(Struct):
    """How many of one's newest answers to look through."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 300


class DriftQuery(Struct):
    """How many of the newest completions of all students, and how many of them make a window."""

    limit: Annotated[int, Meta(ge=1, le=20_000)] = 2000
    window: Annotated[int, Meta(ge=10, le=20_000)] = 200


@routes.route(
    "GET",
    "/analytics/summary",
    "Accuracy, times and the trend of 30 days",
    query=SummaryQuery,
    answer=analytics.Summary,
)
def summary(container: Container, caller: Caller, query: SummaryQuery) -> analytics.Summary:
    """The caller's figures."""
    return analytics.summary(container.analytics, caller.user_id, datetime.now(UTC), query.utc_offset_minutes)


@routes.route(
    "GET", "/analytics/topics", "Results and mastery by topic", query=TopicsQuery, answer=list[analytics.Topic]
)
def topics(container: Container, caller: Caller, query: TopicsQuery) -> list[analytics.Topic]:
    """The caller's results by topic."""
    return analytics.topics(container.analytics, caller.user_id, query.limit)


@routes.route(
    "GET",
    "/analytics/calibration",
    "Predicted against actual, over all and by model version",
    query=CalibrationQuery,
    answer=analytics.CalibrationReport,
)
def calibration(container: Container, caller: Caller, query: CalibrationQuery) -> analytics.CalibrationReport:
    """How the predictions of the caller's tasks, or of everybody's, stood to the results."""
    if query.scope is Scope.ALL and not caller.is_admin:
        raise ForbiddenError("Only admins may see the calibration over all students")
    return analytics.calibration(container.analytics, None if query.scope is Scope.ALL else caller.user_id)


@routes.route(
    "GET",
    "/analytics/predicted",
    "The newest answers that a model had predicted",
    query=PredictedQuery,
    answer=list[PredictedAnswer],
)
def latest_predicted(container: Container, caller: Caller, query: PredictedQuery) -> list[PredictedAnswer]:
    """Predicted and actual result of each, newest first; answers predicted by default are looked over and left out."""
    return analytics.latest_predicted(container.analytics, caller.user_id, query.limit)


@routes.route(
    "GET",
    "/analytics/drift",
    "Fallback rate and calibration of the newest completions of all",
    access=Access.ADMIN,
    query=DriftQuery,
    answer=drift.Drift,
)
def calibration_drift(container: Container, query: DriftQuery) -> drift.Drift:
    """Where the newest predictions came from, and how they stood to the results, in windows of equal size."""
    return drift.drift(container.analytics, query.limit, query.window)
