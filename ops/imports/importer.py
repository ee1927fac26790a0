"""Imports a file of history: reads and checks it, brings each student's answers together, and stores them."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby, islice
from pathlib import Path

from sqlalchemy import Engine

from ops.imports.columns import OPTIONAL, REQUIRED, ColumnError, columns_of, near
from ops.imports.formats import FORMATS, Format, Given, recognised
from ops.imports.report import ImportReport
from ops.imports.rows import HistoryRow, RowMaker, has_undecoded
from ops.imports.source import STANDARD_INPUT, Source, UnusableFileError, opened
from ops.imports.spool import Spool
from ops.imports.store import BatchResult, HistoryStore, history_store
from ops.imports.table import SEPARATORS, BadRecord, Record, Table
from ops.places import Place

CHUNK_ROWS = 5_000
"""The number of records that are checked at a time."""

BATCH_ROWS = 4_000
"""A transaction ends at the next change of student after this many answers."""

WRITERS = 2
"""Connections that store at the same time: PostgreSQL takes most of the time of an import."""

GENERIC = "columns"
"""The name of the format whose columns have the names of ``studysmart import``."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The options for reading a file. None means: detect it from the file.

    ``mapped`` maps columns of ``studysmart import`` to names in the file. ``questions`` is the path of the questions
    file that some published data sets need.
    """

    format: str | None = None
    mapped: Mapping[str, str] = field(default_factory=dict)
    encoding: str | None = None
    separator: str | None = None
    questions: Place | None = None


@contextmanager
def open_history(
    path: Place, now: datetime, report: ImportReport, reading: Reading | None = None
) -> Iterator[Iterator[list[HistoryRow]]]:
    """Give the answers of a file in order, in lists of at most ``CHUNK_ROWS``.

    Rows that are left out or refused are noted in ``report``. An answer may be at most one day later than ``now``,
    because clocks differ. Raises UnusableFileError, also while the rows are read, because a damaged archive is only
    noticed at the damaged place.
    """
    reading = reading or Reading()
    form = FORMATS.get(reading.format or "")
    with ExitStack() as stack:
        if isinstance(path, Path) and path.is_dir():
            if reading.format != "ednet":
                raise UnusableFileError(f"{path}: is a directory; only --format ednet reads one")
            header, records = _folder(path, report)
        else:
            source = stack.enter_context(opened(path, reading.encoding, form.fallback if form else "utf-8"))
            table = Table(source.text, path, reading.separator, quoted=form is None or form.quoted)
            report.origin |= _origin(source, table)
            if reading.format is None and not reading.mapped and not _is_generic(table.header):
                name = recognised(table.header)
                if name is not None and path != STANDARD_INPUT:
                    # Encoding and quotation marks are those of the form, so the file is opened again.
                    yield stack.enter_context(open_history(path, now, report, replace(reading, format=name)))
                    return
                form = FORMATS.get(name or "")
            if form is None:
                yield _generic(table, path, now, report, reading)
                return
            header, records = table.header, _readable(table.records(lambda _: True), report)
            if "user_id" not in header and form is FORMATS["ednet"]:
                header, records = _with_user(header, records, path)
        assert form is not None  # noqa: S101 - narrows a type
        if not form.fits(header):
            raise UnusableFileError(f"{path}: does not have the columns of {form.title}: {', '.join(header)[:200]}")
        yield _published(form, Given(records, header, path, reading.questions, report), now, report)


def _is_generic(header: Sequence[str]) -> bool:
    try:
        columns_of(header, {})
    except ColumnError:
        return False
    return True


def _origin(source: Source, table: Table) -> dict[str, str]:
    separator = SEPARATORS.get(table.separator, repr(table.separator))
    return {"File": f"{source.name}, separated by {separator}, encoding {source.encoding}"}


def _generic(
    table: Table, path: Place, now: datetime, report: ImportReport, reading: Reading
) -> Iterator[list[HistoryRow]]:
    try:
        columns = columns_of(table.header, reading.mapped)
    except ColumnError as error:
        raise UnusableFileError(f"{path}: {error}") from None
    names = {column: table.header[index] for column, index in columns.items()}
    report.origin["Columns"] = ", ".join(
        column if column == name else f"{column} (from {name})" for column, name in names.items()
    )
    left = [name for index, name in enumerate(table.header) if index not in columns.values()]
    if left:
        report.origin["Not taken"] = ", ".join(left)
    for column in ("actual_time_seconds", "completed_at", "position"):
        name = None if column in columns else near(column, left)
        if name is not None:
            report.hints.append(f"Is {name} the column {column}? Then run again with --map {column}={name!r}.")
    maker = RowMaker(columns, now, report, comma=table.separator == ";")
    return _answers(maker, _readable(table.records(maker.is_good), report), report)


def _published(form: Format, given: Given, now: datetime, report: ImportReport) -> Iterator[list[HistoryRow]]:
    report.origin["Format"] = form.title
    given.item_columns = form.item_columns(given.index)
    if given.item_columns:
        report.origin["Items"] = f"from {' and '.join(given.item_columns)}"
    columns = (*REQUIRED, *OPTIONAL)
    maker = RowMaker({name: n for n, name in enumerate(columns)}, now, report, unit=form.unit)
    records = (Record(line, [answer.get(name, "") for name in columns]) for line, answer in form.rows(given))
    return _answers(maker, records, report)


def _readable(records: Iterator[Record | BadRecord], report: ImportReport) -> Iterator[Record]:
    """Give the records, and count them and those that cannot be read."""
    for record in records:
        report.read += 1
        if isinstance(record, BadRecord):
            report.bad += 1
            report.refuse(record.line, record.text, record.problem)
        else:
            yield record


def _answers(maker: RowMaker, records: Iterator[Record], report: ImportReport) -> Iterator[list[HistoryRow]]:
    while chunk := list(islice(records, CHUNK_ROWS)):
        rows = maker.rows(chunk)
        report.good += len(rows)
        yield rows
    if has_undecoded(report):
        report.hints.append("Is the file in Windows-1252? Then run again with --encoding windows-1252.")


def _folder(path: Path, report: ImportReport) -> tuple[list[str], Iterator[Record]]:
    """Return the header and the records of EdNet's folder, which has a file for each student."""
    files = sorted(path.glob("u*.csv")) or sorted(path.glob("*/u*.csv"))
    if not files:
        raise UnusableFileError(f"{path}: has no file such as u1.csv")
    report.origin["Folder"] = f"{path.name}, {len(files):,} files"

    def header_and_records(file: Path) -> Iterator[tuple[list[str], Iterator[Record]]]:
        with opened(file) as source:
            table = Table(source.text, file)
            yield _with_user(table.header, _readable(table.records(lambda _: True), report), file)

    header = next(header_and_records(files[0]))[0]

    def records() -> Iterator[Record]:
        for file in files:
            for found, rows in header_and_records(file):
                if found != header:
                    raise UnusableFileError(f"{file}: has other columns than {files[0].name}: {', '.join(found)}")
                yield from rows

    return header, records()


def _with_user(header: list[str], records: Iterator[Record], path: Place) -> tuple[list[str], Iterator[Record]]:
    """Add the student, who is named by the file's name only."""
    name = path.name.partition(".")[0]
    found = re.search(r"u[0-9]+$", name)
    user = found[0] if found else name
    return [*header, "user_id"], (Record(record.line, [*record.fields, user]) for record in records)


def import_file(
    engine: Engine,
    cohort: str,
    path: Place,
    now: datetime,
    on_progress: Callable[[ImportReport], None],
    reading: Reading | None = None,
    *,
    dry_run: bool = False,
    replaced: int | None = None,
) -> ImportReport:
    """Import ``path`` and return a report. ``on_progress`` is called after every few thousand rows.

    The import ``replaced`` is taken back once the file has been read, so an unusable file loses nothing.

    Raises UnusableFileError before anything is imported. Raises DatabaseUnavailableError; the committed batches stay,
    and the import can be run again. ``dry_run`` does everything and takes it back.
    """
    report = ImportReport(dry_run=dry_run)
    started = time.monotonic()

    def tell() -> None:
        report.seconds = time.monotonic() - started
        on_progress(report)

    with Spool() as spool:
        with open_history(path, now, report, reading) as chunks:
            for rows in chunks:
                spool.add(rows)
                tell()
        if replaced is not None:
            with history_store(engine, cohort) as store:
                if dry_run:
                    store.check_undo(replaced)
                    report.hints.append(f"Nothing was taken back: answers of import {replaced} count as already there.")
                else:
                    store.undo(replaced)
        batches = (batch for part in spool.parts() for batch in _batches(part, report))
        for result in _stored(engine, cohort, path, report, batches):
            for row, reason in result.refused:
                report.refuse(row.line, row.user_id, reason)
            report.bad += len(result.refused)
            report.good -= len(result.refused)
            report.processed += result.rows - len(result.refused)
            report.added += result.added
            report.new_users += result.new_users
            tell()
    report.seconds = time.monotonic() - started
    return report


def _stored(
    engine: Engine, cohort: str, path: Place, report: ImportReport, batches: Iterator[list[HistoryRow]]
) -> Iterator[BatchResult]:
    """Store batches over several connections, and give their results as they come."""
    n_writers = WRITERS if report.good > BATCH_ROWS else 1
    with ExitStack() as stack, ThreadPoolExecutor(n_writers) as threads:
        stores = [stack.enter_context(history_store(engine, cohort, dry_run=report.dry_run)) for _ in range(n_writers)]
        if not report.dry_run:
            report.import_id = stores[0].begin("standard input" if path == STANDARD_INPUT else path.name)
        for store in stores:
            store.import_id = report.import_id
        # Only as many batches as there are writers are in memory.
        while some := list(islice(batches, n_writers)):
            yield from threads.map(HistoryStore.store, stores, some)
        if report.import_id is not None:
            stores[0].finish(report.import_id, report.read, report.bad)


def _batches(rows: list[HistoryRow], report: ImportReport) -> Iterator[list[HistoryRow]]:
    """Give the answers of whole students, each student's in order, in lists of about ``BATCH_ROWS``."""
    rows.sort(key=lambda row: row.user_id)
    batch: list[HistoryRow] = []
    for _, answers in groupby(rows, lambda row: row.user_id):
        of_student = list(answers)
        _note_repeats(of_student, report)
        batch += _in_order(of_student, report)
        if len(batch) >= BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _in_order(rows: list[HistoryRow], report: ImportReport) -> list[HistoryRow]:
    """Return a student's answers by position, those without one last. Positions that repeat are no order.

    Their times, where they are known, go before this order.
    """
    positions = Counter(row.position for row in rows)
    del positions[None]
    if max(positions.values(), default=0) > 1:
        first = next(row for row in rows if positions[row.position] > 1)
        report.change(
            first.line, str(first.position), "position repeats within a student, so the order of the file was kept"
        )
        return rows
    return sorted(rows, key=lambda row: (row.position is None, row.position or 0))


def _note_repeats(rows: list[HistoryRow], report: ImportReport) -> None:
    """Say in the report which rows have the name of an earlier answer of the student."""
    topics: dict[str, str] = {}
    for row in rows:
        if row.answer_id is None:
            continue
        if row.answer_id not in topics:
            topics[row.answer_id] = row.key
        elif topics[row.answer_id] == row.key:
            report.change(row.line, row.answer_id, "the same answer again, counted again")
        else:
            report.change(row.line, row.answer_id, "the same answer under another topic, counted for each topic")
