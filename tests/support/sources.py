"""The files of the checkout that people write: no hidden folders, build results or vendored files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_MADE = {"build", "dist", "site", "vendor", "__pycache__", "node_modules", "screenshots"}
_HIDDEN_AND_WRITTEN = {".github", ".ci", ".chalice"}


def written_files(folder: Path = ROOT) -> Iterator[Path]:
    """Return the files below a folder, in the order of their names."""
    for path in sorted(folder.iterdir()):
        if path.name in _MADE or path.name.endswith(".egg-info"):
            continue
        if path.name.startswith(".") and path.name not in _HIDDEN_AND_WRITTEN:
            continue
        if path.is_dir():
            yield from written_files(path)
        else:
            yield path
