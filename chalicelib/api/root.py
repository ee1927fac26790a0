"""The welcome, the health check, and the documentation."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from chalice.app import Request, Response

from chalicelib.api import openapi
from chalicelib.api.routing import Access, Operation, Reply, Routes, path_of
from chalicelib.api.schemas import WelcomeAnswer
from chalicelib.domain.errors import NotFoundError
from chalicelib.services import health
from chalicelib.services.health import Health
from chalicelib.wiring import Container

routes = Routes(__name__, "service")

_WEB = Path(__file__).resolve().parent.parent / "web"
_ASSETS = {
    "swagger-ui.css": (_WEB / "vendor" / "swagger-ui" / "swagger-ui.css", "text/css; charset=utf-8"),
    "swagger-ui-bundle.js": (
        _WEB / "vendor" / "swagger-ui" / "swagger-ui-bundle.js",
        "text/javascript; charset=utf-8",
    ),
    "start.js": (_WEB / "docs.js", "text/javascript; charset=utf-8"),
}
# Swagger UI sets style attributes and shows data: images; scripts come from here only.
_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)

documented: list[Operation] = []
"""What ``/openapi.json`` describes; ``app.py`` fills it with the operations of all blueprints."""


@routes.route("GET", "/", "Welcome", access=Access.PUBLIC, answer=WelcomeAnswer)
def welcome() -> WelcomeAnswer:
    """Say what this is."""
    return WelcomeAnswer()


@routes.route("GET", "/health", "Health of database, registry and queue", access=Access.PUBLIC, answer=Health)
def check_health(container: Container) -> Reply:
    """Whether everything that the service needs answers."""
    container.models.current()  # a process that has not predicted yet has no model in memory
    found = health.check(
        container.tracker, container.registry, container.queue, container.settings.cohort, container.models.version
    )
    return Reply(found, status=200 if found.healthy else 503)


@routes.route("GET", "/openapi.json", "This description", access=Access.PUBLIC, documented=False)
def openapi_document() -> Response:
    """The API as OpenAPI 3.1."""
    return Response(_openapi_text(), {"Content-Type": "application/json", "Cache-Control": "no-cache"})


@routes.route("GET", "/docs", "Swagger UI", access=Access.PUBLIC, documented=False)
def docs(request: Request) -> Response:
    """The page of Swagger UI."""
    if path_of(request).endswith("/"):
        # The page's links are relative to the address without the slash.
        return Response("", {"Location": "../docs", "Content-Type": "text/plain"}, 302)
    headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": _POLICY}
    return Response(_text(_WEB / "docs.html"), headers)


@routes.route("GET", "/docs/{name}", "An asset of Swagger UI", access=Access.PUBLIC, documented=False)
def docs_asset(name: str) -> Response:
    """A script or style sheet of the documentation."""
    if name not in _ASSETS:
        raise NotFoundError("Not Found")
    path, content_type = _ASSETS[name]
    return Response(_text(path), {"Content-Type": content_type, "Cache-Control": "public, max-age=86400"})


@cache
def _openapi_text() -> str:
    return openapi.encode(documented)


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
