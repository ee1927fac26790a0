"""The headers that let pages of other origins read answers."""

from __future__ import annotations

from collections.abc import Sequence

EXPOSED_HEADERS = "Link, Location, Retry-After, X-Request-Id"


def cors_headers(origin: str | None, allowed: Sequence[str]) -> dict[str, str]:
    """Return the headers that let a page of another origin read the answer.

    The header can name one origin only, so an allowed origin is echoed, and ``Vary`` tells caches. An origin that is
    not allowed gets no header, and the browser then hides the answer from the page.
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
