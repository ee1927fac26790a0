"""Responses: JSON by msgspec, and the headers that every answer carries."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from chalice.app import Response

JSON_TYPE = "application/json"

EXPOSED_HEADERS = "Link, Retry-After, X-Request-Id"
PREFLIGHT_SECONDS = "600"
_HEADER_NAMES = re.compile(r"^[A-Za-z0-9\-_, ]{1,1000}$")


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """``value`` as JSON. Chalice wants text: with bytes it would take the body for a binary one."""
    body = "" if status == 204 else msgspec.json.encode(value).decode()
    return Response(body, {"Content-Type": JSON_TYPE, "Cache-Control": "no-store", **(headers or {})}, status)


def cors_headers(origin: str | None, allowed: Sequence[str]) -> dict[str, str]:
    """The headers that let a page of another origin read an answer.

    There can be several such origins and a header names only one, so the asking one is echoed when it is among them,
    and ``Vary`` tells caches. An origin that is not gets no header: the browser then keeps the answer from the page.
    """
    if not allowed:
        return {}
    headers = {"Vary": "Origin"}
    if origin is not None and ("*" in allowed or origin in allowed):
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
        if origin in allowed:
            headers["Access-Control-Allow-Credentials"] = "true"
    return headers


def preflight_headers(requested: str | None, methods: Sequence[str]) -> dict[str, str]:
    """What a preflight asks for: the path's methods, and the headers that the page wants to send."""
    wanted = requested if requested and _HEADER_NAMES.match(requested) else "Authorization, Content-Type"
    return {
        "Access-Control-Allow-Methods": ", ".join(methods),
        "Access-Control-Allow-Headers": wanted,
        "Access-Control-Max-Age": PREFLIGHT_SECONDS,
        "Allow": ", ".join(methods),
    }
