"""The status of the model, and the operations of admins on trainings and versions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from chalice.app import Request
from msgspec import Meta, Struct

from chalicelib.api.routing import Access, Reply, Routes, next_page
from chalicelib.domain.errors import ConflictError
from chalicelib.domain.training import Champion
from chalicelib.services import training, versions
from chalicelib.services.training import ModelStatus
from chalicelib.services.versions import Versions
from chalicelib.wiring import Container

routes = Routes(__name__, "model")


class CounterBody(Struct):
    """The number of completions since the last training."""

    value: Annotated[int, Meta(ge=0, le=1_000_000)]


class VersionBody(Struct):
    """The model version that is to serve."""

    version: Annotated[str, Meta(min_length=1, max_length=200)]


class PointerAnswer(Struct):
    """The version that serves. While it is pinned, trainings do not replace it."""

    champion: str
    promoted_at: str
    pinned: bool


class TrainingAnswer(Struct):
    """A training that was requested by an admin."""

    queued: bool
    request_id: str
    version: str
    requested_at: datetime


@routes.route("GET", "/model/status", "Get the status of the model", answer=ModelStatus)
def model_status(container: Container) -> ModelStatus:
    """Return the counter, the number of samples, the version that serves, and the state of the training."""
    return training.status(container.tracker, container.policy, container.settings.cohort)


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

    limit: Annotated[int, Meta(ge=1, le=200)] = 200
    after: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0


@routes.route(
    "GET", "/model/versions", "List the published versions", access=Access.ADMIN, query=VersionsQuery, answer=Versions
)
def model_versions(container: Container, query: VersionsQuery, request: Request) -> Reply:
    """Return the versions, newest first, with their metrics and the decision of the gate.

    The ``Link`` header holds the next page.
    """
    found = versions.list_versions(container.registry, container.settings.cohort, query.after, query.limit)
    following = query.after + query.limit
    headers = next_page(request, {"limit": query.limit, "after": following}) if following < found.total else {}
    return Reply(found, headers)


class RollbackAnswer(ModelStatus, frozen=True):
    """The status after a rollback. ``next_training_may_replace`` is false while the version is pinned."""

    next_training_may_replace: bool


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
