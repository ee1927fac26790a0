"""Brings the answers of each student together, with flat memory: they may be anywhere in a file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType
from zlib import crc32

import msgspec

from ops.imports.rows import HistoryRow

PARTS = 64
"""The number of parts into which students are divided. One part at a time is in memory."""

_BUFFERED = 400
"""Rows of a part that wait in memory before they are written."""

_LENGTH_BYTES = 4


class Spool:
    """Answers in temporary files, one for each part of the students. Used as a context manager."""

    def __init__(self) -> None:
        self._files = ExitStack()
        self._parts = [self._files.enter_context(tempfile.TemporaryFile()) for _ in range(PARTS)]  # noqa: SIM115
        self._waiting: list[list[HistoryRow]] = [[] for _ in range(PARTS)]
        self._encoder = msgspec.msgpack.Encoder()

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def add(self, rows: Iterable[HistoryRow]) -> None:
        """Add answers in the order of the file."""
        waiting = self._waiting
        for row in rows:
            n = crc32(row.user_id.lower().encode("utf-8", "surrogatepass")) % PARTS
            part = waiting[n]
            part.append(row)
            if len(part) >= _BUFFERED:
                self._write(n)

    def _write(self, n: int) -> None:
        encoded = self._encoder.encode(self._waiting[n])
        self._parts[n].write(len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded)
        self._waiting[n] = []

    def parts(self) -> Iterator[list[HistoryRow]]:
        """Give the answers part by part, each part in the order of the file."""
        decoder = msgspec.msgpack.Decoder(list[HistoryRow])
        for n in range(PARTS):
            self._write(n)
            file = self._parts[n]
            file.seek(0)
            rows: list[HistoryRow] = []
            while length := file.read(_LENGTH_BYTES):
                rows += decoder.decode(file.read(int.from_bytes(length, "little")))
            if rows:
                yield rows
