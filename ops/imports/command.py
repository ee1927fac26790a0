"""``studysmart import``: prints its progress on standard error and a summary on standard output.

Exit status 0 when every row was good, 1 when some were not (the good ones are stored), 2 when the file is unusable.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from chalicelib.wiring import Container
from ops import tables
from ops.arguments import whole_number
from ops.imports.file import UnusableFileError
from ops.imports.importer import ImportReport, import_file

_QUIET_SECONDS = 5.0
"""The pause between lines of progress if standard error is not a terminal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("file", type=Path, metavar="FILE.csv[.gz]", help="with columns user_id, topic, is_correct")
    parser.add_argument(
        "--max-faults", type=whole_number(0), default=20, metavar="N", help="print at most N faults (default: 20)"
    )
    parser.epilog = (
        "Optional columns: subject, difficulty (easy to expert, or 1 to 4), actual_time_seconds, completed_at "
        "(ISO 8601), position (order within the user). Answers from an earlier import are not added again."
    )


def run(container: Container, options: argparse.Namespace) -> int:
    """Import a file into the container's database."""
    cohort = container.settings.cohort
    try:
        report = import_file(container.engine, cohort, options.file, datetime.now(UTC), _progress())
    except UnusableFileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if sys.stderr.isatty():
        print(file=sys.stderr)
    for fault in report.faults[: options.max_faults]:
        print(fault, file=sys.stderr)
    print(summary(report))
    return 1 if report.bad else 0


def summary(report: ImportReport) -> str:
    """Return the result of an import in one line."""
    text = (
        f"{tables.count(report.read, 'row')} read, {tables.count(report.added, 'answer')} added, "
        f"{report.already_there:,} already there, {tables.count(report.new_users, 'new user')}"
    )
    if report.bad:
        text += f", {tables.count(report.bad, 'bad row')} skipped"
    return f"{text} ({report.seconds:.1f} s, {report.rows_per_second:,.0f} rows/s)"


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
