"""What to practise next."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from chalicelib.api.routing import Routes
from chalicelib.api.schemas import Name
from chalicelib.domain.accounts import Caller
from chalicelib.services import recommendations
from chalicelib.services.recommendations import Recommendation
from chalicelib.wiring import Container

routes = Routes(__name__, "recommendations")


class RecommendationQuery(Struct):
    """Of which subject, at which chance of success, and how many."""

    subject: Name | None = None
    target: Annotated[float, Meta(ge=0.05, le=0.95)] = 0.75
    limit: Annotated[int, Meta(ge=1, le=50)] = 10


@routes.route(
    "GET",
    "/recommendations",
    "Topics and difficulties whose predicted success is nearest the target",
    query=RecommendationQuery,
    answer=list[Recommendation],
)
def recommend(container: Container, caller: Caller, query: RecommendationQuery) -> list[Recommendation]:
    """What the caller should practise next, best first."""
    return recommendations.recommend(
        container.recommendations,
        container.tasks,
        container.champion,
        caller.user_id,
        query.subject,
        query.target,
        query.limit,
    )
