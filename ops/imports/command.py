"""``studysmart import``: prints its progress on standard error and a report on standard output.

Exit status 0 when every row was good, 1 when some were not (the good ones are stored), 2 when the file is unusable.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from chalicelib.wiring import Container
from ops import tables
from ops.imports.formats import FORMATS
from ops.imports.importer import GENERIC, Reading, import_file
from ops.imports.report import ImportReport
from ops.imports.source import UnusableFileError
from ops.imports.store import ImportRecord, history_store
from ops.places import place_of

_QUIET_SECONDS = 5.0
"""The pause between lines of progress if standard error is not a terminal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.usage = "studysmart import [options] FILE | list | undo ID"
    parser.add_argument(
        "what",
        nargs="+",
        metavar="FILE",
        help='CSV file, also .gz or .zip; s3://BUCKET/KEY, or "-" for standard input; "list" lists the '
        'imports, "undo ID" takes one back',
    )
    parser.add_argument("--dry-run", action="store_true", help="report what an import would do, and store nothing")
    parser.add_argument("--replace", type=int, metavar="ID", help="take this import back, then import the file")
    parser.add_argument(
        "--map", type=_mapped, default={}, metavar="COLUMN=NAME,...", help="names that columns have in the file"
    )
    parser.add_argument(
        "--format",
        choices=["auto", GENERIC, *FORMATS],
        default="auto",
        help="format of a data set (default: auto, by the columns)",
    )
    parser.add_argument("--questions", metavar="FILE", help="the questions file of ednet, riiid or eedi")
    parser.add_argument("--encoding", metavar="NAME", help="such as windows-1252 (default: detected)")
    parser.add_argument("--separator", metavar="CHARACTER", help='such as ";" (default: detected)')
    parser.add_argument("--json", action="store_true", help="print the report, the list or the result as JSON")
    parser.epilog = (
        "Columns: user_id, topic, is_correct, and optionally subject, difficulty (easy to expert, or 1 to 4), item_id, "
        "actual_time_seconds, completed_at (ISO 8601, or seconds or milliseconds since 1970), position (order within "
        "the student). Case, spaces and underscores do not matter. Answers are sorted by their time. Answers from an "
        "earlier import are not added again. A user_id that is an e-mail address means the account with this address."
    )


def run(container: Container, options: argparse.Namespace) -> int:
    """Import a file into the container's database, list imports, or take one back."""
    match options.what:
        case ["list"]:
            return _list(container, options)
        case ["undo", number] if number.isdecimal():
            return _undo(container, int(number), options)
        case [file]:
            return _import(container, file, options)
    print("error: give one FILE, or list, or undo ID", file=sys.stderr)
    return 2


def _import(container: Container, file: str, options: argparse.Namespace) -> int:
    region = container.settings.aws_region
    reading = Reading(
        None if options.format == "auto" else options.format,
        options.map,
        options.encoding,
        {"\\t": "\t", "tab": "\t"}.get(options.separator, options.separator),
        None if options.questions is None else place_of(options.questions, region),
    )
    try:
        report = import_file(
            container.engine,
            container.settings.cohort,
            place_of(file, region),
            datetime.now(UTC),
            _progress(),
            reading,
            dry_run=options.dry_run,
            replaced=options.replace,
        )
    except UnusableFileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if sys.stderr.isatty():
        print(file=sys.stderr)
    tables.show(options.json, report.as_json(), report.lines())
    return 1 if report.bad else 0


def _list(container: Container, options: argparse.Namespace) -> int:
    with history_store(container.engine, container.settings.cohort) as store:
        imports = store.imports()
    rows = [
        [
            str(found.id),
            f"{found.started_at:%Y-%m-%d %H:%M:%S}",
            found.file,
            f"{found.added:,}",
            f"{found.refused:,}",
            _state(found),
        ]
        for found in imports
    ]
    lines = tables.table(["id", "started (UTC)", "file", "added", "refused", "state"], rows, ["id", "added", "refused"])
    as_json = [
        {
            "id": found.id,
            "started_at": found.started_at.isoformat(),
            "file": found.file,
            "added": found.added,
            "refused": found.refused,
            "state": _state(found),
        }
        for found in imports
    ]
    tables.show(options.json, as_json, lines)
    return 0


def _state(found: ImportRecord) -> str:
    return "taken back" if found.undone_at else "complete" if found.finished_at else "interrupted"


def _undo(container: Container, import_id: int, options: argparse.Namespace) -> int:
    with history_store(container.engine, container.settings.cohort) as store:
        removed = store.undo(import_id)
    text = f"Import {import_id} was taken back: {tables.count(removed, 'answer')} removed."
    tables.show(options.json, {"id": import_id, "removed": removed}, [text])
    return 0


def _mapped(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(column.strip() and name.strip() for column, _, name in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not COLUMN=NAME,COLUMN=NAME")
    return {column.strip(): name.strip() for column, _, name in pairs}


def _progress() -> Callable[[ImportReport], None]:
    """Return a function that shows the progress on standard error.

    On a terminal it rewrites one line, elsewhere it prints a line every few seconds.
    """
    terminal = sys.stderr.isatty()
    shown = time.monotonic()

    def show(report: ImportReport) -> None:
        nonlocal shown
        text = f"{report.read:,} rows read, {report.processed:,} of {report.good:,} answers stored"
        if terminal:
            print(f"\r{text}", end="", flush=True, file=sys.stderr)
        elif time.monotonic() - shown >= _QUIET_SECONDS:
            shown = time.monotonic()
            print(text, flush=True, file=sys.stderr)

    return show
