"""The welcome, the health check, and the description of the API."""

from __future__ import annotations

from functools import cache

from chalice.app import Response

from chalicelib.api import openapi
from chalicelib.api.routing import Access, Operation, Reply, Routes
from chalicelib.api.schemas import WelcomeAnswer
from chalicelib.services import health
from chalicelib.services.health import Health
from chalicelib.wiring import Container

routes = Routes(__name__, "service")

documented: list[Operation] = []
"""What ``/openapi.json`` describes; ``app.py`` fills it with the operations of all blueprints."""


@routes.route("GET", "/", "Welcome", access=Access.PUBLIC, answer=WelcomeAnswer)
def welcome() -> WelcomeAnswer:
    """Say what this is."""
    return WelcomeAnswer()


@routes.route("GET", "/health", "Health of database, registry and queue", access=Access.PUBLIC, answer=Health)
def check_health(container: Container) -> Reply:
    """Whether everything that the service needs answers."""
    container.champion.current()  # a process that has not predicted yet has no model in memory
    found = health.check(
        container.tracker, container.registry, container.queue, container.settings.cohort, container.champion.version
    )
    return Reply(found, status=200 if found.healthy else 503)


@routes.route("GET", "/openapi.json", "This description", access=Access.PUBLIC, documented=False)
def openapi_document() -> Response:
    """The API as OpenAPI 3.1."""
    return Response(_openapi_text(), {"Content-Type": "application/json", "Cache-Control": "no-cache"})


@cache
def _openapi_text() -> str:
    return openapi.encode(documented)
