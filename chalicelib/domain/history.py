"""Imported history: one answer of a file, and the id under which it is stored."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import NamedTuple

DEFAULT_SUBJECT = "General"
"""Subject of an imported answer whose file names none."""

IMPORTED_CONTENT = "Imported answer"
"""Task content of imported answers: files of history carry results, not questions."""

_NAMESPACE = uuid.UUID("4a9b0c53-2f0e-5a61-9d0e-7c1d6f0a1b2e")


class HistoryRow(NamedTuple):
    """One validated answer of an imported file.

    ``line`` is where the row starts in the file (from 1). ``position`` orders a user's answers and may be None;
    ``subject`` and ``topic`` are as written, their keys normalised; ``difficulty`` 1..4; ``seconds`` 0..86,400 or
    None; ``at_micros`` is when it was answered, in microseconds since 1970 UTC, or None where the file is silent.
    """

    line: int
    user_id: str
    position: int | None
    subject: str
    subject_key: str
    topic: str
    topic_key: str
    difficulty: int
    is_correct: bool
    seconds: float | None
    at_micros: int | None


Identity = tuple[object, ...]


def identity(row: HistoryRow) -> Identity:
    """All that tells one answer of a user from another: rows that agree in it are told apart by counting them."""
    return (
        row.user_id,
        row.position,
        row.subject_key,
        row.topic_key,
        row.difficulty,
        row.is_correct,
        row.seconds,
        row.at_micros,
    )


def task_id(what: Identity, occurrence: int) -> str:
    """The id of the ``occurrence``-th (from 0) row with this identity.

    It depends on the content only, so that importing a file again, or a longer version of it, meets the same ids.
    """
    return str(uuid.uuid5(_NAMESPACE, repr((*what, occurrence))))


def micros(at: datetime) -> int:
    """Microseconds since 1970 UTC of an aware time."""
    whole = int(at.replace(microsecond=0).timestamp())
    return whole * 1_000_000 + at.microsecond
