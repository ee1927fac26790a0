"""``studysmart logs QUERY``: runs the named queries of :mod:`infra.log_queries` over the log.

It reads the log files of the one-machine stack, even when the stack is not running. With ``--stack`` it queries
CloudWatch with the operator's own AWS credentials, because the roles of the programs may not read logs.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from chalicelib.storage.aws import aws_client
from infra.log_queries import BY_NAME, COLUMNS, QUERIES, LogQuery, text_of
from ops import tables
from ops.log_insights import LogInsights
from ops.stack import NoStackError, state_directory

Row = dict[str, Any]
Ask = Callable[[LogQuery, list[str]], list[Row]]
"""Runs a query over the log. The list holds the ids that the query is about, if it needs any."""

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("query", nargs="?", choices=list(BY_NAME), metavar="QUERY", help="a name from --list")
    parser.add_argument("--list", action="store_true", help="list the queries with their questions")
    parser.add_argument(
        "--since", type=duration, default=duration("1h"), metavar="TIME", help="30m, 1h, 7d (default: 1h)"
    )
    parser.add_argument("--id", help="id of a request or a training, for the query trace")
    parser.add_argument(
        "--stack", default=os.environ.get("STACK_NAME"), help="name of a stack on AWS (default: STACK_NAME)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def duration(text: str) -> timedelta:
    """Return the time span of a number and one of s, m, h, d, w. Raises argparse.ArgumentTypeError."""
    match = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    if match is None:
        raise argparse.ArgumentTypeError("must be a number and one of s, m, h, d, w, such as 90m")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def run(options: argparse.Namespace) -> int:
    """List the queries, or run one and print its rows. Raises NoStackError, LogsUnavailableError."""
    if options.list or options.query is None:
        tables.print_lines(tables.pairs({query.name: query.question for query in QUERIES}))
        return 0
    query = BY_NAME[options.query]
    if query.needs_ids and not options.id:
        print(f"error: the query {query.name} needs --id, with the id of a request or a training", file=sys.stderr)
        return 2
    since = datetime.now(UTC) - options.since
    if options.stack and options.state_dir is None:
        ask = of_cloudwatch(LogInsights(aws_client("logs", _region())), options.stack, since)
    else:
        ask = of_files(log_files(state_directory(options.state_dir)), since)
    rows = traced(query, options.id, ask) if query.needs_ids else ask(query, [])
    tables.show(options.json, rows, as_lines(rows))
    return 0


def traced(query: LogQuery, start: str, ask: Ask) -> list[Row]:
    """Return the lines of an id, and those of the trainings that these lines name."""
    rows = ask(query, [start])
    trainings = sorted({str(row["training"]) for row in rows if row.get("training")} - {start})
    return ask(query, [start, *trainings]) if trainings else rows


def log_files(state_dir: Path) -> list[Path]:
    """Return the JSON logs of a one-machine stack, the oldest first. Raises NoStackError if there are none."""
    files = sorted((state_dir / "logs").glob("backend.jsonl*"), reverse=True)
    if not files:
        raise NoStackError(f"there is no log in {state_dir} (start a stack with `make run`, or name one with --stack)")
    return files


def of_files(files: Sequence[Path], since: datetime) -> Ask:
    """Return a function that queries the lines of files from ``since`` on. It skips unfinished lines."""
    # Here, because only this command needs it and the image does not contain it.
    import duckdb

    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    lines = database.read_json(
        [str(path) for path in files], columns=COLUMNS, format="newline_delimited", ignore_errors=True
    )
    lines.filter(f"timestamp >= TIMESTAMPTZ '{since.isoformat()}' AND level IS NOT NULL").create_view("lines")

    def ask(query: LogQuery, ids: list[str]) -> list[Row]:
        found = database.execute(query.sql, {"ids": ids} if query.needs_ids else None)
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, values, strict=True)) for values in found.fetchall()]

    return ask


def of_cloudwatch(insights: LogInsights, stack: str, since: datetime) -> Ask:
    """Return a function that queries the log groups of a deployment. Its values are CloudWatch's texts."""

    def ask(query: LogQuery, ids: list[str]) -> list[Row]:
        groups = insights.groups(stack, query.programs)
        now = datetime.now(UTC)
        return [dict(row) for row in insights.run(text_of(query, ids), groups, since.timestamp(), now.timestamp())]

    return ask


def as_lines(rows: Sequence[Row]) -> list[str]:
    """Return rows as a table for a terminal."""
    if not rows:
        return ["The log has no such lines in this period."]
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_shown(row.get(name)) for name in names] for row in rows]
    return tables.table(names, cells, right=[name for name in names if isinstance(rows[0].get(name), int | float)])


def _shown(value: Any) -> str:
    text = f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else tables.shown(value)
    return " ".join(text.split())[:200]


def _region() -> str:
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise NoStackError("AWS_REGION is not set; set it to the region of the deployment")
    return region
