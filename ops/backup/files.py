"""The files of a backup with their digests, and a manifest that is written last.

``manifest.json`` lists what was backed up, with the size and SHA-256 of every file, and holds a digest of itself. A
place without a manifest is not a backup, whatever else it contains. The place is a directory, or a prefix in a bucket.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol
from urllib.parse import quote

import msgspec

from chalicelib.domain.errors import AbsentObjectError, BackupError, NotFoundError
from ops.places import Place, S3Path

MANIFEST = "manifest.json"
_PIECE = 1 << 20
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
    """The contents of a backup. ``left_out`` names versions that were damaged already.

    ``accounts`` are those of a stack on one machine, with the hashes of their passwords.
    """

    created_at: str
    revision: str | None
    tables: dict[str, TableEntry]
    registry: list[ObjectEntry]
    left_out: list[str]
    files: dict[str, FileEntry]
    format: int = FORMAT
    accounts: TableEntry | None = None

    def summary(self) -> str:
        """Return the numbers of rows and of registry files in words."""
        rows = ", ".join(f"{entry.rows:,} {table}" for table, entry in self.tables.items())
        accounts = "" if self.accounts is None else f"{self.accounts.rows:,} passwords, "
        return f"{rows}, {accounts}{len(self.registry):,} registry files"

    def as_json(self) -> dict[str, Any]:
        """Return what the backup contains, without its files."""
        return {
            "created_at": self.created_at,
            "revision": self.revision,
            "tables": {table: entry.rows for table, entry in self.tables.items()},
            "passwords": None if self.accounts is None else self.accounts.rows,
            "registry_files": len(self.registry),
        }


class Storage(Protocol):
    """The place of a backup. Every method raises BackupError or ObjectError, which name the file."""

    def prepare(self) -> None:
        """Make the place usable for a new backup, for which it must be empty."""

    def new(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Give a new file to write to. After the block it is stored; if the block fails, it is of no use."""

    def finish(self, name: str, content: bytes) -> None:
        """Write a file at once: nobody sees a part of it."""

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Give a file to read from. Raises NotFoundError."""


class Folder:
    """A new or empty directory. Only this user may read the files, also if the directory was made by somebody else."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __str__(self) -> str:
        return str(self._directory)

    def prepare(self) -> None:
        """Make the directory."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(self._directory.iterdir()):
                raise BackupError(f"{self} is not empty: a backup needs a directory of its own")
        except OSError as error:
            raise BackupError(f"{self} cannot be used: {error.strerror}") from error

    @contextmanager
    def new(self, name: str) -> Iterator[BinaryIO]:
        """Give a new file to write to. After the block it is on the disk."""
        path = self._directory / name
        with _disk(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                # An OSError in the block comes from the disk: if a copy loses its connection, pg8000 raises another.
                yield file
                file.flush()
                os.fsync(file.fileno())

    def finish(self, name: str, content: bytes) -> None:
        """Write a file under another name and rename it."""
        path = self._directory / name
        part = path.with_suffix(".part")
        with self.new(part.name) as file:
            file.write(content)
        with _disk(path):
            part.rename(path)
            directory = os.open(self._directory, os.O_RDONLY)
            os.fsync(directory)
            os.close(directory)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Give a file to read from."""
        path = self._directory / name
        try:
            file = path.open("rb")
        except FileNotFoundError as error:
            raise NotFoundError(f"{path} cannot be read: {error.strerror}") from error
        except OSError as error:
            raise BackupError(f"{path} cannot be read: {error.strerror}") from error
        with file:
            yield file


class BucketFolder:
    """The objects below a prefix of a bucket, which other backups do not use."""

    def __init__(self, place: S3Path) -> None:
        self._place = place

    def __str__(self) -> str:
        return str(self._place)

    def prepare(self) -> None:
        """Look for objects."""
        prefix = f"{self._place.key}/" if self._place.key else ""
        if self._place.bucket.has_any(prefix):
            raise BackupError(f"{self} is not empty: a backup needs a prefix of its own")

    def new(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Give a stream that becomes an object after the block."""
        return self._place.bucket.writing((self._place / name).key)

    def finish(self, name: str, content: bytes) -> None:
        """Write an object that does not exist yet."""
        if not self._place.bucket.add((self._place / name).key, content):
            raise BackupError(f"{self} has a {name} already: another backup was written there in the meantime")

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Give an object to read from."""
        place = self._place / name
        try:
            with place.reading() as stream:
                yield stream
        except AbsentObjectError as error:
            raise NotFoundError(str(error)) from error


def storage_of(place: Place) -> Storage:
    """Return the storage of a directory or a prefix."""
    return Folder(place) if isinstance(place, Path) else BucketFolder(place)


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}") from error


class _Counted(io.RawIOBase):
    """Passes on what is written, and counts and digests it."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._size = 0
        self._sha256 = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._size += len(content)
        self._sha256.update(content)
        self._target.write(content)
        return len(content)

    def entry(self) -> FileEntry:
        return FileEntry(self._size, self._sha256.hexdigest())


class BackupWriter:
    """Writes a backup into a new or empty place."""

    def __init__(self, place: Place) -> None:
        self._storage = storage_of(place)
        self.files: dict[str, FileEntry] = {}
        self._storage.prepare()

    @contextmanager
    def compressed(self, name: str) -> Iterator[gzip.GzipFile]:
        """Give a file to write to, compressed on the way."""
        with self._new(name) as file, gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as compressed:
            yield compressed

    def add(self, name: str, content: bytes) -> None:
        """Add a file with this content."""
        with self._new(name) as file:
            file.write(content)

    @contextmanager
    def _new(self, name: str) -> Iterator[_Counted]:
        with self._storage.new(name) as file:
            counted = _Counted(file)
            yield counted
        self.files[name] = counted.entry()

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, which makes the place a backup."""
        fields = msgspec.to_builtins(manifest)
        body = json.dumps({**fields, "sha256": _digest_of(fields)}, indent=1, ensure_ascii=False).encode()
        self._storage.finish(MANIFEST, body)


def file_name(key: str) -> str:
    """Return the name of the file for a key of the registry, each part made safe for any disk."""
    parts = [quote(part, safe="") for part in key.split("/")]
    return "/".join(f"%2E{part[1:]}" if part.startswith(".") else part for part in parts)


class Backup:
    """A finished backup. Raises BackupError for a place without one, or one of an unknown format."""

    def __init__(self, place: Place) -> None:
        self._storage = storage_of(place)
        path = f"{self._storage}/{MANIFEST}"
        try:
            fields = json.loads(self.read(MANIFEST))
            expected = fields.pop("sha256")
            self.manifest = msgspec.convert(fields, Manifest)
        except NotFoundError as error:
            raise BackupError(f"{self._storage} holds no finished backup: it has no {MANIFEST}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BackupError(f"{path} is damaged: {error!r}") from error
        if expected != _digest_of(fields):
            raise BackupError(f"{path} is damaged: its digest does not match")
        if self.manifest.format != FORMAT:
            raise BackupError(f"{self._storage} has format {self.manifest.format}, this program reads {FORMAT}")

    def check(self) -> None:
        """Compare every file's size and digest. Raises BackupError that names all missing and damaged files."""
        faults = [fault for name, entry in self.manifest.files.items() if (fault := self._fault(name, entry))]
        if faults:
            raise BackupError(f"the backup in {self._storage} is damaged: {'; '.join(faults)}")

    def _fault(self, name: str, expected: FileEntry) -> str | None:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            return f"{name} is not a file of a backup"
        digest, size = hashlib.sha256(), 0
        try:
            with self._storage.open(name) as file:
                while piece := file.read(_PIECE):
                    digest.update(piece)
                    size += len(piece)
        except (NotFoundError, BackupError) as error:
            return str(error)
        if FileEntry(size, digest.hexdigest()) == expected:
            return None
        return f"{name} has {size} bytes and another digest than when it was written"

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        with self._storage.open(name) as file:
            return file.read()

    @contextmanager
    def decompressed(self, name: str) -> Iterator[gzip.GzipFile]:
        """Open a compressed file for reading."""
        with self._storage.open(name) as file, gzip.GzipFile("", "rb", fileobj=file) as compressed:
            yield compressed


def _digest_of(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
