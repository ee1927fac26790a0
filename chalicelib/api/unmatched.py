"""Answers to requests that match no view: unknown paths, other methods of known paths, HEAD, and CORS preflights.

API Gateway and Chalice's local server would answer these in formats of their own, without our CORS headers. Therefore
every path gets a route for every method. ``/{proxy+}`` is the route for unknown paths. API Gateway matches it with any
number of segments, but Chalice's local server with one; :func:`add_local_depths` adds the others there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from chalice.app import Chalice, Response

from chalicelib.api import pages, routing
from chalicelib.api.errors import MethodNotAllowedError
from chalicelib.domain.errors import NotFoundError

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
GREEDY = "/{proxy+}"
OTHER_METHOD = "TRACE"
"""The local server routes every method that is not listed above under this name. API Gateway refuses them itself."""

LOCAL_DEPTH = 12
"""Number of path segments up to which the local server answers an unknown path as API Gateway does."""

_UNKNOWN = partial(NotFoundError, "Not Found")

_HEADER_NAMES = re.compile(r"^[A-Za-z0-9\-_, ]{1,1000}$")


def complete(app: Chalice) -> None:
    """Give every path of ``app`` the methods that it lacks, and add the route for unknown paths."""
    for path, views in list(app.routes.items()):
        if "GET" in views and "HEAD" not in views:
            _add(app, path, ["HEAD"], views["GET"].view_function)
        allowed = sorted({*views, "OPTIONS"})
        others = [method for method in METHODS if method not in views]
        _add(app, path, others, _raising(app, "method_not_allowed", partial(MethodNotAllowedError, allowed)))
        _add(app, path, ["OPTIONS"], _preflight(app, allowed))
    _add_unknown(app, GREEDY)


def add_local_depths(app: Chalice) -> None:
    """Add routes for unknown paths of several segments and other methods, for Chalice's local server and test client.

    API Gateway would refuse these routes, because ``/{proxy+}`` must be the last part of a path.
    """
    for depth in range(2, LOCAL_DEPTH + 1):
        path = GREEDY + "".join(f"/{{segment{n}}}" for n in range(2, depth + 1))
        if path not in app.routes:
            _add_unknown(app, path)
    for path, views in list(app.routes.items()):
        if OTHER_METHOD in views:
            continue
        if path.startswith(GREEDY):
            _add(app, path, [OTHER_METHOD], views["GET"].view_function)
            continue
        allowed = sorted(method for method, entry in views.items() if entry.view_name != "method_not_allowed")
        _add(app, path, [OTHER_METHOD], _raising(app, "method_not_allowed", partial(MethodNotAllowedError, allowed)))


def _add_unknown(app: Chalice, path: str) -> None:
    _add(app, path, [method for method in METHODS if method != "GET"], _raising(app, "unknown_path", _UNKNOWN))
    _add(app, path, ["GET"], _unknown_page(app))
    _add(app, path, ["OPTIONS"], _preflight(app, [*METHODS, "OPTIONS"]))


def _unknown_page(app: Chalice) -> Callable[..., Response]:
    """Return a view that sends a page to browsers and raises for programs, which do not accept HTML by name."""

    def answer() -> Response:
        request = app.current_request
        if "text/html" not in request.headers.get("accept", ""):
            raise _UNKNOWN()
        return pages.missing(routing.path_of(request))

    def unknown_page(**_: str) -> Response:
        return routing.serve(app.current_request, answer)

    return unknown_page


def _add(app: Chalice, path: str, methods: Iterable[str], view: Callable[..., Response]) -> None:
    if methods := list(methods):
        app.route(path, methods=methods, content_types=["*/*"], name=view.__name__)(view)


def _raising(app: Chalice, name: str, error: Callable[[], Exception]) -> Callable[..., Response]:
    def answer() -> Response:
        raise error()

    def view(**_: str) -> Response:
        return routing.serve(app.current_request, answer)

    view.__name__ = name
    return view


def _preflight(app: Chalice, allowed: Sequence[str]) -> Callable[..., Response]:
    def preflight(**_: str) -> Response:
        requested = app.current_request.headers.get("access-control-request-headers", "")
        headers = {
            "Access-Control-Allow-Methods": ", ".join(allowed),
            "Access-Control-Allow-Headers": (
                requested if _HEADER_NAMES.match(requested) else "Authorization, Content-Type"
            ),
            "Access-Control-Max-Age": "600",
            "Allow": ", ".join(allowed),
        }
        return routing.serve(app.current_request, lambda: Response("", headers, 204))

    return preflight
