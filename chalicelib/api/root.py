"""The welcome, the health check, and the OpenAPI document."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from chalice.app import Request, Response
from msgspec import Struct

from chalicelib import VERSION
from chalicelib.api.probes import note_probe
from chalicelib.api.routing import Access, Operation, Reply, Routes
from chalicelib.domain.fields import about
from chalicelib.services import health
from chalicelib.services.health import Health
from chalicelib.wiring import Container

routes = Routes(__name__, "service")

documented: list[Operation] = []
"""The operations that ``/openapi.json`` describes. ``app.py`` fills the list from all blueprints."""


class WelcomeAnswer(Struct):
    """The name and the version of the service, and the path of its documentation."""

    message: Annotated[str, about("A greeting", "Welcome to StudySmart AI API")] = "Welcome to StudySmart AI API"
    version: Annotated[str, about("Version of the API", VERSION)] = VERSION
    docs: Annotated[str, about("Path of the documentation", "/docs")] = "/docs"


@routes.route("GET", "/", "Welcome", access=Access.PUBLIC, answer=WelcomeAnswer)
def welcome() -> WelcomeAnswer:
    """Return the version and the path of the documentation. Needs no other service."""
    return WelcomeAnswer()


@routes.route("GET", "/health", "Check the health", access=Access.PUBLIC, answer=Health, error_answers={503: Health})
def check_health(container: Container, request: Request) -> Reply:
    """Check the database, the model registry and the queue, and on one machine the room on its disk.

    The status is 503 if one of them does not answer, or if the disk is full.
    """
    note_probe(request)
    container.champion.current()  # a process that has not predicted yet has no model in memory
    services = container.tracker, container.registry, container.queue
    found = health.check(*services, container.settings.cohort, container.champion.version, container.check_disk)
    return Reply(found, status=200 if found.healthy else 503)


@routes.route(
    "GET",
    "/openapi.json",
    "Get this document",
    access=Access.PUBLIC,
    answer=dict[str, Any],
    example={"openapi": "3.1.0"},
)
def openapi_document() -> Response:
    """Return the API's description in OpenAPI 3.1."""
    return Response(_openapi_text(), {"Content-Type": "application/json", "Cache-Control": "no-cache"})


@cache
def _openapi_text() -> str:
    from chalicelib.api import openapi  # not at a cold start, which hardly ever needs it

    return openapi.encode(documented)
