"""Opens a file of history as text: plain, compressed or from standard input, in the encoding that it has."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from chalicelib.domain.errors import ObjectError, StudySmartError
from ops.places import Place, S3Path

STANDARD_INPUT = Path("-")

_HEAD = 1 << 16
_BINARY = {
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save its sheet as CSV",
    b"PAR1": "a Parquet file: convert it to CSV",
    b"SQLite format 3": "an SQLite database: export its table as CSV",
    b"%PDF": "a PDF",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard: unpack it with unzstd",
    b"7z\xbc\xaf": "a 7-Zip archive: unpack it",
    b"Rar!": "a RAR archive: unpack it",
}
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class UnusableFileError(StudySmartError):
    """The file as a whole cannot be imported: it is missing, damaged, of another kind, or lacks a required column."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file of history as text. ``encoding`` is the name of its encoding, ``name`` that of the file for reports."""

    text: io.TextIOWrapper
    encoding: str
    name: str


@contextmanager
def unusable(path: Place) -> Iterator[None]:
    """Turn the errors of reading into UnusableFileError with the name of the file."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, lzma.LZMAError) as error:
        raise UnusableFileError(f"{path}: the archive is damaged: {error}") from error
    except UnicodeError as error:
        raise UnusableFileError(f"{path}: is not in the encoding {error.encoding}: {error.reason}") from error  # type: ignore[attr-defined]
    except ObjectError as error:
        raise UnusableFileError(str(error)) from error
    except OSError as error:
        raise UnusableFileError(f"{path}: {error.strerror or error}") from error


@contextmanager
def opened(path: Place, encoding: str | None = None, fallback: str = "utf-8") -> Iterator[Source]:
    """Open a file, or standard input for ``-``, as text.

    ``encoding`` is the file's own unless given; ``fallback`` is that of a file without a mark that is not UTF-8. Raises
    UnusableFileError, also while the text is read, because a damaged archive is only noticed at the damaged place.
    """
    with ExitStack() as stack, unusable(path):
        raw = _raw(path, stack)
        plain = _unpacked(raw, path, stack)
        head = plain.peek(_HEAD)
        _check_kind(head, path)
        found = _known(encoding) if encoding else _encoding_of(head, fallback)
        # A byte that is wrong makes one value unusable, not the file. UTF-16 has no such bytes.
        errors = "surrogateescape" if not found.startswith("utf-16") else "replace"
        yield Source(io.TextIOWrapper(plain, found, errors=errors, newline=""), found.removesuffix("-sig"), path.name)


def _raw(path: Place, stack: ExitStack) -> IO[bytes]:
    if path == STANDARD_INPUT:
        return stack.enter_context(open(sys.stdin.fileno(), "rb", buffering=_HEAD, closefd=False))
    if isinstance(path, S3Path):
        return stack.enter_context(path.reading())
    if path.is_dir():
        raise UnusableFileError(f"{path}: is a directory; only --format ednet reads one")
    return stack.enter_context(path.open("rb", buffering=_HEAD))


def _unpacked(raw: IO[bytes], path: Place, stack: ExitStack) -> io.BufferedReader:
    plain = cast("io.BufferedReader", raw)
    head = plain.peek(8)
    if head.startswith(b"\x1f\x8b"):
        return io.BufferedReader(cast("io.RawIOBase", stack.enter_context(gzip.open(raw))), _HEAD)
    if head.startswith(b"BZh"):
        return io.BufferedReader(stack.enter_context(bz2.open(raw)), _HEAD)
    if head.startswith(b"\xfd7zXZ"):
        return io.BufferedReader(stack.enter_context(lzma.open(raw)), _HEAD)
    if head.startswith(b"PK\x03\x04"):
        return io.BufferedReader(cast("io.RawIOBase", stack.enter_context(_only_member(raw, path, stack))), _HEAD)
    if path.suffix.lower() == ".gz":
        raise UnusableFileError(f"{path}: is not a gzip archive")
    return plain


def _only_member(raw: IO[bytes], path: Place, stack: ExitStack) -> IO[bytes]:
    """Open the one file of a zip archive."""
    if not raw.seekable():
        copy = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - closed by the stack
        shutil.copyfileobj(raw, copy)
        raw = copy
    archive = stack.enter_context(zipfile.ZipFile(raw))
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if "[Content_Types].xml" in names:
        raise UnusableFileError(f"{path}: is an Excel workbook or another Office document: save its sheet as CSV")
    if len(names) != 1:
        shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        raise UnusableFileError(f"{path}: is a zip archive of {len(names)} files: unpack it, it holds {shown}")
    if archive.getinfo(names[0]).flag_bits & 1:
        raise UnusableFileError(f"{path}: is a zip archive with a password: unpack it")
    return archive.open(names[0])


def _check_kind(head: bytes, path: Place) -> None:
    for start, kind in _BINARY.items():
        if head.startswith(start):
            raise UnusableFileError(f"{path}: is {kind}")
    if not head:
        raise UnusableFileError(f"{path}: is empty")
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise UnusableFileError(f"{path}: is an HTML or XML document, not CSV")
    if start.startswith((b"{", b"[")):
        raise UnusableFileError(f"{path}: is JSON, not CSV")


def _known(encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
        b"".decode(name)
    except LookupError:
        raise UnusableFileError(f"--encoding {encoding}: is no encoding, such as utf-8 or windows-1252") from None
    return {"utf-8": "utf-8-sig"}.get(name, name)


def _encoding_of(head: bytes, fallback: str) -> str:
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding
    # Every other byte of ASCII text in UTF-16 is zero.
    for offset, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros = head[offset::2].count(0)
        if zeros > 0.4 * len(head) / 2 and head[1 - offset :: 2].count(0) < 0.1 * zeros:
            return encoding
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return fallback
    return "utf-8"
