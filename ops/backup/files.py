"""The directory of a backup: files with their digests, and a manifest that is written last.

``manifest.json`` says what was backed up and has the size and SHA-256 of every file, and a digest of itself. A
directory without one holds no backup, whatever else is in it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from chalicelib.domain.errors import BackupError

MANIFEST = "manifest.json"
FORMAT = 1

_PIECE = 1 << 20


class _Digested(io.RawIOBase):
    """A file that is written, counted and digested at once. What the disk refuses is a BackupError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("xb", buffering=0)
        self._digest = hashlib.sha256()
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        """Write all of the data."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise BackupError(f"{self._path} cannot be written: {error}") from error
        self._digest.update(data)
        self._size += len(data)
        return len(data)

    def finish(self) -> dict[str, Any]:
        """See that the file is on the disk; returns its size and digest."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise BackupError(f"{self._path} cannot be written: {error}") from error
        return {"size": self._size, "sha256": self._digest.hexdigest()}

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


class BackupWriter:
    """Writes a backup into a directory that is new or empty, for this user's eyes only."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._files: dict[str, dict[str, Any]] = {}
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(directory.iterdir()):
                raise BackupError(f"{directory} is not empty: a backup needs a directory of its own")
        except OSError as error:
            raise BackupError(f"{directory} cannot be used: {error}") from error

    @contextmanager
    def compressed(self, name: str) -> Iterator[gzip.GzipFile]:
        """A file to write to, compressed on the way."""
        with self._open(name) as digested:
            with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=digested, mtime=0) as file:
                yield file
            self._files[name] = digested.finish()

    def add(self, name: str, content: bytes) -> None:
        """A file with this content."""
        with self._open(name) as digested:
            digested.write(content)
            self._files[name] = digested.finish()

    def _open(self, name: str) -> _Digested:
        path = self.directory / name
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return _Digested(path)
        except OSError as error:
            raise BackupError(f"{path} cannot be written: {error}") from error

    def finish(self, content: Mapping[str, Any]) -> None:
        """Write the manifest: from here on it is a backup."""
        manifest = {"format": FORMAT, **content, "files": self._files}
        body = json.dumps({**manifest, "sha256": _digest_of(manifest)}, indent=1, ensure_ascii=False).encode()
        path = self.directory / MANIFEST
        try:
            with path.with_suffix(".part").open("xb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            path.with_suffix(".part").rename(path)
            directory = os.open(self.directory, os.O_RDONLY)
            os.fsync(directory)
            os.close(directory)
        except OSError as error:
            raise BackupError(f"{path} cannot be written: {error}") from error


def file_name(key: str) -> str:
    """Where an object of the registry lies in a backup: its key, each part made safe as a name of a file."""
    parts = [quote(part, safe="") for part in key.split("/")]
    return "/".join(f"%2E{part[1:]}" if part.startswith(".") else part for part in parts)


class Backup:
    """A finished backup. Raises BackupError for a directory that holds none, or one of an unknown format."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        try:
            manifest = json.loads((directory / MANIFEST).read_bytes())
            expected = manifest.pop("sha256")
            self.manifest: dict[str, Any] = dict(manifest)
            known = self.manifest["format"]
            self._files: dict[str, dict[str, Any]] = {name: dict(entry) for name, entry in manifest["files"].items()}
        except FileNotFoundError as error:
            raise BackupError(f"{directory} holds no finished backup: it has no {MANIFEST}") from error
        except OSError as error:
            raise BackupError(f"{directory / MANIFEST} cannot be read: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BackupError(f"{directory / MANIFEST} is damaged: {error!r}") from error
        if expected != _digest_of(self.manifest):
            raise BackupError(f"{directory / MANIFEST} is damaged: its digest is another")
        if known != FORMAT:
            raise BackupError(f"{directory} has format {known}, this program reads {FORMAT}")

    def check(self) -> None:
        """Read every file and compare its size and digest; BackupError names all that are missing or damaged."""
        faults = [fault for name, expected in self._files.items() if (fault := self._fault(name, expected))]
        if faults:
            raise BackupError(f"the backup in {self.directory} is damaged: {'; '.join(faults)}")

    def _fault(self, name: str, expected: Mapping[str, Any]) -> str | None:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            return f"{name} is no file of a backup"
        digest, size = hashlib.sha256(), 0
        try:
            with (self.directory / name).open("rb") as file:
                while piece := file.read(_PIECE):
                    digest.update(piece)
                    size += len(piece)
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
        if {"size": size, "sha256": digest.hexdigest()} != dict(expected):
            return f"{name} has {size} bytes and another digest than when it was written"
        return None

    def digest(self, name: str) -> str:
        """The SHA-256 that a file has."""
        return str(self._files[name]["sha256"])

    def read(self, name: str) -> bytes:
        """A file's content."""
        return (self.directory / name).read_bytes()

    @contextmanager
    def decompressed(self, name: str) -> Iterator[gzip.GzipFile]:
        """A compressed file to read from."""
        with gzip.open(self.directory / name, "rb") as file:
            yield file


def _digest_of(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
