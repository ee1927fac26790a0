"""Streams objects of any bucket by boto3's transfer functions, for the commands of an operator.

An object passes through this process in parts, so memory does not grow with it. boto3 sends and fetches parts side by
side and repeats those that fail. It reads from, or writes to, one end of a pipe on a thread, and the command uses the
other end.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.domain.errors import AbsentObjectError, ObjectError
from chalicelib.storage.aws import aws_client, error_code

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_BUFFER = 1 << 16
_ABSENT = ("404", "NoSuchKey", "NotFound")
_PART_BYTES = 8 * 2**20
_PARTS_AT_ONCE = 4
"""At most about ten parts are in memory. An object of 10,000 parts, the most that S3 takes, has 80 GB."""


def _pipe() -> tuple[BinaryIO, BinaryIO]:
    """Return both ends of a pipe, the one to read from first."""
    reading, writing = os.pipe()
    return os.fdopen(reading, "rb", _BUFFER), os.fdopen(writing, "wb", _BUFFER)


class _Interrupted(Exception):  # noqa: N818 - it is no error of an upload that its source has failed
    """The source of an upload failed, so the upload must not be completed."""


class _Outgoing(io.RawIOBase):
    """What boto3 uploads: the reading end of a pipe. An end without ``complete`` is an interruption."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self.complete = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content = self._pipe.read(size)
        if len(content) != size and not self.complete:
            raise _Interrupted
        return content


class _Incoming(io.RawIOBase):
    """What a command reads: the end of a pipe into which ``download`` writes, whose error is raised at the end."""

    def __init__(self, pipe: BinaryIO, download: Future[None]) -> None:
        self._pipe = pipe
        self._download = download

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._pipe.read(len(buffer))
        if len(content) < len(buffer):
            self._download.result()
        buffer[: len(content)] = content
        return len(content)


class Bucket:
    """The objects of a bucket. Every method raises ObjectError, which names the bucket or the object."""

    def __init__(self, name: str, region: str) -> None:
        self.name = name
        self._region = region

    @cached_property
    def _s3(self) -> S3Client:
        made: S3Client = aws_client("s3", self._region, read_timeout=60.0, attempts=5)
        return made

    def _transfers(self) -> Any:
        """Return boto3's manager of transfers, a context in which they run."""
        from boto3.s3.transfer import TransferConfig, create_transfer_manager

        how = TransferConfig(
            multipart_threshold=_PART_BYTES,
            multipart_chunksize=_PART_BYTES,
            max_concurrency=_PARTS_AT_ONCE,
            preferred_transfer_client="classic",
        )
        return create_transfer_manager(self._s3, how)

    def address(self, key: str) -> str:
        """Return the address by which an operator names an object."""
        return f"s3://{self.name}/{key}"

    def has_any(self, prefix: str) -> bool:
        """Return True if any key begins with the prefix."""
        with self._translated(prefix):
            return "Contents" in self._s3.list_objects_v2(Bucket=self.name, Prefix=prefix, MaxKeys=1)

    def exists(self, key: str) -> bool:
        """Return True if there is an object with the key."""
        try:
            with self._translated(key):
                self._s3.head_object(Bucket=self.name, Key=key)
        except AbsentObjectError:
            return False
        return True

    def add(self, key: str, content: bytes) -> bool:
        """Write a new object at once; return False if there is one already."""
        try:
            with self._translated(key):
                self._s3.put_object(Bucket=self.name, Key=key, Body=content, IfNoneMatch="*")
        except ObjectError as error:
            if isinstance(error.__cause__, ClientError) and error_code(error.__cause__) == "PreconditionFailed":
                return False
            raise
        return True

    @contextmanager
    def writing(self, key: str) -> Iterator[BinaryIO]:
        """Give a stream whose content becomes an object after the block. If the block fails, no object is made."""
        pipe, stream = _pipe()
        source = _Outgoing(pipe)
        with ThreadPoolExecutor(1) as threads:
            upload = threads.submit(self._upload, key, source)
            try:
                yield stream
                stream.flush()
                source.complete = True
            except BrokenPipeError:
                upload.result()  # raises why boto3 has stopped reading
                raise
            finally:
                with suppress(BrokenPipeError):
                    stream.close()
            upload.result()

    def _upload(self, key: str, source: _Outgoing) -> None:
        with source._pipe, self._translated(key), self._transfers() as transfers:
            transfers.upload(source, self.name, key).result()

    @contextmanager
    def reading(self, key: str) -> Iterator[io.BufferedReader]:
        """Give the content of an object as a stream. It may be closed before its end."""
        pipe, target = _pipe()
        with ThreadPoolExecutor(1) as threads:
            download = threads.submit(self._download, key, target)
            with pipe:
                yield io.BufferedReader(cast("io.RawIOBase", _Incoming(pipe, download)), _BUFFER)

    def _download(self, key: str, target: BinaryIO) -> None:
        try:
            with self._translated(key), self._transfers() as transfers:
                transfers.download(self.name, key, target).result()
        finally:
            with suppress(BrokenPipeError):  # nobody reads any more
                target.close()

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from s3transfer.exceptions import RetriesExceededError

        try:
            yield
        except ClientError as error:
            code, place = error_code(error), self.address(key)
            if code in _ABSENT and not self._is_there():
                code = "NoSuchBucket"
            if code == "NoSuchBucket":
                raise ObjectError(f"{place}: there is no bucket {self.name}") from error
            if code in _ABSENT:
                raise AbsentObjectError(f"{place}: there is no object {key} in the bucket {self.name}") from error
            raise ObjectError(f"{place}: {error}") from error
        except (BotoCoreError, Boto3Error, RetriesExceededError) as error:
            raise ObjectError(f"{self.address(key)}: {error}") from error

    def _is_there(self) -> bool:
        try:
            self._s3.head_bucket(Bucket=self.name)
        except ClientError as error:
            # "Forbidden" is no answer to the question; then the object is what is missing.
            return error_code(error) not in _ABSENT
        return True
