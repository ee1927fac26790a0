"""The registry's objects as they lie in S3, for whoever looks after them: the doctor, backup and restore.

Serving and publishing know versions and a pointer only (:mod:`.model_registry`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from chalicelib.domain.errors import PointerConflictError, RegistryUnavailableError
from chalicelib.storage.aws import error_code, translated
from chalicelib.storage.model_registry import LOST_WRITE, METADATA, read_object

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
        """The key's second part."""
        return self.key.split("/")[1]

    @property
    def version(self) -> str | None:
        """The key's third part, None for the pointer."""
        parts = self.key.split("/")
        return parts[2] if len(parts) > 3 else None


@dataclass(frozen=True, slots=True)
class Remains:
    """Files of a version without ``metadata.json``: a publish that is under way, or that died."""

    cohort: str
    version: str
    files: tuple[StoredObject, ...]

    @property
    def newest(self) -> datetime:
        """When the last file was written."""
        return max(file.modified for file in self.files)


class RegistryFiles:
    """Every method raises RegistryUnavailableError when S3 does not answer."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._s3 = client
        self._bucket = bucket

    def objects(self, prefix: str = ROOT) -> Iterator[StoredObject]:
        """All objects below a prefix, in the order of their keys."""
        with translated(RegistryUnavailableError, "listing the registry"):
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    yield StoredObject(entry["Key"], entry["Size"], entry["LastModified"])

    def read(self, key: str) -> bytes:
        """An object's content; NotFoundError where there is none."""
        return read_object(self._s3, self._bucket, key)

    def add(self, key: str, body: bytes) -> None:
        """Write an object that is not there yet; PointerConflictError when it is."""
        kind = "application/json" if key.endswith(".json") else "application/octet-stream"
        with translated(RegistryUnavailableError, f"writing {key}"):
            try:
                self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=kind, IfNoneMatch="*")
            except ClientError as error:
                if error_code(error) in LOST_WRITE:
                    raise PointerConflictError(f"{key} was written by somebody else meanwhile") from error
                raise

    def remains(self) -> list[Remains]:
        """Every version without ``metadata.json``."""
        versions: dict[tuple[str, str], list[StoredObject]] = {}
        for found in self.objects():
            if found.version is not None:
                versions.setdefault((found.cohort, found.version), []).append(found)
        return [
            Remains(cohort, version, tuple(files))
            for (cohort, version), files in versions.items()
            if not any(file.key == f"{ROOT}{cohort}/{version}/{METADATA}" for file in files)
        ]

    def delete_remains(self, remains: Remains) -> bool:
        """Delete the files of :class:`Remains` if they are still the same; returns whether it did."""
        prefix = f"{ROOT}{remains.cohort}/{remains.version}/"
        if set(self.objects(prefix)) != set(remains.files):
            return False
        with translated(RegistryUnavailableError, f"deleting the remains of version {remains.version}"):
            for file in remains.files:
                self._s3.delete_object(Bucket=self._bucket, Key=file.key)
        return True
