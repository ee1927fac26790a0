"""Imports a file of history: reads and checks it, stages the good rows, and stores them batch by batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine

from ops.imports.file import open_history
from ops.imports.rows import HistoryRow, RowFault
from ops.imports.store import HistoryImport, history_import

STAGE_ROWS = 20_000
"""The number of answers that are copied to the database at a time."""

KEPT_FAULTS = 1_000
"""The number of faults that a report keeps; all are counted."""


@dataclass(slots=True)
class ImportReport:
    """The progress and the result of an import. ``read`` counts every row of the file, good or bad."""

    read: int = 0
    good: int = 0
    bad: int = 0
    processed: int = 0
    added: int = 0
    new_users: int = 0
    seconds: float = 0.0
    faults: list[RowFault] = field(default_factory=list)

    @property
    def already_there(self) -> int:
        """The number of answers that an earlier import had added."""
        return self.processed - self.added

    @property
    def rows_per_second(self) -> float:
        """The rows of the file per second of the whole import."""
        return self.read / self.seconds if self.seconds else 0.0

    def note(self, faults: list[RowFault]) -> None:
        """Count a bad row, and keep its faults up to a limit."""
        self.bad += 1
        self.faults += faults[: KEPT_FAULTS - len(self.faults)]


def import_file(
    engine: Engine, cohort: str, path: Path, now: datetime, on_progress: Callable[[ImportReport], None]
) -> ImportReport:
    """Import ``path`` and return a report. ``on_progress`` is called after every few thousand rows.

    Raises UnusableFileError before anything is imported. Raises DatabaseUnavailableError; the committed batches stay,
    and the import can be run again.
    """
    report = ImportReport()
    started = time.monotonic()

    def tell() -> None:
        report.seconds = time.monotonic() - started
        on_progress(report)

    with history_import(engine, cohort) as run:
        with open_history(path, now) as rows:
            for chunk in _chunks(rows, report):
                run.stage(chunk)
                tell()
        _store(run, report, tell)
    report.seconds = time.monotonic() - started
    return report


def _chunks(rows: Iterator[HistoryRow | list[RowFault]], report: ImportReport) -> Iterator[list[HistoryRow]]:
    chunk: list[HistoryRow] = []
    for row in rows:
        report.read += 1
        if isinstance(row, list):
            report.note(row)
            continue
        report.good += 1
        chunk.append(row)
        if len(chunk) >= STAGE_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _store(run: HistoryImport, report: ImportReport, tell: Callable[[], None]) -> None:
    for batch in run.batches():
        for row in batch.refused:
            report.note([RowFault(row.line, "user_id", row.user_id, "is an account that was deleted")])
        report.good -= len(batch.refused)
        report.processed += batch.rows - len(batch.refused)
        report.added += batch.added
        report.new_users += batch.new_users
        tell()
