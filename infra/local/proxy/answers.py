"""The answers that the reverse proxy gives itself, in the form of the API's errors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus

from chalicelib.api.cors import cors_headers

BUSY = "The server is busy, please try again"
STOPPED = "The server was stopped during the request, which may have been carried out; please look before you try again"
SILENT = "The server did not answer in time; the request may have been carried out"
TOO_SLOW = "The request did not arrive in time"
RETRY_SECONDS = 1


@lru_cache(maxsize=256)
def error(
    status: HTTPStatus, detail: str, origin: str | None, origins: Sequence[str], *, close: bool, empty: bool = False
) -> bytes:
    """Return a whole answer. ``empty`` leaves out the body, for a HEAD request."""
    body = json.dumps({"detail": detail}).encode()
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        **cors_headers(origin, origins),
    }
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_SECONDS)
    if close:
        headers["Connection"] = "close"
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if empty else body)
