"""Writes and measures the zip. The same files give the same bytes, on any day and in any checkout."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

_TIME = (1980, 1, 1, 0, 0, 0)
_READABLE = 0o100644 << 16
_UNIX = 3


def write(tree: Path, target: Path) -> None:
    """Write all files below ``tree`` to the zip ``target``, readable by Lambda's user."""
    files = {path.relative_to(tree).as_posix(): path for path in tree.rglob("*") if path.is_file()}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, _READABLE, _UNIX
            archive.writestr(entry, files[name].read_bytes())


def unpacked_bytes(archive: zipfile.ZipFile) -> int:
    """Return the size of all its files, unpacked."""
    return sum(entry.file_size for entry in archive.infolist())


def largest(archive: zipfile.ZipFile, n: int = 10) -> list[tuple[str, int, int]]:
    """Return (name, unpacked bytes, packed bytes) of the ``n`` largest entries at the top of the zip."""
    unpacked: Counter[str] = Counter()
    packed: Counter[str] = Counter()
    for entry in archive.infolist():
        top, slash, _ = entry.filename.partition("/")
        unpacked[top + slash] += entry.file_size
        packed[top + slash] += entry.compress_size
    return [(name, size, packed[name]) for name, size in unpacked.most_common(n)]
