"""Reads a file of history, ``.csv`` or ``.csv.gz``, as a stream of answers and faults.

A stray quotation mark makes a CSV reader swallow the lines after it. So when a record over several lines is faulty,
only its first line is given up, and the lines after it are read again, each as a record of its own.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, cast

from chalicelib.domain.errors import StudySmartError
from ops.imports.rows import COLUMNS, REQUIRED, HistoryRow, RowFault, RowReader

_GZIP_MAGIC = b"\x1f\x8b"
_MAXIMUM_LINE = 1 << 20
"""In characters: a file of binary zeros must not be read into memory as one line."""


class UnusableFileError(StudySmartError):
    """The file as a whole cannot be imported: it is missing, truncated, not gzip, or lacks a required column."""


@contextmanager
def open_history(path: Path, now: datetime) -> Iterator[Iterator[HistoryRow | list[RowFault]]]:
    """Give the rows of a file in order, each an answer or the faults of the row.

    ``completed_at`` must not be after ``now``. Raises UnusableFileError, also while the rows are read, because a
    damaged archive is only noticed at the damaged place.
    """
    with _opened(path) as raw, _unpacked(raw, path) as plain:
        text = io.TextIOWrapper(plain, "utf-8-sig", errors="surrogateescape", newline="")
        yield _rows(text, path, now)


@contextmanager
def _unusable(path: Path) -> Iterator[None]:
    """Turn the errors of reading into UnusableFileError with the name of the file."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UnusableFileError(f"{path}: the gzip archive is damaged: {error}") from error
    except OSError as error:
        raise UnusableFileError(f"{path}: {error.strerror or error}") from error


def _opened(path: Path) -> io.BufferedReader:
    with _unusable(path):
        return path.open("rb")


def _unpacked(raw: io.BufferedReader, path: Path) -> IO[bytes]:
    with _unusable(path):
        head = raw.peek(len(_GZIP_MAGIC))[: len(_GZIP_MAGIC)]
    if head == _GZIP_MAGIC:
        return cast("IO[bytes]", gzip.open(raw))
    if path.suffix.lower() == ".gz":
        raise UnusableFileError(f"{path}: is not a gzip archive")
    return raw


class _Lines:
    """The lines of a text with their numbers. Lines of the current record can be given back."""

    def __init__(self, text: io.TextIOWrapper) -> None:
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

    def give_back_all_but_first(self) -> None:
        rest = self.record[1:]
        self._again.extendleft(reversed(rest))
        self.number -= len(rest)


def _rows(text: io.TextIOWrapper, path: Path, now: datetime) -> Iterator[HistoryRow | list[RowFault]]:
    lines = _Lines(text)
    records = csv.reader(lines)
    with _unusable(path):
        header = _header(records, path)
        reader = RowReader(_columns(header, path), len(header), now)
        while (result := _next_row(lines, records, reader)) is not None:
            if result != []:
                yield result


def _next_row(lines: _Lines, records: Iterator[list[str]], reader: RowReader) -> HistoryRow | list[RowFault] | None:
    """Return the next answer or its faults, an empty list for a blank line, None at the end."""
    lines.record.clear()
    first = lines.number + 1
    try:
        fields = next(records)
        result = reader.read(first, fields) if any(fields) else []
    except StopIteration:
        return None
    except csv.Error as error:
        result = [RowFault(first, None, lines.record[0].rstrip(), f"is not CSV: {error}")]
    if result and isinstance(result, list) and len(lines.record) > 1:
        lines.give_back_all_but_first()
        result = [RowFault(first, None, lines.record[0].rstrip(), "has an unclosed quotation mark")]
    return result


def _header(records: Iterator[list[str]], path: Path) -> list[str]:
    try:
        return [name.strip() for name in next(records)]
    except StopIteration:
        raise UnusableFileError(f"{path}: is empty") from None
    except csv.Error as error:
        raise UnusableFileError(f"{path}: the first line is not CSV: {error}") from error


def _columns(header: list[str], path: Path) -> dict[str, int]:
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        found = ", ".join(header)
        shown = (found if len(found) <= 200 else found[:197] + "...").encode("ascii", "backslashreplace").decode()
        raise UnusableFileError(f"{path}: no column {', '.join(missing)} (its columns: {shown})")
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise UnusableFileError(f"{path}: the column {', '.join(twice)} appears twice")
    return {name: header.index(name) for name in COLUMNS if name in header}
