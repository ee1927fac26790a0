"""The model's status, and what admins do with its training."""

from __future__ import annotations

from chalicelib.api.routing import Access, Routes
from chalicelib.api.schemas import CounterBody, PointerAnswer, TrainingAnswer, VersionBody
from chalicelib.domain.errors import ConflictError
from chalicelib.domain.training import Champion
from chalicelib.services import training, versions
from chalicelib.services.training import ModelStatus
from chalicelib.services.versions import Versions
from chalicelib.wiring import Container

routes = Routes(__name__, "model")


@routes.route("GET", "/model/status", "Counter, samples, version and state of training", answer=ModelStatus)
def model_status(container: Container) -> ModelStatus:
    """How the cohort's training stands."""
    return training.status(container.tracker, container.policy, container.settings.cohort)


@routes.route("POST", "/model/train", "Force a training", access=Access.ADMIN, status=202, answer=TrainingAnswer)
def force_training(container: Container) -> TrainingAnswer:
    """Queue a training, whatever the counter says."""
    request = training.force_training(container.tracker, container.queue, container.settings.cohort)
    if request is None:
        raise ConflictError("A training is queued or running already")
    return TrainingAnswer(True, request.request_id, request.version, request.requested_at)


@routes.route("POST", "/model/counter", "Set the counter", access=Access.ADMIN, body=CounterBody, answer=ModelStatus)
def set_counter(container: Container, body: CounterBody) -> ModelStatus:
    """Set the number of completions since the last training."""
    return training.set_counter(container.tracker, container.policy, container.settings.cohort, body.value)


@routes.route("GET", "/model/versions", "List the published versions", access=Access.ADMIN, answer=Versions)
def model_versions(container: Container) -> Versions:
    """Every version, newest first, with what the gate said of it, and what the pointer says."""
    return versions.list_versions(container.registry, container.settings.cohort)


@routes.route("POST", "/model/rollback", "Move the champion", access=Access.ADMIN, body=VersionBody, answer=ModelStatus)
def rollback(container: Container, body: VersionBody) -> ModelStatus:
    """Let a version serve that was published before; the next creation uses it."""
    versions.rollback(container.registry, container.tracker, container.settings.cohort, body.version)
    return training.status(container.tracker, container.policy, container.settings.cohort)


@routes.route(
    "POST", "/model/pin", "Let a version serve and pin it", access=Access.ADMIN, body=VersionBody, answer=PointerAnswer
)
def pin(container: Container, body: VersionBody) -> PointerAnswer:
    """Let a version serve and keep trainings from replacing it, by one move of the pointer."""
    champion = versions.pin(container.registry, container.tracker, container.settings.cohort, body.version)
    return _pointer_answer(champion)


@routes.route("POST", "/model/unpin", "Unpin what serves", access=Access.ADMIN, answer=PointerAnswer)
def unpin(container: Container) -> PointerAnswer:
    """Let trainings replace the champion again."""
    return _pointer_answer(versions.unpin(container.registry, container.tracker, container.settings.cohort))


def _pointer_answer(champion: Champion) -> PointerAnswer:
    return PointerAnswer(champion.version, champion.promoted_at, champion.pinned)
