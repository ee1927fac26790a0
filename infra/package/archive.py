"""The zip: the same files give the same bytes, on any day and from any checkout."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

from infra.package.contents import Files

_TIME = (1980, 1, 1, 0, 0, 0)
_READABLE = 0o100644 << 16
_UNIX = 3


def write(files: Files, target: Path) -> None:
    """Write ``files`` to ``target``, whole or not at all, readable by Lambda's user."""
    unfinished = target.with_name(target.name + ".new")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(files):
            entry = zipfile.ZipInfo(path, _TIME)
            entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, _READABLE, _UNIX
            archive.writestr(entry, files[path].read_bytes())
    unfinished.replace(target)


def unpacked_bytes(archive: zipfile.ZipFile) -> int:
    """The size of everything in it, unpacked."""
    return sum(entry.file_size for entry in archive.infolist())


def largest(archive: zipfile.ZipFile, n: int = 10) -> list[tuple[str, int, int]]:
    """(name, unpacked bytes, packed bytes) of the ``n`` largest folders and files at the top of the zip."""
    unpacked: Counter[str] = Counter()
    packed: Counter[str] = Counter()
    for entry in archive.infolist():
        top, slash, _ = entry.filename.partition("/")
        unpacked[top + slash] += entry.file_size
        packed[top + slash] += entry.compress_size
    return [(name, size, packed[name]) for name, size in unpacked.most_common(n)]
