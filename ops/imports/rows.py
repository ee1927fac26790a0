"""Turns the records of a file into answers, column by column."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from hashlib import sha1
from itertools import repeat
from typing import Any, NamedTuple

from chalicelib.domain.tasks import Difficulty
from chalicelib.domain.topics import joined_key
from ops.imports import values
from ops.imports.report import ImportReport
from ops.imports.table import Record
from ops.imports.values import IS_EMPTY, MISSING, NOT_DECODED, Changed, Item, Name, Numbers, Parsed, Refused, Times

DEFAULT_SUBJECT = Name("General", "general")
"""The subject of an answer whose file names none."""

_NAMESPACE = uuid.UUID("4a9b0c53-2f0e-5a61-9d0e-7c1d6f0a1b2e").bytes
_EMPTY_ONLY = frozenset([""])


class Task(NamedTuple):
    """The fields of a task that only a file of ``GET /export`` contains."""

    id: str | None = None
    content: str | None = None
    solution: str | None = None
    answer: str | None = None
    minutes: float | None = None
    session_id: str | None = None
    created_micros: int | None = None


class HistoryRow(NamedTuple):
    """One valid answer of a file.

    ``line`` is the line of the file (from 1) where the row starts. ``position`` orders the answers of a user and may be
    None. ``subject`` and ``topic`` are as written, next to their keys. ``difficulty`` is 1..4, ``seconds`` 0..86,400 or
    None. ``at_micros`` is the time of the answer in microseconds since 1970 UTC, or None if the file has no time.
    ``answer_id`` is the file's own name of the answer. ``item`` is the exercise, if the file has an id of it.
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
    answer_id: str | None = None
    task: Task | None = None
    item: Item | None = None

    @property
    def key(self) -> str:
        """The key of the topic within its subject."""
        return joined_key(self.subject_key, self.topic_key)


Identity = tuple[object, ...]


def identity(row: HistoryRow) -> Identity:
    """Return everything that identifies an answer. Rows with the same identity are distinguished by counting them.

    The item is not part of it: a file that was imported without its items would otherwise be imported again.
    """
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

    It depends on the content only, so importing a file again, or a longer version of it, gives the same ids. It is the
    UUID of version 5 (RFC 9562), written out because that takes a third of the time.
    """
    digest = sha1(
        _NAMESPACE + repr((*of, occurrence)).encode("utf-8", "surrogatepass"), usedforsecurity=False
    ).hexdigest()
    return (
        f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{'89ab'[int(digest[16], 16) & 3]}{digest[17:20]}-{digest[20:32]}"
    )


class RowMaker:
    """Turns records with the same columns into answers, and notes in a report what it cannot use.

    ``columns`` gives the index of each column in a record. ``unit`` is that of the times, in seconds. ``comma`` says
    that the comma is the decimal mark.
    """

    def __init__(
        self, columns: Mapping[str, int], now: datetime, report: ImportReport, *, unit: float = 1.0, comma: bool = False
    ) -> None:
        self._columns = columns
        self._report = report
        numbers, times = Numbers(comma), Times(now)
        # A name in the service's own export may be any text, such as "None".
        words = _EMPTY_ONLY if "task_id" in columns else MISSING
        self._parsed: dict[str, Parsed] = {
            "user_id": Parsed(values.user_id, IS_EMPTY),
            "position": Parsed(values.whole, None),
            "subject": Parsed(values.name, DEFAULT_SUBJECT, words),
            "topic": Parsed(values.name, IS_EMPTY, words),
            "difficulty": Parsed(values.difficulty, Difficulty.MEDIUM.numeric),
            "item_id": Parsed(values.item, None, words),
            "is_correct": Parsed(values.correctness, IS_EMPTY),
            "actual_time_seconds": Parsed(numbers.seconds(unit), None),
            "completed_at": Parsed(times.read, None),
            "answer_id": Parsed(str.strip, None),
            "task_id": Parsed(_uuid_or_none, None),
            "task_content": Parsed(str, "", _EMPTY_ONLY),
            "solution_content": Parsed(str, None, _EMPTY_ONLY),
            "answer_content": Parsed(str, None, _EMPTY_ONLY),
            "estimated_time_minutes": Parsed(partial(_minutes, numbers), None),
            "study_session_id": Parsed(_uuid_or_none, None),
            "created_at": Parsed(times.read, None),
        }

    def is_good(self, record: Record) -> bool:
        """Return True if the record is an answer without a fault."""
        return not any(isinstance(self._parsed[c][record.fields[i]], Refused) for c, i in self._taken())

    def _taken(self) -> list[tuple[str, int]]:
        return [(column, index) for column, index in self._columns.items() if column in self._parsed]

    def rows(self, records: Sequence[Record]) -> list[HistoryRow]:
        """Return the answers in some records of the header's width."""
        records = self._completed(records)
        n = len(records)
        bad: set[int] = set()
        found: dict[str, Sequence[Any]] = {}
        for column, index in self._taken():
            parsed = self._parsed[column]
            texts = [record.fields[index] for record in records]
            column_values = list(map(parsed.__getitem__, texts))
            if parsed.odd and not parsed.odd.isdisjoint(texts):
                bad |= self._note_odd(column, records, texts, column_values)
            found[column] = column_values

        def column_of(name: str, absent: object = None) -> Any:
            return found.get(name) or repeat(absent, n)

        # Without a task's id, these columns of some other file are not the service's own.
        tasks: Any = repeat(None, n)
        if "task_id" in self._columns:
            names = ("task_id", "task_content", "solution_content", "answer_content", "estimated_time_minutes",
                     "study_session_id", "created_at")  # fmt: skip
            tasks = map(Task, *(column_of(name) for name in names))
        rows = [
            HistoryRow(
                line.line, user, position, s.text, s.key, t.text, t.key, level, right, seconds, at, answer, task, item
            )
            for line, user, position, s, t, level, right, seconds, at, answer, task, item in zip(
                records,
                column_of("user_id"),
                column_of("position"),
                column_of("subject", DEFAULT_SUBJECT),
                column_of("topic"),
                column_of("difficulty", Difficulty.MEDIUM.numeric),
                column_of("is_correct"),
                column_of("actual_time_seconds"),
                column_of("completed_at"),
                column_of("answer_id"),
                tasks,
                column_of("item_id"),
                strict=True,
            )
        ]
        self._report.bad += len(bad)
        return [row for n, row in enumerate(rows) if n not in bad] if bad else rows

    def _completed(self, records: Sequence[Record]) -> Sequence[Record]:
        """Return the records of completed tasks, and note the others."""
        index = self._columns.get("completed")
        if index is None:
            return records
        kept = []
        for record in records:
            if values.correctness(record.fields[index]) is False:
                self._report.leave_out(record.line, "", "the task is not completed")
            else:
                kept.append(record)
        return kept

    def _note_odd(
        self, column: str, records: Sequence[Record], texts: Sequence[str], column_values: list[Any]
    ) -> set[int]:
        """Report the refused and changed values of a column, put the changed ones in place, and return the bad rows."""
        bad = set()
        for n, text in enumerate(texts):
            value = column_values[n]
            if isinstance(value, Changed):
                self._report.change(records[n].line, text, value.remark)
                column_values[n] = value.value
            elif isinstance(value, Refused):
                self._report.refuse(records[n].line, text, f"{column} {value.problem}")
                bad.add(n)
                column_values[n] = DEFAULT_SUBJECT if column in ("subject", "topic") else None
        return bad


def has_undecoded(report: ImportReport) -> bool:
    """Return True if the report has values with bytes that are not in the file's encoding."""
    return any(reason.endswith(NOT_DECODED.problem) for reason in report.refused)


def _uuid_or_none(text: str) -> object:
    try:
        return str(uuid.UUID(text.strip()))
    except ValueError:
        return Changed(None, "an id that is no UUID was left out")


def _minutes(numbers: Numbers, text: str) -> object:
    number = numbers.read(text)
    if isinstance(number, Refused) or not 0 <= number <= 1_000_000:
        return Changed(None, "an estimated time that is no number of minutes was left out")
    return number
