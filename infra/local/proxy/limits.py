"""The bounds of the reverse proxy, each with the environment variable that sets it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from chalicelib.config import Count, Seconds
from chalicelib.domain.errors import ConfigurationError


class Limits(msgspec.Struct, frozen=True, kw_only=True, rename=lambda field: f"SERVER_{field.upper()}"):
    """Bounds of requests, connections, bytes and seconds. ``SERVER_REQUESTS`` sets ``requests``, and so on."""

    requests: Count = 16
    """Requests that the API serves at once. It has a thread for each."""
    waiting: Count = 128
    """Requests of one kind that wait."""
    wait_seconds: Seconds = 0.25
    """Longest wait of a request before it is refused."""
    lists: Count = 4
    """Lists, searches, exports and analytics served at once."""
    lists_per_student: Count = 2
    """Lists, searches, exports and analytics of one access token served at once."""
    accounts: Count = 4
    """Sign-ins, registrations and other requests for accounts served at once."""
    connections: Count = 2_000
    """Open connections of clients. Beyond them the one that has been idle for longest is closed."""
    idle_seconds: Seconds = 75.0
    """Life of a connection without a request."""
    head_seconds: Seconds = 10.0
    """Time for the head of a request, from its first byte."""
    body_seconds: Seconds = 15.0
    """Time for the body of a request."""
    answer_seconds: Seconds = 30.0
    """Time for the API to answer, and for a client to read an answer."""
    small_body: Count = 64 * 1024
    """Bytes that a body may have without an access token, and that are not counted in ``large_bodies``."""
    large_bodies: Count = 32_000_000
    """Bytes of all larger bodies together that are held in memory."""
    unsent: Count = 64_000_000
    """Bytes of all answers together that clients have not read yet."""


def limits_from(environment: Mapping[str, str]) -> Limits:
    """Return the limits of a mapping such as ``os.environ``. Raises ConfigurationError with all faults."""
    values, faults = {}, []
    for field in msgspec.structs.fields(Limits):
        text = environment.get(field.encode_name)
        if text is None:
            continue
        try:
            values[field.name] = msgspec.convert(text.strip(), field.type, strict=False)
        except msgspec.ValidationError as error:
            faults.append(f"{field.encode_name}={text!r}: {error}")
    if faults:
        raise ConfigurationError("The environment is wrong: " + "; ".join(faults))
    return Limits(**values)
