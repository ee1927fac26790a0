"""The directory of a backup: files with their digests, and a manifest that is written last.

``manifest.json`` lists what was backed up, with the size and SHA-256 of every file, and holds a digest of itself. A
directory without a manifest is not a backup, whatever else it contains.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import quote

import msgspec

from chalicelib.domain.errors import BackupError

MANIFEST = "manifest.json"
FORMAT = 1


class FileEntry(msgspec.Struct, frozen=True):
    """The size in bytes and the SHA-256 of a file."""

    size: int
    sha256: str


class TableEntry(msgspec.Struct, frozen=True):
    """A table: the file with its rows, and their number."""

    file: str
    rows: int


class ObjectEntry(msgspec.Struct, frozen=True):
    """An object of the registry: its key, and the file with its content."""

    key: str
    file: str


class Manifest(msgspec.Struct, frozen=True):
    """The contents of a backup. ``left_out`` names versions that were damaged already."""

    created_at: str
    revision: str | None
    tables: dict[str, TableEntry]
    registry: list[ObjectEntry]
    left_out: list[str]
    files: dict[str, FileEntry]
    format: int = FORMAT

    def summary(self) -> str:
        """Return the numbers of rows and of registry files in words."""
        rows = ", ".join(f"{entry.rows:,} {table}" for table, entry in self.tables.items())
        return f"{rows}, {len(self.registry):,} registry files"


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}") from error


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Give a new file to write to. After the block it is on the disk."""
    with _disk(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("xb") as file:
            # An OSError in the block comes from the disk: pg8000 raises InterfaceError if a copy loses its connection.
            yield file
            file.flush()
            os.fsync(file.fileno())


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(file.tell(), digest)


class BackupWriter:
    """Writes a backup into a new or empty directory that only this user may read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files: dict[str, FileEntry] = {}
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(directory.iterdir()):
                raise BackupError(f"{directory} is not empty: a backup needs a directory of its own")
        except OSError as error:
            raise BackupError(f"{directory} cannot be used: {error.strerror}") from error

    @contextmanager
    def compressed(self, name: str) -> Iterator[gzip.GzipFile]:
        """Give a file to write to, compressed on the way."""
        with (
            _new_file(self.directory / name) as raw,
            gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as file,
        ):
            yield file
        self._note(name)

    def add(self, name: str, content: bytes) -> None:
        """Add a file with this content."""
        with _new_file(self.directory / name) as file:
            file.write(content)
        self._note(name)

    def _note(self, name: str) -> None:
        path = self.directory / name
        with _disk(path):
            self.files[name] = _entry(path)

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, which makes the directory a backup."""
        fields = msgspec.to_builtins(manifest)
        body = json.dumps({**fields, "sha256": _digest_of(fields)}, indent=1, ensure_ascii=False).encode()
        path = self.directory / MANIFEST
        part = path.with_suffix(".part")
        with _new_file(part) as file:
            file.write(body)
        with _disk(path):
            part.rename(path)
            directory = os.open(self.directory, os.O_RDONLY)
            os.fsync(directory)
            os.close(directory)


def file_name(key: str) -> str:
    """Return the name of the file for a key of the registry, each part made safe for any disk."""
    parts = [quote(part, safe="") for part in key.split("/")]
    return "/".join(f"%2E{part[1:]}" if part.startswith(".") else part for part in parts)


class Backup:
    """A finished backup. Raises BackupError for a directory without one, or one of an unknown format."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        path = directory / MANIFEST
        try:
            fields = json.loads(path.read_bytes())
            expected = fields.pop("sha256")
            self.manifest = msgspec.convert(fields, Manifest)
        except FileNotFoundError as error:
            raise BackupError(f"{directory} holds no finished backup: it has no {MANIFEST}") from error
        except OSError as error:
            raise BackupError(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BackupError(f"{path} is damaged: {error!r}") from error
        if expected != _digest_of(fields):
            raise BackupError(f"{path} is damaged: its digest does not match")
        if self.manifest.format != FORMAT:
            raise BackupError(f"{directory} has format {self.manifest.format}, this program reads {FORMAT}")

    def check(self) -> None:
        """Compare every file's size and digest. Raises BackupError that names all missing and damaged files."""
        faults = [fault for name, entry in self.manifest.files.items() if (fault := self._fault(name, entry))]
        if faults:
            raise BackupError(f"the backup in {self.directory} is damaged: {'; '.join(faults)}")

    def _fault(self, name: str, expected: FileEntry) -> str | None:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            return f"{name} is not a file of a backup"
        try:
            found = _entry(self.directory / name)
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
        return (
            None if found == expected else f"{name} has {found.size} bytes and another digest than when it was written"
        )

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return (self.directory / name).read_bytes()

    def decompressed(self, name: str) -> gzip.GzipFile:
        """Open a compressed file for reading."""
        return gzip.open(self.directory / name, "rb")


def _digest_of(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
