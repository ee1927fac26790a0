"""Reads text with separators as records, with the separator that it has.

A stray quotation mark makes a CSV reader swallow the lines after it. So when a record over several lines is faulty and
one of them is a good record by itself, only the first line is given up and the others are read again.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, TextIO

from ops.imports.source import UnusableFileError, unusable
from ops.imports.values import is_missing
from ops.places import Place

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar", "^": "caret", "~": "tilde"}

_MAXIMUM_LINE = 1 << 20
"""In characters: a file of binary zeros must not be read into memory as one line."""

_TRIED = 50
"""How many of the lines of a faulty record are read as records."""


class Record(NamedTuple):
    """The fields of one record, of the width of the header. ``line`` is its first line in the file, from 1."""

    line: int
    fields: list[str]


class BadRecord(NamedTuple):
    """A record that cannot be read, by its first line."""

    line: int
    text: str
    problem: str


class _Lines:
    """The lines of a text with their numbers. Lines of the current record can be given back."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._again: deque[str] = deque()
        self.number = 0
        self.record: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._text.readline(_MAXIMUM_LINE)
        if not line:
            raise StopIteration
        self.number += 1
        self.record.append(line)
        return line

    def give_back(self, kept: int) -> None:
        """Give back all lines of the record but the first ``kept``."""
        rest = self.record[kept:]
        del self.record[kept:]
        self._again.extendleft(reversed(rest))
        self.number -= len(rest)


class Table:
    """The header and the records of a text. Raises UnusableFileError for a text without a header."""

    def __init__(self, text: TextIO, path: Place, separator: str | None = None, *, quoted: bool = True) -> None:
        self._path = path
        self._quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        self._lines = _Lines(text)
        with unusable(path):
            first = self._first_line()
        if first.lower().startswith("sep=") and len(first.strip()) in (4, 5):
            # Excel's own line, which names the separator; a tab may be stripped from its end.
            separator = separator or first.strip("\r\n")[4:] or "\t"
            first = self._first_line()
        self.separator = separator or max(SEPARATORS, key=lambda mark: len(next(csv.reader([first], delimiter=mark))))
        self._lines.give_back(0)
        self._records = csv.reader(self._lines, delimiter=self.separator, quoting=self._quoting)
        try:
            with unusable(path):
                header = [name.strip() for name in next(self._records)]
        except csv.Error as error:
            raise UnusableFileError(f"{path}: the first line is not CSV: {error}") from error
        while header and not header[-1]:
            header.pop()
        self.header = header

    def _first_line(self) -> str:
        for line in self._lines:
            if line.strip("\r\n\t ,;|"):
                del self._lines.record[:-1]
                return line
            self._lines.record.clear()
        raise UnusableFileError(f"{self._path}: is empty")

    def records(self, good: Callable[[Record], bool]) -> Iterator[Record | BadRecord]:
        """Give the records in order, without empty ones. ``good`` decides whether a line stands for itself."""
        with unusable(self._path):
            while (record := self._next(good)) is not None:
                if isinstance(record, BadRecord) or any(record.fields):
                    yield record

    def _next(self, good: Callable[[Record], bool]) -> Record | BadRecord | None:
        lines = self._lines
        lines.record.clear()
        first = lines.number + 1
        try:
            record = self._fitted(first, next(self._records))
        except StopIteration:
            return None
        except csv.Error as error:
            record = BadRecord(first, lines.record[0].rstrip(), f"is not CSV: {error}")
        if len(lines.record) == 1 or (isinstance(record, Record) and good(record)):
            return record
        rest = lines.record[1 : 1 + _TRIED]
        if "larger than field limit" in getattr(record, "problem", "") or any(
            self._stands(line, good) for line in rest
        ):
            lines.give_back(1)
            return BadRecord(first, lines.record[0].rstrip(), "has an unclosed quotation mark")
        return record

    def _fitted(self, line: int, fields: list[str]) -> Record | BadRecord:
        """Return a record of the header's width. Surplus fields may be empty, as where lines end with a separator."""
        width = len(self.header)
        if len(fields) > width and all(map(is_missing, fields[width:])):
            fields = fields[:width]
        if len(fields) == width or not any(fields):
            return Record(line, fields)
        return BadRecord(line, self.separator.join(fields), f"has {len(fields)} instead of {width} fields")

    def _stands(self, line: str, good: Callable[[Record], bool]) -> bool:
        try:
            fields: Sequence[str] = next(csv.reader([line], delimiter=self.separator, quoting=self._quoting), ())
        except csv.Error:
            return False
        record = self._fitted(0, list(fields))
        return isinstance(record, Record) and any(fields) and good(record)
