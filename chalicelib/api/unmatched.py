"""What no view answers: unknown paths (404), known paths with another method (405), HEAD, and CORS preflights.

API Gateway and Chalice's local server answer these themselves, in shapes of their own and without the CORS headers of
several origins. So every path gets a route for each method. ``/{proxy+}`` catches all unknown paths in API Gateway;
Chalice's local server takes it for one segment, so :func:`add_local_depths` adds the others there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chalice.app import Chalice, Response

from chalicelib.api import responses, routing
from chalicelib.api.errors import MethodNotAllowedError
from chalicelib.domain.errors import NotFoundError

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
GREEDY = "/{proxy+}"
LOCAL_DEPTH = 12
"""Path segments up to which the local server answers an unknown path as API Gateway does."""


def complete(app: Chalice) -> None:
    """Give every path of ``app`` the methods it lacks, and add the route for unknown paths."""
    for path in list(app.routes):
        views = dict(app.routes[path])
        if "GET" in views and "HEAD" not in views:
            _add(app, path, ["HEAD"], views["GET"].view_function)
        allowed = sorted({*app.routes[path], "OPTIONS"})
        _add(app, path, [method for method in METHODS if method not in app.routes[path]], _not_allowed(app, allowed))
        _add(app, path, ["OPTIONS"], _preflight(app, allowed))
    _add_unknown(app, GREEDY)


def add_local_depths(app: Chalice) -> None:
    """For Chalice's local server and its test client only: unknown paths of more than one segment.

    API Gateway would refuse these routes, because they are siblings of ``/{proxy+}``.
    """
    for depth in range(2, LOCAL_DEPTH + 1):
        path = GREEDY + "".join(f"/{{segment{n}}}" for n in range(2, depth + 1))
        if path not in app.routes:
            _add_unknown(app, path)


def _add_unknown(app: Chalice, path: str) -> None:
    _add(app, path, METHODS, _unknown(app))
    _add(app, path, ["OPTIONS"], _preflight(app, [*METHODS, "OPTIONS"]))


def _add(app: Chalice, path: str, methods: Any, view: Callable[..., Response]) -> None:
    if methods:
        app.route(path, methods=list(methods), content_types=["*/*"], name=view.__name__)(view)


def _unknown(app: Chalice) -> Callable[..., Response]:
    def unknown_path(**_: str) -> Response:
        def answer() -> Response:
            raise NotFoundError("Not Found")

        return routing.serve(app.current_request, answer)

    return unknown_path


def _not_allowed(app: Chalice, allowed: list[str]) -> Callable[..., Response]:
    def method_not_allowed(**_: str) -> Response:
        def answer() -> Response:
            raise MethodNotAllowedError(allowed)

        return routing.serve(app.current_request, answer)

    return method_not_allowed


def _preflight(app: Chalice, allowed: list[str]) -> Callable[..., Response]:
    def preflight(**_: str) -> Response:
        request = app.current_request
        asked = request.headers.get("access-control-request-headers")
        return routing.serve(request, lambda: Response("", responses.preflight_headers(asked, allowed), 204))

    return preflight
