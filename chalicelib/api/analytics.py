"""A student's results: totals, by day, by topic, and predicted against actual."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import StrEnum
from typing import Annotated
from zoneinfo import ZoneInfo

from chalice.app import Request
from msgspec import Struct

from chalicelib.api.routing import Access, Reply, Routes, next_page
from chalicelib.domain.accounts import Caller
from chalicelib.domain.errors import Fault, ForbiddenError, InvalidInputError
from chalicelib.domain.fields import about
from chalicelib.domain.results import ItemResult, PredictedAnswer
from chalicelib.domain.service_accounts import Scope as Needs
from chalicelib.services import analytics, drift, groups
from chalicelib.wiring import Container

routes = Routes(__name__, "analytics", Needs.LEARNERS_READ)


class Scope(StrEnum):
    """The students whose predictions are compared with their results."""

    MINE = "mine"
    ALL = "all"


class SummaryQuery(Struct):
    """The reader's time zone, which decides where days begin.

    ``tz`` is a name such as ``Europe/Berlin``: days then begin at midnight also before and after a change of clocks.
    Without it, all days have the offset ``utc_offset_minutes``, from -14 to 14 hours.
    """

    utc_offset_minutes: Annotated[int, about("Offset of all days, if `tz` is absent", 60, ge=-840, le=840)] = 0
    tz: Annotated[str, about("IANA name of the time zone", "Europe/Berlin", max_length=64)] | None = None

    def zone(self) -> tzinfo:
        """Return the time zone. Raises InvalidInputError."""
        if self.tz is None:
            return timezone(timedelta(minutes=self.utc_offset_minutes))
        try:
            return ZoneInfo(self.tz)
        except (KeyError, ValueError, OSError) as error:  # unknown, not a time zone, or the name of a folder
            message = "Input should be an IANA time zone such as 'Europe/Berlin'"
            raise InvalidInputError([Fault(("query", "tz"), message, "time_zone")]) from error


class TopicsQuery(Struct):
    """A page of topics: their maximum number, the number of topics before them, and the target chance of success."""

    limit: Annotated[int, about("Maximum number of topics", 200, ge=1, le=500)] = 200
    after: Annotated[int, about("Number of topics before the page", 0, ge=0, le=2**31 - 1)] = 0
    target: Annotated[float, about("Chance of success below which a topic is due", 0.75, ge=0.05, le=0.95)] = 0.75


class ItemsQuery(Struct):
    """A page of items: their maximum number, and the number of items before them, from the ``Link`` header."""

    limit: Annotated[int, about("Maximum number of items", 50, ge=1, le=500)] = 50
    after: Annotated[int, about("Number of items before the page", 0, ge=0, le=2**31 - 1)] = 0


class CalibrationQuery(Struct):
    """The students to include. ``all`` is for admins."""

    scope: Annotated[Scope, about("Your own predictions, or for admins those of all students", Scope.MINE)] = Scope.MINE


class PredictedQuery(Struct):
    """The number of your newest answers to search for predicted ones."""

    limit: Annotated[int, about("Number of newest answers to search", 300, ge=1, le=1000)] = 300


class DriftQuery(Struct):
    """The number of newest completions of all students, and the number of completions in a window."""

    limit: Annotated[int, about("Number of newest completions", 2000, ge=1, le=20_000)] = 2000
    window: Annotated[int, about("Number of completions in a window", 200, ge=10, le=20_000)] = 200


class GroupsQuery(Struct):
    """The number of newest completions of all students."""

    limit: Annotated[int, about("Number of newest completions", 2000, ge=1, le=20_000)] = 2000


@routes.route("GET", "/analytics/summary", "Get your totals and trend", query=SummaryQuery, answer=analytics.Summary)
def summary(container: Container, caller: Caller, query: SummaryQuery) -> analytics.Summary:
    """Return the caller's accuracy, times, and the results of each of the last 30 days."""
    return analytics.summary(container.analytics, caller.user_id, datetime.now(UTC), query.zone())


@routes.route(
    "GET",
    "/analytics/topics",
    "Get your results by topic",
    query=TopicsQuery,
    answer=list[analytics.Topic],
    sends=("Link",),
)
def topics(container: Container, caller: Caller, query: TopicsQuery, request: Request) -> Reply:
    """Return the caller's results and mastery by topic, the most recently practised topic first.

    The ``Link`` header holds the next page.
    """
    found = analytics.topics(
        container.analytics,
        container.tasks,
        container.champion,
        caller.user_id,
        query.target,
        query.limit + 1,
        query.after,
    )
    return _page(found, query, request, target=query.target)


@routes.route(
    "GET", "/analytics/items", "Get your hardest items", query=ItemsQuery, answer=list[ItemResult], sends=("Link",)
)
def items(container: Container, caller: Caller, query: ItemsQuery, request: Request) -> Reply:
    """Return the caller's results by item, the item with the smallest share of correct answers first.

    For this order, one correct and one incorrect answer are added to those on each item. The ``Link`` header holds the
    next page.
    """
    return _page(container.analytics.items(caller.user_id, query.limit + 1, query.after), query, request)


def _page(found: Sequence[object], query: TopicsQuery | ItemsQuery, request: Request, **kept: float) -> Reply:
    """Return a page of a list, of which one more row than the page has was read."""
    more = len(found) > query.limit
    headers = next_page(request, {"limit": query.limit, "after": query.after + query.limit, **kept}) if more else {}
    return Reply(list(found[: query.limit]), headers)


@routes.route(
    "GET",
    "/analytics/calibration",
    "Compare predictions with results",
    query=CalibrationQuery,
    answer=analytics.CalibrationReport,
    errors=(403,),
    of_cohort=True,
)
def calibration(container: Container, caller: Caller, query: CalibrationQuery) -> analytics.CalibrationReport:
    """Return the calibration of the predictions, in total and by model version."""
    if query.scope is Scope.ALL and not caller.is_admin:
        raise ForbiddenError("Only admins may see the calibration over all students")
    return analytics.calibration(container.analytics, None if query.scope is Scope.ALL else caller.user_id)


@routes.route(
    "GET",
    "/analytics/predicted",
    "List your newest predicted answers",
    query=PredictedQuery,
    answer=list[PredictedAnswer],
)
def latest_predicted(container: Container, caller: Caller, query: PredictedQuery) -> list[PredictedAnswer]:
    """Return the predicted and the actual result of each answer, newest first. Default predictions are skipped."""
    return container.analytics.latest_predicted(caller.user_id, query.limit)


@routes.route(
    "GET",
    "/analytics/drift",
    "Get the drift of the predictions",
    access=Access.ADMIN,
    query=DriftQuery,
    answer=drift.Drift,
)
def calibration_drift(container: Container, query: DriftQuery) -> drift.Drift:
    """Return the sources and the calibration of the newest predictions of all students, in windows of equal size."""
    return drift.drift(container.analytics, query.limit, query.window)


@routes.route(
    "GET",
    "/analytics/groups",
    "Get the calibration by group",
    access=Access.ADMIN,
    query=GroupsQuery,
    answer=groups.CalibrationGroups,
)
def calibration_groups(container: Container, query: GroupsQuery) -> groups.CalibrationGroups:
    """Return the calibration of the newest predictions of all students in groups, such as first answers."""
    return groups.by_group(container.analytics, query.limit)
