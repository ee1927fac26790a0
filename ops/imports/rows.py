"""One row of a history file: its text fields become a :class:`HistoryRow`, or a list of its faults."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

from chalicelib.domain.tasks import MAX_NAME_LENGTH, MAX_SECONDS, Difficulty, name_key

REQUIRED = ("user_id", "topic", "is_correct")
OPTIONAL = ("subject", "difficulty", "actual_time_seconds", "completed_at", "position")
COLUMNS = REQUIRED + OPTIONAL

DEFAULT_SUBJECT = "General"
"""The subject of an answer whose file names none."""

_NAMESPACE = uuid.UUID("4a9b0c53-2f0e-5a61-9d0e-7c1d6f0a1b2e")
_TRUTH = {"1": True, "true": True, "0": False, "false": False}
_LEVELS = {level.value: level.numeric for level in Difficulty} | {str(n): n for n in range(1, 5)}
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_CACHED_NAMES = 50_000
_CLOCK_SKEW = timedelta(days=1)

T = TypeVar("T")


class HistoryRow(NamedTuple):
    """One valid answer of a file.

    ``line`` is the line of the file (from 1) where the row starts. ``position`` orders the answers of a user and may be
    None. ``subject`` and ``topic`` are as written, next to their keys. ``difficulty`` is 1..4, ``seconds`` 0..86,400 or
    None. ``at_micros`` is the time of the answer in microseconds since 1970 UTC, or None if the file has no time.
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
    """Return everything that identifies an answer. Rows with the same identity are distinguished by counting them."""
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


def task_id(of: Identity, occurrence: int) -> str:
    """Return the id of the task for the ``occurrence``-th row (from 0) with this identity.

    It depends on the content only, so importing a file again, or a longer version of it, gives the same ids.
    """
    return str(uuid.uuid5(_NAMESPACE, repr((*of, occurrence))))


def micros(at: datetime) -> int:
    """Return the microseconds since 1970 UTC of an aware time."""
    whole = int(at.replace(microsecond=0).timestamp())
    return whole * 1_000_000 + at.microsecond


@dataclass(frozen=True, slots=True)
class RowFault:
    """One fault of one row. ``column`` is None when the row as a whole cannot be read."""

    line: int
    column: str | None
    value: str
    problem: str

    def __str__(self) -> str:
        value = self.value if len(self.value) <= 60 else self.value[:57] + "..."
        shown = value.encode("ascii", "backslashreplace").decode() if _is_broken(value) else value
        where = f", {self.column}" if self.column else ""
        return f"line {self.line}{where}: {shown!r} {self.problem}"


class Name(NamedTuple):
    """A subject or topic as written, and its key."""

    text: str
    key: str


def _is_broken(value: str) -> bool:
    """Return True if the bytes were not valid UTF-8: they were decoded as lone surrogates."""
    return not value.isascii() and any("\udc80" <= c <= "\udcff" for c in value)


def _text(value: str) -> str:
    if _is_broken(value):
        raise ValueError("is not valid UTF-8")
    if _UNPRINTABLE.search(value):
        raise ValueError("contains a line break or another control character")
    if len(value) > MAX_NAME_LENGTH:
        raise ValueError(f"is longer than {MAX_NAME_LENGTH} characters")
    return value


def _user_id(value: str) -> str:
    value = _text(value.strip())
    if not value:
        raise ValueError("is empty")
    return value


def _name(value: str) -> Name:
    key = name_key(_text(value))
    if not key:
        raise ValueError("is empty")
    return Name(value, key)


def _is_correct(value: str) -> bool:
    try:
        return _TRUTH[value.strip().lower()]
    except KeyError:
        raise ValueError("must be 0, 1, true or false") from None


def _difficulty(value: str) -> int:
    try:
        return _LEVELS[value.strip().lower()]
    except KeyError:
        raise ValueError("must be easy, medium, hard, expert or 1 to 4") from None


def _seconds(value: str) -> float:
    value = value.strip()
    if not _NUMBER.fullmatch(value):
        raise ValueError("is not a number of seconds")
    seconds = float(value)
    if not 0 <= seconds <= MAX_SECONDS:
        raise ValueError(f"must be 0 to {MAX_SECONDS} seconds")
    return seconds + 0.0  # -0.0 and 0.0 must give the same identity


def _position(value: str) -> int:
    value = value.strip()
    if not _INTEGER.fullmatch(value):
        raise ValueError("is not a whole number")
    return int(value)


def _completed_at(value: str, latest: datetime) -> int:
    try:
        at = datetime.fromisoformat(value.strip())
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is not an ISO 8601 time") from None
    if at > latest:
        raise ValueError("is in the future")
    return micros(at)


class RowReader:
    """Turns the fields of a file's rows into answers. It is made from the header of the file.

    Names repeat from row to row, so a limited number of them is kept with their keys.
    """

    def __init__(self, columns: Mapping[str, int], width: int, now: datetime) -> None:
        self._at = {name: columns.get(name) for name in COLUMNS}
        self._width = width
        self._latest = now + _CLOCK_SKEW
        self._names: dict[str, Name] = {}
        self._default_subject = Name(DEFAULT_SUBJECT, name_key(DEFAULT_SUBJECT))

    def read(self, line: int, fields: Sequence[str]) -> HistoryRow | list[RowFault]:
        """Return the answer in ``fields``, or all faults of the row."""
        if len(fields) != self._width:
            return [RowFault(line, None, ",".join(fields), f"has {len(fields)} instead of {self._width} fields")]
        faults: list[RowFault] = []

        def take(column: str, parse: Callable[[str], T], absent: T) -> T:
            index = self._at[column]
            raw = fields[index] if index is not None else ""
            if not raw.strip() and column not in REQUIRED:
                return absent
            try:
                return parse(raw)
            except ValueError as error:
                faults.append(RowFault(line, column, raw, str(error)))
                return absent

        subject = take("subject", self._cached_name, self._default_subject)
        topic = take("topic", self._cached_name, self._default_subject)
        row = HistoryRow(
            line=line,
            user_id=take("user_id", _user_id, ""),
            position=take("position", _position, None),
            subject=subject.text,
            subject_key=subject.key,
            topic=topic.text,
            topic_key=topic.key,
            difficulty=take("difficulty", _difficulty, Difficulty.MEDIUM.numeric),
            is_correct=take("is_correct", _is_correct, False),
            seconds=take("actual_time_seconds", _seconds, None),
            at_micros=take("completed_at", lambda value: _completed_at(value, self._latest), None),
        )
        return faults or row

    def _cached_name(self, value: str) -> Name:
        name = self._names.get(value)
        if name is None:
            name = _name(value)
            if len(self._names) >= _CACHED_NAMES:
                self._names.clear()
            self._names[value] = name
        return name
