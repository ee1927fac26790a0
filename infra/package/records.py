"""``RECORD``: which files a distribution consists of (PEP 376), as pip wrote them and as they are shipped."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable
from pathlib import Path

from infra.package.contents import Files
from infra.package.pins import Pin

NAME = "RECORD"


def shipped(files: Files, target: Path) -> Files:
    """The ``RECORD`` of each distribution of ``files``, rewritten to name what is shipped of it."""
    written: Files = {}
    for path in sorted(files):
        if path.endswith(f".dist-info/{NAME}"):
            text = _without_absent(files[path].read_text(encoding="utf-8"), files)
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


def _without_absent(record: str, present: Collection[str]) -> str:
    kept = sorted(row for row in csv.reader(io.StringIO(record)) if row and row[0] in present)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(kept)
    return text.getvalue()
