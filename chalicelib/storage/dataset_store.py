"""Copies of a cohort's answers in S3: partitions, and a manifest that is moved by conditional PUT.

Layout::

    datasets/<cohort>/manifest.json      names the partitions that count
    datasets/<cohort>/<uuid>.parquet     one partition: the answers of some students; never overwritten

Everything here can be made again from the tables. The pruner, which has no pyarrow, only deletes files.
:mod:`training_job.datasets` reads and writes their content.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from botocore.exceptions import ClientError

from chalicelib.domain.errors import DatasetError, NotFoundError, RegistryUnavailableError
from chalicelib.storage.aws import error_code, translated
from chalicelib.storage.model_registry import write_object

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ROOT = "datasets/"
MANIFEST = "manifest.json"

SCHEMA = 1
"""Number of the layout of partitions. Those of another layout are made again."""

MAX_BYTES = 1 << 30
"""Maximum size of an object that is read."""

ABANDONED_AFTER = timedelta(days=1)
"""Age from which a file that the manifest does not name belongs to a training that died."""

UNUSED_AFTER = timedelta(days=30)
"""Age of a manifest from which the copy is deleted. Erased students would stay in one that no training renews."""

_ABSENT = ("NoSuchKey", "404", "NotFound")

_log = logging.getLogger("studysmart.datasets")


class Partition(msgspec.Struct, frozen=True):
    """One partition. ``fingerprint`` identifies its students and the times of their last changes.

    ``object`` is the name of the file, empty for a partition without answers.
    """

    object: str
    size: int
    sha256: str
    rows: int
    students: int
    fingerprint: str


class Manifest(msgspec.Struct, frozen=True):
    """The partitions of a cohort's answers, in the order of their numbers.

    Students are assigned to ``count`` partitions. Of a very large cohort only the first ones are kept.
    """

    schema: int
    count: int
    partitions: tuple[Partition, ...]

    @property
    def objects(self) -> set[str]:
        """The names of the files that count."""
        return {partition.object for partition in self.partitions if partition.object}


class _Stored(NamedTuple):
    name: str
    version: str | None
    modified: datetime


class S3DatasetStore:
    """Reads and writes the files of datasets. Every method raises RegistryUnavailableError when S3 does not answer."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._s3 = client
        self._bucket = bucket

    def read_manifest(self, cohort: str) -> tuple[Manifest | None, str | None]:
        """Return the manifest and its ETag: None for both without one, no manifest for one of no use."""
        try:
            raw, etag = self._read(f"{ROOT}{cohort}/{MANIFEST}")
        except NotFoundError:
            return None, None
        try:
            manifest = msgspec.json.decode(raw, type=Manifest)
        except (ValueError, RecursionError) as error:
            _log.warning("the manifest of dataset %s is malformed, and the dataset is made again: %s", cohort, error)
            return None, etag
        return (manifest if manifest.schema == SCHEMA else None), etag

    def move_manifest(self, cohort: str, manifest: Manifest, etag: str | None) -> bool:
        """Replace the manifest if it has this ETag (None: if there is none); return whether it had."""
        body = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        return write_object(self._s3, self._bucket, f"{ROOT}{cohort}/{MANIFEST}", body, etag) is not None

    def read(self, cohort: str, partition: Partition) -> bytes:
        """Return the file of a partition. Raises DatasetError if it is lost or damaged."""
        try:
            body, _ = self._read(f"{ROOT}{cohort}/{partition.object}")
        except NotFoundError as error:
            raise DatasetError(f"{partition.object} of dataset {cohort} is lost") from error
        if len(body) != partition.size or hashlib.sha256(body).hexdigest() != partition.sha256:
            raise DatasetError(f"{partition.object} of dataset {cohort} is damaged")
        return body

    def write(self, cohort: str, body: bytes, *, rows: int, students: int, fingerprint: str) -> Partition:
        """Write the file of a new partition. It counts when the manifest names it."""
        name = f"{uuid.uuid4()}.parquet"
        if write_object(self._s3, self._bucket, f"{ROOT}{cohort}/{name}", body, None) is None:
            raise DatasetError(f"{name} of dataset {cohort} exists already")
        return Partition(name, len(body), hashlib.sha256(body).hexdigest(), rows, students, fingerprint)

    def discard(self, cohort: str, names: Collection[str], now: datetime | None = None) -> int:
        """Delete files by name, and those that died trainings left. Return the number of deleted files.

        In a bucket that keeps versions, all versions of the files are deleted.
        """
        manifest, _ = self.read_manifest(cohort)
        kept = {MANIFEST} | (manifest.objects if manifest else set())
        limit = (now or datetime.now(UTC)) - ABANDONED_AFTER
        return self._delete(
            cohort,
            [
                stored
                for stored in self._stored(cohort)
                if stored.name not in kept and (stored.name in names or stored.modified < limit)
            ],
        )

    def delete(self, cohort: str) -> int:
        """Delete the whole dataset, all versions of the manifest too. Return the number of deleted files."""
        found = list(self._stored(cohort))
        # Without a manifest the other files are nothing.
        return self._delete(cohort, sorted(found, key=lambda stored: stored.name != MANIFEST))

    def prune(self, cohort: str, now: datetime | None = None) -> int:
        """Delete what trainings left that died, and the whole dataset if no training renewed it for long."""
        now = now or datetime.now(UTC)
        manifests = [stored.modified for stored in self._stored(cohort) if stored.name == MANIFEST]
        if manifests and max(manifests) < now - UNUSED_AFTER:
            _log.info("dataset %s was not renewed for %d days and is deleted", cohort, UNUSED_AFTER.days)
            return self.delete(cohort)
        return self.discard(cohort, (), now)

    def _read(self, key: str) -> tuple[bytes, str]:
        with translated(RegistryUnavailableError, f"reading {key}"):
            try:
                answer = self._s3.get_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if error_code(error) in _ABSENT:
                    raise NotFoundError(f"{key} does not exist") from error
                raise
            if answer["ContentLength"] > MAX_BYTES:
                raise DatasetError(f"{key} has {answer['ContentLength']} bytes, more than {MAX_BYTES}")
            return answer["Body"].read(), answer["ETag"]

    def _stored(self, cohort: str) -> Iterator[_Stored]:
        prefix = f"{ROOT}{cohort}/"
        with translated(RegistryUnavailableError, f"listing {prefix}"):
            pages = self._s3.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=prefix)
            for page in pages:
                entries: list[Any] = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
                for entry in entries:
                    version = None if entry["VersionId"] == "null" else entry["VersionId"]
                    yield _Stored(entry["Key"].removeprefix(prefix), version, entry["LastModified"])

    def _delete(self, cohort: str, doomed: Collection[_Stored]) -> int:
        for stored in doomed:
            key = f"{ROOT}{cohort}/{stored.name}"
            version: dict[str, Any] = {} if stored.version is None else {"VersionId": stored.version}
            with translated(RegistryUnavailableError, f"deleting {key}"):
                self._s3.delete_object(Bucket=self._bucket, Key=key, **version)
        return len({stored.name for stored in doomed})
