"""Recommendations of topics and difficulties to practise next."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from chalicelib.api.routing import Routes
from chalicelib.domain.accounts import Caller
from chalicelib.domain.fields import about
from chalicelib.domain.service_accounts import Scope
from chalicelib.domain.tasks import Subject
from chalicelib.services import due, recommendations
from chalicelib.services.due import DueTopic
from chalicelib.services.recommendations import Recommendation
from chalicelib.wiring import Container

routes = Routes(__name__, "recommendations", Scope.PREDICTIONS)


class RecommendationQuery(Struct):
    """The subject, the target chance of success, and the number of recommendations."""

    subject: Subject | None = None
    target: Annotated[float, about("Target chance of success", 0.75, ge=0.05, le=0.95)] = 0.75
    limit: Annotated[int, about("Maximum number of recommendations", 10, ge=1, le=50)] = 10


@routes.route(
    "GET", "/recommendations", "Recommend what to practise next", query=RecommendationQuery, answer=list[Recommendation]
)
def recommend(container: Container, caller: Caller, query: RecommendationQuery) -> list[Recommendation]:
    """Return topics and difficulties whose predicted chance of success is nearest the target, best first."""
    return recommendations.recommend(
        container.recommendations,
        container.tasks,
        container.champion,
        caller.user_id,
        query.subject,
        query.target,
        query.limit,
    )


class DueQuery(Struct):
    """The target chance of success, and the number of topics."""

    target: Annotated[float, about("Target chance of success", 0.75, ge=0.05, le=0.95)] = 0.75
    limit: Annotated[int, about("Maximum number of topics", 10, ge=1, le=50)] = 10


@routes.route("GET", "/recommendations/due", "List the topics that are due", query=DueQuery, answer=list[DueTopic])
def list_due(container: Container, caller: Caller, query: DueQuery) -> list[DueTopic]:
    """Return the caller's topics whose chance of success falls below the target after the last practice.

    The earliest comes first. A ``due_at`` in the past means that the topic is due.
    """
    return due.due_topics(
        container.recommendations, container.tasks, container.champion, caller.user_id, query.target, query.limit
    )
