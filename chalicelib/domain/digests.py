"""Names in published versions that must not say whom or what they stand for.

A version is kept for weeks, and backups of it longer. So it holds no id of a student, and no topic of so few students
that its name might say something about them. Their digests are enough to find what the version knows about them.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from chalicelib.domain.topics import split_key

MINIMUM_STUDENTS = 5
"""Students that must practise a topic before anybody else sees its name."""


def digest(name: str) -> str:
    """Return 64 bits of the name's SHA-256 digest, as text."""
    return f"#{sha256(name.encode()).hexdigest()[:16]}"


def row_of(name: str, rows: Mapping[str, int], default: int) -> int:
    """Return the row of a name, which stands among the rows as it is or by its digest."""
    row = rows.get(name)
    return rows.get(digest(name), default) if row is None else row


def row_of_topic(key: str, rows: Mapping[str, int], default: int) -> int:
    """Return the row of a topic's key, or of its name alone in a version from before topics had a subject."""
    row = rows.get(key)
    if row is not None:
        return row
    name = split_key(key)[1]
    # The name comes before the digests, which take longer. A version of today has no name without a subject.
    row = rows.get(name)
    return row_of(key, rows, rows.get(digest(name), default)) if row is None else row
