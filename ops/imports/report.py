"""The report of an import: what was read, taken, changed, left out and refused, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ops import tables

SHOWN_LINES = 3
"""The number of lines that are named for each reason."""


@dataclass(slots=True)
class Reason:
    """A reason with the number of rows it applies to, and the first of them with their values."""

    count: int = 0
    first: list[tuple[int, str]] = field(default_factory=list)

    def note(self, line: int, value: str) -> None:
        """Count one more row."""
        self.count += 1
        if len(self.first) < SHOWN_LINES:
            self.first.append((line, value))

    def __str__(self) -> str:
        shown = ", ".join(f"line {line}" + (f" {_printable(value)}" if value else "") for line, value in self.first)
        return f"{shown}{', ...' if self.count > len(self.first) else ''}"


def _printable(value: str) -> str:
    text = value if len(value) <= 40 else value[:37] + "..."
    return repr(text.encode("utf-8", "backslashreplace").decode())


@dataclass(slots=True)
class ImportReport:
    """The progress and the result of an import. ``read`` counts every row of the file, good or bad.

    ``refused`` holds rows that could not be used, ``left_out`` rows that are no answers, ``changed`` values that were
    taken as something else; each by the reason.
    """

    import_id: int | None = None
    dry_run: bool = False
    read: int = 0
    good: int = 0
    bad: int = 0
    processed: int = 0
    added: int = 0
    new_users: int = 0
    seconds: float = 0.0
    origin: dict[str, str] = field(default_factory=dict)
    refused: dict[str, Reason] = field(default_factory=dict)
    left_out: dict[str, Reason] = field(default_factory=dict)
    changed: dict[str, Reason] = field(default_factory=dict)
    hints: list[str] = field(default_factory=list)

    @property
    def already_there(self) -> int:
        """The number of answers that an earlier import had added."""
        return self.processed - self.added

    @property
    def rows_per_second(self) -> float:
        """The rows of the file per second of the whole import."""
        return self.read / self.seconds if self.seconds else 0.0

    def refuse(self, line: int, value: str, reason: str) -> None:
        """Note a row, or one more reason of a row, that cannot be used. The row itself is counted in ``bad``."""
        self.refused.setdefault(reason, Reason()).note(line, value)

    def leave_out(self, line: int, value: str, reason: str) -> None:
        """Note a row that is no answer."""
        self.left_out.setdefault(reason, Reason()).note(line, value)

    def change(self, line: int, value: str, reason: str) -> None:
        """Note a value that was taken as something else."""
        self.changed.setdefault(reason, Reason()).note(line, value)

    def lines(self) -> Iterator[str]:
        """Give the report as text."""
        yield from tables.pairs(self.origin)
        for title, reasons in (("Changed", self.changed), ("Left out", self.left_out), ("Refused", self.refused)):
            for reason, found in reasons.items():
                yield f"{title}: {tables.count(found.count, 'row')}: {reason} ({found})"
        yield from self.hints
        yield self.summary()

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        reasons = {"changed": self.changed, "left_out": self.left_out, "refused": self.refused}
        return {
            "import_id": self.import_id,
            "dry_run": self.dry_run,
            "read": self.read,
            "added": self.added,
            "already_there": self.already_there,
            "new_users": self.new_users,
            "bad": self.bad,
            "seconds": round(self.seconds, 3),
            "origin": self.origin,
            "hints": self.hints,
            **{
                name: [
                    {
                        "reason": reason,
                        "count": found.count,
                        "first": [{"line": line, "value": value} for line, value in found.first],
                    }
                    for reason, found in by_reason.items()
                ]
                for name, by_reason in reasons.items()
            },
        }

    def summary(self) -> str:
        """Return the result in one line."""
        text = (
            f"{tables.count(self.read, 'row')} read, {tables.count(self.added, 'answer')} "
            f"{'would be ' if self.dry_run else ''}added, {self.already_there:,} already there, "
            f"{tables.count(self.new_users, 'new user')}"
        )
        left_out = sum(reason.count for reason in self.left_out.values())
        if left_out:
            text += f", {left_out:,} left out"
        if self.bad:
            text += f", {tables.count(self.bad, 'bad row')} skipped"
        text += f" ({self.seconds:.1f} s, {self.rows_per_second:,.0f} rows/s)"
        if self.import_id is not None:
            text += f". Import {self.import_id}: studysmart import undo {self.import_id} takes it back"
        return text
