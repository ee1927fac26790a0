"""Text for a terminal: aligned tables, sizes and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Flat = dict[str, Any]


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> list[str]:
    """Lines of a table, each column as wide as its widest cell; the columns named in ``right`` end flush."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]

    def cell(line: Sequence[str], i: int) -> str:
        return line[i].rjust(widths[i]) if header[i] in right else line[i].ljust(widths[i])

    return ["  ".join(cell(line, i) for i in range(len(header))).rstrip() for line in lines]


def size(n_bytes: int | None) -> str:
    """``1.4 kB``."""
    if n_bytes is None:
        return ""
    return f"{n_bytes} B" if n_bytes < 1_000 else f"{n_bytes / 1_000:,.1f} kB"


def when(text: str | None) -> str:
    """An ISO 8601 time as a person reads it; what is none stays as it is."""
    if text is None:
        return ""
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return text


def flat(value: Mapping[str, Any], prefix: str = "") -> Flat:
    """Nested members under dotted names: ``{"a": {"b": 1}}`` becomes ``{"a.b": 1}``. Lists stay values."""
    members: Flat = {}
    for name, member in value.items():
        if isinstance(member, Mapping):
            members |= flat(member, f"{prefix}{name}.")
        else:
            members[f"{prefix}{name}"] = member
    return members


def shown(value: Any) -> str:
    """A member of JSON for a table."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, int):
        return f"{value:,}"
    return value if isinstance(value, str) else ", ".join(map(shown, value)) if isinstance(value, list) else str(value)
