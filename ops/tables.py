"""Text for a terminal and for programs: aligned tables, sizes, times, and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> list[str]:
    """Return the lines of a table with aligned columns; the columns named in ``right`` are right-aligned."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]

    def cell(line: Sequence[str], i: int) -> str:
        return line[i].rjust(widths[i]) if header[i] in right else line[i].ljust(widths[i])

    return ["  ".join(cell(line, i) for i in range(len(header))).rstrip() for line in lines]


def pairs(members: Mapping[str, str]) -> list[str]:
    """Return one line for each name and value, the values aligned."""
    width = max(map(len, members), default=0)
    return [f"{name:<{width}}  {value}" for name, value in members.items()]


def count(n: int, noun: str) -> str:
    """Return a number with its noun, such as ``1 version`` or ``3 versions``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def size(n_bytes: int | None) -> str:
    """Return a number of bytes as text, such as ``1.4 kB``."""
    if n_bytes is None:
        return ""
    return f"{n_bytes} B" if n_bytes < 1_000 else f"{n_bytes / 1_000:,.1f} kB"


def utc_time(text: str | None) -> str:
    """Return an ISO 8601 time as ``2026-01-31 12:00:00`` in UTC, and any other text unchanged."""
    if text is None:
        return ""
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return text


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested members under dotted names: ``{"a": {"b": 1}}`` becomes ``{"a.b": 1}``. Lists stay values."""
    members: dict[str, Any] = {}
    for name, member in value.items():
        members |= flat(member, f"{prefix}{name}.") if isinstance(member, Mapping) else {f"{prefix}{name}": member}
    return members


def shown(value: Any) -> str:
    """Return a JSON value as the text of a table's cell."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, int):
        return f"{value:,}"
    return value if isinstance(value, str) else ", ".join(map(shown, value)) if isinstance(value, list) else str(value)


def print_json(value: Any) -> None:
    """Print a value as indented JSON. Times are printed in ISO 8601, and what JSON does not know as text."""
    print(json.dumps(value, indent=2, default=lambda one: one.isoformat() if isinstance(one, datetime) else str(one)))


def show(as_json: bool, value: Any, lines: Iterable[str]) -> None:
    """Print the value as JSON for a program, or the lines for a person."""
    if as_json:
        print_json(value)
    else:
        print_lines(lines)


def print_lines(lines: Iterable[str]) -> None:
    """Print one line for each text."""
    for line in lines:
        print(line)
