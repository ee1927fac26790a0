"""The head of a request: read strictly, so that the API cannot understand it in another way."""

from __future__ import annotations

import re
from enum import Enum, auto
from http import HTTPStatus

import msgspec

from chalicelib.api.validation import MAX_BODY_BYTES
from chalicelib.domain.service_accounts import KEY_PREFIX, LEARNER_HEADER

MAX_HEAD = 32 * 1024
"""Bytes that a head may have."""

_HEAD = re.compile(
    rb"([A-Z]{1,20}) (/[\x21-\x7e\x80-\xff]*|\*) HTTP/1\.([01])\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)*)\r\n"
)
_PATH_END = re.compile(rb"[?#;]")
_LEARNER = LEARNER_HEADER.lower().encode()
_READ = frozenset(
    (b"content-length", b"transfer-encoding", b"authorization", b"connection", b"expect", b"origin", _LEARNER)
)
_BETWEEN_NEIGHBOURS = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"expect", b"upgrade", b"te"))
"""Headers that concern one connection, and not the way to the API and back."""


class Kind(Enum):
    """The kinds of requests, the most urgent first."""

    HEALTH = auto()
    COMPLETION = auto()
    ORDINARY = auto()
    ACCOUNT = auto()
    LIST = auto()


class BadHeadError(Exception):
    """A request that is refused for its head alone. The end of its body is not known."""

    def __init__(self, status: HTTPStatus, detail: str | None = None, origin: str | None = None) -> None:
        super().__init__(detail or status.phrase)
        self.status = status
        self.origin = origin


class Head(msgspec.Struct, frozen=True):
    """A request without its body. ``client`` identifies its sender by the access token, or by the path without one.

    Each learner of a service account is a client.
    """

    kind: Kind
    client: bytes
    start: bytes
    lines: list[bytes]
    length: int
    stays_open: bool
    expects_continue: bool
    is_head: bool
    origin: str | None

    def for_api(self) -> bytes:
        """Return the head to send to the API, without what concerns the client's connection only."""
        kept = (line for line in self.lines if line.partition(b":")[0].lower() not in _BETWEEN_NEIGHBOURS)
        return b"\r\n".join([self.start, *kept, b""])


def read_head(raw: bytes, small_body: int) -> Head:
    """Return the head of a request from its bytes with the empty line. Raises BadHeadError."""
    found = _HEAD.fullmatch(raw)
    if found is None:
        raise BadHeadError(HTTPStatus.BAD_REQUEST)
    method, target, minor, block = found.groups()
    lines = block.split(b"\r\n")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        if (name := name.lower()) in _READ:
            value = value.strip(b" \t")
            if name == b"content-length" and headers.get(name, value) != value:
                raise BadHeadError(HTTPStatus.BAD_REQUEST)
            headers[name] = value
    origin = headers[b"origin"].decode("latin-1") if b"origin" in headers else None
    if b"transfer-encoding" in headers:
        raise BadHeadError(HTTPStatus.LENGTH_REQUIRED, origin=origin)
    token = headers.get(b"authorization", b"")
    is_service = token.partition(b" ")[2].strip().startswith(KEY_PREFIX.encode())
    learner = b"\n" + headers[_LEARNER] if is_service and _LEARNER in headers else b""
    length = _length(headers.get(b"content-length", b"0"), MAX_BODY_BYTES if token else small_body, origin)
    # Chalice ignores slashes at both ends, and what follows a semicolon or a number sign.
    path = b"/" + _PATH_END.split(target, maxsplit=1)[0].strip(b"/")
    connection = headers.get(b"connection", b"").lower()
    return Head(
        kind_of(method, path),
        token + learner or path,
        b"%b %b HTTP/1.1" % (method, target),
        lines,
        length,
        b"close" not in connection and (minor == b"1" or b"keep-alive" in connection),
        headers.get(b"expect", b"").lower() == b"100-continue",
        method == b"HEAD",
        origin,
    )


def _length(text: bytes, maximum: int, origin: str | None) -> int:
    if not text.isdigit() or len(text) > 18:
        raise BadHeadError(HTTPStatus.BAD_REQUEST, origin=origin)
    if int(text) > maximum:
        detail = f"The body must not be larger than {maximum} bytes"
        raise BadHeadError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, origin)
    return int(text)


def kind_of(method: bytes, path: bytes) -> Kind:
    """Return the kind of a request by its method and path."""
    if path == b"/health":
        return Kind.HEALTH
    if method == b"PATCH":
        return Kind.COMPLETION
    if path.startswith(b"/auth/"):
        return Kind.ACCOUNT
    if method in (b"GET", b"HEAD") and (path in _LISTS or path.startswith(b"/analytics/")):
        return Kind.LIST
    return Kind.ORDINARY


_LISTS = (b"/practice-tasks", b"/export", b"/recommendations", b"/model/versions")
