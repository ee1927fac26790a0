"""The objects of the model registry as they lie in S3, for the doctor, backup and restore.

Serving and publishing use versions and the pointer only (:mod:`chalicelib.storage.model_registry`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING

from chalicelib.domain.errors import PointerConflictError, RegistryUnavailableError
from chalicelib.storage.aws import aws_client, translated
from chalicelib.storage.model_registry import METADATA, read_object, write_object
from chalicelib.wiring import Container

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ROOT = "models/"
POINTER = "champion.json"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object of the registry: ``models/<cohort>/<version>/<name>``, or the pointer, without a version."""

    key: str
    size: int
    modified: datetime

    @property
    def cohort(self) -> str:
        """The second part of the key."""
        return self.key.split("/")[1]

    @property
    def version(self) -> str | None:
        """The third part of the key, None for the pointer."""
        parts = self.key.split("/")
        return parts[2] if len(parts) > 3 else None


@dataclass(frozen=True, slots=True)
class Remains:
    """Files of a version without ``metadata.json``: its publication is running, or it died."""

    cohort: str
    version: str
    files: tuple[StoredObject, ...]

    @property
    def newest(self) -> datetime:
        """The time at which the last file was written."""
        return max(file.modified for file in self.files)


class RegistryFiles:
    """Reads, adds and deletes objects. Every method raises RegistryUnavailableError when S3 does not answer."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._s3 = client
        self._bucket = bucket

    def objects(self, prefix: str = ROOT) -> Iterator[StoredObject]:
        """Yield all objects below a prefix, in the order of their keys."""
        with translated(RegistryUnavailableError, "listing the registry"):
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    yield StoredObject(entry["Key"], entry["Size"], entry["LastModified"])

    def read(self, key: str) -> bytes:
        """Return the content of an object. Raises NotFoundError."""
        return read_object(self._s3, self._bucket, key)

    def add(self, key: str, body: bytes) -> None:
        """Write an object that does not exist yet. Raises PointerConflictError when it does."""
        if not write_object(self._s3, self._bucket, key, body, None):
            raise PointerConflictError(f"another process wrote {key} in the meantime")

    def remains(self) -> list[Remains]:
        """Return the files of every version without ``metadata.json``."""
        found = []
        for (cohort, version), group in groupby(self.objects(), lambda each: (each.cohort, each.version)):
            files = tuple(group)
            metadata = f"{ROOT}{cohort}/{version}/{METADATA}"
            if version is not None and metadata not in {file.key for file in files}:
                found.append(Remains(cohort, version, files))
        return found

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, the pointer last: nothing is served from a version that is half deleted."""
        with translated(RegistryUnavailableError, "deleting objects"):
            for key in sorted(keys, key=lambda key: key.endswith(f"/{POINTER}")):
                self._s3.delete_object(Bucket=self._bucket, Key=key)

    def delete_remains(self, remains: Remains) -> bool:
        """Delete the files of a version if they have not changed; return whether it did."""
        prefix = f"{ROOT}{remains.cohort}/{remains.version}/"
        if set(self.objects(prefix)) != set(remains.files):
            return False
        with translated(RegistryUnavailableError, f"deleting the remains of version {remains.version}"):
            for file in remains.files:
                self._s3.delete_object(Bucket=self._bucket, Key=file.key)
        return True


def registry_files(container: Container) -> RegistryFiles:
    """Return the registry's objects of a container."""
    settings = container.settings
    return RegistryFiles(aws_client("s3", settings.aws_region, read_timeout=30.0), settings.registry_bucket)
