"""Where a command reads or writes files: a folder of this machine, or a bucket of S3 (``s3://bucket/key``)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from chalicelib.domain.errors import ObjectError
from ops.transfer import Bucket

SCHEME = "s3://"


@dataclass(frozen=True, slots=True)
class S3Path:
    """An object of a bucket, with those methods of :class:`pathlib.Path` that the commands use."""

    bucket: Bucket
    key: str

    def __str__(self) -> str:
        return self.bucket.address(self.key).rstrip("/")

    def __truediv__(self, name: str) -> S3Path:
        return S3Path(self.bucket, f"{self.key.rstrip('/')}/{name}".lstrip("/"))

    @property
    def name(self) -> str:
        """The last part of the key."""
        return PurePosixPath(self.key).name

    @property
    def suffix(self) -> str:
        """The ending of the name, with its dot."""
        return PurePosixPath(self.key).suffix

    @property
    def parent(self) -> S3Path:
        """The key without its last part."""
        return S3Path(self.bucket, self.key.rpartition("/")[0])

    def is_dir(self) -> bool:
        """Return False: a bucket has no folders."""
        return False

    def is_file(self) -> bool:
        """Return True if there is such an object. Raises ObjectError."""
        return self.bucket.exists(self.key)

    def reading(self) -> AbstractContextManager[BufferedReader]:
        """Give the content as a stream. Raises ObjectError."""
        if not self.key:
            raise ObjectError(f"{self} names no object, as s3://bucket/name does")
        return self.bucket.reading(self.key)


Place: TypeAlias = Path | S3Path


def place_of(text: str, region: str) -> Place:
    """Return the place that an operator named. Raises ObjectError for an address without a bucket."""
    if not text.startswith(SCHEME):
        return Path(text)
    bucket, _, key = text.removeprefix(SCHEME).partition("/")
    if not bucket:
        raise ObjectError(f"{text} names no bucket, as s3://bucket/name does")
    return S3Path(Bucket(bucket, region), key.rstrip("/"))
