"""What API Gateway does with large bodies: they are compressed for clients that say that they can read it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

_CONFIG = Path(__file__).resolve().parents[2] / ".chalice" / "config.json"

MINIMUM_BYTES: int = json.loads(_CONFIG.read_text("utf-8"))["minimum_compression_size"]
"""Bodies below this are sent as they are, here and by API Gateway."""

_LEVEL = 5
"""Two per cent larger than the best, in half of the time."""


def compressed(body: bytes, accepted: str) -> bytes | None:
    """The body by gzip, or None where it is to be sent as it is; ``accepted`` is the header Accept-Encoding."""
    if len(body) < MINIMUM_BYTES or not _accepts_gzip(accepted):
        return None
    return gzip.compress(body, _LEVEL, mtime=0)


def _accepts_gzip(accepted: str) -> bool:
    for coding in accepted.lower().split(","):
        name, _, quality = coding.partition(";")
        if name.strip() == "gzip":
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
