"""The status of the model, and the operations of admins on trainings and versions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from chalice.app import Request
from msgspec import Struct

from chalicelib.api.routing import Access, Reply, Routes, next_page
from chalicelib.domain.accounts import ADMIN_GROUP, Caller
from chalicelib.domain.errors import ConflictError
from chalicelib.domain.fields import Timestamp, Version, about
from chalicelib.domain.service_accounts import Scope
from chalicelib.domain.training import Champion
from chalicelib.services import groups, training, versions
from chalicelib.services.training import CohortStatus, ModelStatus
from chalicelib.services.versions import VersionPage
from chalicelib.wiring import Container

routes = Routes(__name__, "model")


class CounterBody(Struct):
    """The number of completions since the last training."""

    value: Annotated[int, about("New value of the counter", 3, ge=0, le=1_000_000)]


class VersionBody(Struct):
    """The model version that is to serve."""

    version: Annotated[
        str, about("Name of a published version", "20260301T101500Z-1b9d6bcd", min_length=1, max_length=200)
    ]


class PointerAnswer(Struct):
    """The version that serves. While it is pinned, trainings do not replace it."""

    champion: Version
    promoted_at: Annotated[Timestamp, about("Time at which it was chosen, in ISO 8601")]
    pinned: Annotated[bool, about("Trainings do not replace it", True)]


class TrainingAnswer(Struct):
    """A training that was requested by an admin."""

    queued: Annotated[bool, about("Always true: the training will start when a worker is free", True)]
    request_id: Annotated[str, about("Id of the request", "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", "uuid")]
    version: Annotated[str, about("Name of the version that the training will make", "20260301T101500Z-1b9d6bcd")]
    requested_at: Annotated[datetime, about("Time of the request", "2026-03-01T10:15:00Z", "date-time")]


@routes.route(
    "GET",
    "/model/status",
    "Get the status of the model",
    answer=ModelStatus,
    scope=Scope.PREDICTIONS,
    learner=False,
    of_cohort=True,
)
def model_status(container: Container) -> ModelStatus:
    """Return the counter, the number of samples, the version that serves, and the state of the training."""
    return training.status(container.tracker, container.policy, container.settings.cohort)


class CohortList(Struct):
    """The cohorts that the caller administers, and the one that this request is about."""

    cohort: Annotated[str, about("The cohort of the caller, or the one that the request names", "physics-2026")]
    cohorts: Annotated[list[CohortStatus], about("The cohorts in the order of their names")]


@routes.route("GET", "/model/cohorts", "List the cohorts", access=Access.ADMIN, answer=CohortList)
def model_cohorts(container: Container, caller: Caller) -> CohortList:
    """Return the cohorts that the caller administers, with their counters, versions and trainings.

    Members of the group `admins` administer all cohorts, others their own.
    """
    chosen = container.settings.cohort
    names = container.cohorts.names() if caller.admin_group == ADMIN_GROUP else [chosen]
    return CohortList(chosen, training.cohort_statuses(container.tracker, names, container.policy))


@routes.route(
    "POST", "/model/train", "Start a training", access=Access.ADMIN, status=202, answer=TrainingAnswer, errors=(409,)
)
def force_training(container: Container) -> TrainingAnswer:
    """Queue a training, whatever the counter is. Only one training can be queued or running."""
    request = training.force_training(container.tracker, container.queue, container.settings.cohort)
    if request is None:
        raise ConflictError("A training is queued or running already")
    return TrainingAnswer(True, request.request_id, request.version, request.requested_at)


@routes.route("POST", "/model/counter", "Set the counter", access=Access.ADMIN, body=CounterBody, answer=ModelStatus)
def set_counter(container: Container, body: CounterBody) -> ModelStatus:
    """Set the number of completions since the last training."""
    return training.set_counter(container.tracker, container.policy, container.settings.cohort, body.value)


class VersionsQuery(Struct):
    """A page of versions: their maximum number, and the number of versions before them, from the ``Link`` header."""

    limit: Annotated[int, about("Maximum number of versions", 200, ge=1, le=200)] = 200
    after: Annotated[int, about("Number of versions before the page", 0, ge=0, le=2**31 - 1)] = 0


@routes.route(
    "GET",
    "/model/versions",
    "List the published versions",
    access=Access.ADMIN,
    query=VersionsQuery,
    answer=VersionPage,
    sends=("Link",),
)
def model_versions(container: Container, query: VersionsQuery, request: Request) -> Reply:
    """Return the versions, newest first, with their metrics and the decision of the gate.

    The ``Link`` header holds the next page.
    """
    served = groups.served_by_version(container.analytics)
    found = versions.list_versions(container.registry, container.settings.cohort, query.after, query.limit, served)
    following = query.after + query.limit
    headers = next_page(request, {"limit": query.limit, "after": following}) if following < found.total else {}
    return Reply(found, headers)


class RollbackAnswer(ModelStatus, frozen=True):
    """The status after a rollback. ``next_training_may_replace`` is false while the version is pinned."""

    next_training_may_replace: Annotated[bool, about("False while the version is pinned", True)]


@routes.route(
    "POST",
    "/model/rollback",
    "Roll back to a version",
    access=Access.ADMIN,
    body=VersionBody,
    answer=RollbackAnswer,
    errors=(404, 409),
)
def rollback(container: Container, body: VersionBody) -> RollbackAnswer:
    """Make a published version serve. The next created task is predicted by it.

    A training that is queued or running does not replace it. Unless the version is pinned, a later training may.
    """
    champion = versions.rollback(container.registry, container.tracker, container.settings.cohort, body.version)
    status = training.status(container.tracker, container.policy, container.settings.cohort)
    return RollbackAnswer(**msgspec.structs.asdict(status), next_training_may_replace=not champion.pinned)


@routes.route(
    "POST",
    "/model/pin",
    "Pin a version",
    access=Access.ADMIN,
    body=VersionBody,
    answer=PointerAnswer,
    errors=(404, 409),
)
def pin(container: Container, body: VersionBody) -> PointerAnswer:
    """Make a version serve, and keep trainings from replacing it."""
    champion = versions.pin(container.registry, container.tracker, container.settings.cohort, body.version)
    return _pointer_answer(champion)


@routes.route("POST", "/model/unpin", "Remove the pin", access=Access.ADMIN, answer=PointerAnswer, errors=(404, 409))
def unpin(container: Container) -> PointerAnswer:
    """Allow trainings to replace the version that serves."""
    return _pointer_answer(versions.unpin(container.registry, container.tracker, container.settings.cohort))


def _pointer_answer(champion: Champion) -> PointerAnswer:
    return PointerAnswer(champion.version, champion.promoted_at, champion.pinned)
