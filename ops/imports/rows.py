"""One row of a history file: text fields to a :class:`HistoryRow`, or the faults that it has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

from chalicelib.domain.history import DEFAULT_SUBJECT, HistoryRow, micros
from chalicelib.domain.tasks import MAX_NAME_LENGTH, MAX_SECONDS, Difficulty, name_key

REQUIRED = ("user_id", "topic", "is_correct")
OPTIONAL = ("subject", "difficulty", "actual_time_seconds", "completed_at", "position")
COLUMNS = REQUIRED + OPTIONAL

_TRUTH = {"1": True, "true": True, "0": False, "false": False}
_LEVELS = {level.value: level.numeric for level in Difficulty} | {str(n): n for n in range(1, 5)}
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_CACHED_NAMES = 50_000
_CLOCK_SKEW = timedelta(days=1)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RowFault:
    """One thing wrong with one row. ``column`` is None when the row as a whole cannot be read."""

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
    """A subject or topic: as written, and its key."""

    text: str
    key: str


def _is_broken(value: str) -> bool:
    """Whether bytes that are no UTF-8 were read (they arrive as lone surrogates)."""
    return not value.isascii() and any("\udc80" <= c <= "\udcff" for c in value)


def _text(value: str) -> str:
    if _is_broken(value):
        raise ValueError("is not valid UTF-8")
    if _UNPRINTABLE.search(value):
        raise ValueError("holds a line break or another control character")
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
    return seconds + 0.0


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
        raise ValueError("lies in the future")
    return micros(at)


class RowReader:
    """Turns the fields of a file's rows into answers; made once per file from its header.

    A row is ``HistoryRow`` or the list of all its faults. Names repeat from row to row, so their checked form is kept
    (bounded).
    """

    def __init__(self, columns: Mapping[str, int], width: int, now: datetime) -> None:
        self._at = {name: columns.get(name) for name in COLUMNS}
        self._width = width
        self._latest = now + _CLOCK_SKEW
        self._names: dict[str, Name] = {}
        self._general = Name(DEFAULT_SUBJECT, name_key(DEFAULT_SUBJECT))

    def read(self, line: int, fields: Sequence[str]) -> HistoryRow | list[RowFault]:
        """The answer in ``fields``, or every fault of the row."""
        if len(fields) != self._width:
            return [RowFault(line, None, ",".join(fields), f"has {len(fields)} fields instead of {self._width}")]
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

        subject = take("subject", self._cached_name, self._general)
        topic = take("topic", self._cached_name, self._general)
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
