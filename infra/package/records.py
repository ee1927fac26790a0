"""``RECORD``: which files a distribution consists of (PEP 376), as pip wrote them and as they are shipped."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable
from pathlib import Path

from infra.package.contents import Files
from infra.package.pins import Pin

NAME = "RECORD"


def shipped(files: Files, target: Path, changed: Collection[str] = ()) -> Files:
    """The ``RECORD`` of each distribution of ``files``, rewritten to name what is shipped of it.

    The files of ``changed`` are not as they were recorded, so they are named without hash and size.
    """
    written: Files = {}
    for path in sorted(files):
        if path.endswith(f".dist-info/{NAME}"):
            text = _rewritten(files[path].read_text(encoding="utf-8"), files, changed)
            written[path] = target / path
            written[path].parent.mkdir(parents=True, exist_ok=True)
            written[path].write_text(text, encoding="utf-8")
    return written


def files_of(pins: Iterable[Pin], installed: Path) -> frozenset[str]:
    """All files of these distributions, as their ``RECORD`` in ``installed`` names them."""
    folders = {pin.dist_info for pin in pins}
    found = [path for path in installed.glob(f"*.dist-info/{NAME}") if path.parent.name.lower() in folders]
    return frozenset(name for path in found for name in paths(path.read_text(encoding="utf-8")))


def paths(record: str) -> list[str]:
    """The files that the text of a ``RECORD`` names."""
    return [row[0] for row in csv.reader(io.StringIO(record)) if row]


def _rewritten(record: str, present: Collection[str], changed: Collection[str]) -> str:
    rows = [row for row in csv.reader(io.StringIO(record)) if row and row[0] in present]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([row[0], "", ""] if row[0] in changed else row for row in sorted(rows))
    return text.getvalue()
