"""The model registry in S3: versions that are whole or absent, and a pointer moved by conditional PUT.

Layout (DESIGN section 4)::

    models/<cohort>/<version>/{correctness_model.keras, time_model.keras, lnirt.json, vocabulary.json}
    models/<cohort>/<version>/metadata.json      written last: a version without it is no version
    models/<cohort>/champion.json                which version serves
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chalicelib.domain.errors import ModelError, NotFoundError, PointerConflictError, RegistryUnavailableError
from chalicelib.domain.training import Champion
from chalicelib.storage.aws import error_code, translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

METADATA = "metadata.json"

PARALLEL_READS = 4

_ABSENT = ("NoSuchKey", "404", "NotFound")
WRITE_ATTEMPTS = 3
"""How often a version is written again because another wrote to it in between."""

LOST_WRITE = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
"""Codes of a conditional PUT whose condition did not hold."""


def read_object(client: S3Client, bucket: str, key: str) -> bytes:
    """An object's content. Raises NotFoundError where there is none, RegistryUnavailableError."""
    with translated(RegistryUnavailableError, f"reading {key}"):
        try:
            return client.get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError as error:
            if error_code(error) in _ABSENT:
                raise NotFoundError(f"{key} is not in the registry") from error
            raise


def write_object(client: S3Client, bucket: str, key: str, body: bytes, etag: str | None) -> bool:
    """Write an object if it has this ETag (None: if it does not exist); return whether the condition held.

    Raises RegistryUnavailableError.
    """
    kind = "application/json" if key.endswith(".json") else "application/octet-stream"
    condition: dict[str, Any] = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
    with translated(RegistryUnavailableError, f"writing {key}"):
        try:
            client.put_object(Bucket=bucket, Key=key, Body=body, ContentType=kind, **condition)
        except ClientError as error:
            if error_code(error) in (*LOST_WRITE, *_ABSENT):
                return False
            raise
    return True


class S3ModelRegistry:
    """Implements :class:`chalicelib.ports.ModelRegistry`."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._s3 = client
        self._bucket = bucket

    def read_champion(self, cohort: str, etag: str | None = None) -> tuple[Champion, str] | None:
        """The pointer and its ETag; None when there is none, or when it still has the given ``etag``.

        Raises RegistryUnavailableError, or ModelError for a malformed pointer.
        """
        condition: dict[str, Any] = {"IfNoneMatch": etag} if etag else {}
        with translated(RegistryUnavailableError, "reading the champion pointer"):
            try:
                answer = self._s3.get_object(Bucket=self._bucket, Key=_pointer(cohort), **condition)
            except ClientError as error:
                if error_code(error) in (*_ABSENT, "304", "NotModified"):
                    return None
                raise
            raw = answer["Body"].read()
        return champion_from_json(raw), answer["ETag"]

    def champion_exists(self, cohort: str) -> bool:
        """Whether there is a pointer; RegistryUnavailableError when the registry does not answer."""
        return self.champion_etag(cohort) is not None

    def champion_etag(self, cohort: str) -> str | None:
        """The pointer's ETag, whatever its content; None when there is none."""
        with translated(RegistryUnavailableError, "looking for the champion pointer"):
            try:
                return self._s3.head_object(Bucket=self._bucket, Key=_pointer(cohort))["ETag"]
            except ClientError as error:
                if error_code(error) in _ABSENT:
                    return None
                raise

    def write_champion(self, cohort: str, champion: Champion, expected_etag: str | None) -> str:
        """Move the pointer by conditional PUT (None: there must be none yet); PointerConflictError when lost."""
        condition: dict[str, Any] = {"IfMatch": expected_etag} if expected_etag else {"IfNoneMatch": "*"}
        with translated(RegistryUnavailableError, "moving the champion pointer"):
            try:
                answer = self._s3.put_object(
                    Bucket=self._bucket,
                    Key=_pointer(cohort),
                    Body=champion_to_json(champion),
                    ContentType="application/json",
                    **condition,
                )
            except ClientError as error:
                if error_code(error) in (*LOST_WRITE, *_ABSENT):
                    raise PointerConflictError(f"the champion of cohort {cohort} was moved meanwhile") from error
                raise
        return answer["ETag"]

    def read_metadata(self, cohort: str, version: str) -> Mapping[str, Any]:
        """The version's ``metadata.json``; NotFoundError where there is none, ModelError when it is malformed."""
        raw = self._get(f"{_prefix(cohort, version)}{METADATA}")
        try:
            metadata = json.loads(raw)
            if not isinstance(metadata["files"], dict):
                raise TypeError("files is not an object")
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"metadata.json of version {version} is malformed: {error!r}") from error
        return dict(metadata)

    def read_version(self, cohort: str, version: str, names: Sequence[str] | None = None) -> dict[str, bytes]:
        """The files of a version by name, with ``metadata.json``, read side by side.

        Given ``names`` save a round trip: the metadata then comes with the files, not before them. Each file is checked
        against the size and sha256 in the metadata: ModelError for what is missing or differs, NotFoundError when there
        is no such version.
        """
        with ThreadPoolExecutor(max_workers=PARALLEL_READS) as pool:
            if names is None:
                metadata = self.read_metadata(cohort, version)
                names = list(metadata["files"])
                bodies = pool.map(partial(self._file, cohort, version), names)
            else:
                bodies = pool.map(partial(self._file, cohort, version), names)
                metadata = self.read_metadata(cohort, version)
            files = dict(zip(names, bodies, strict=True))
        for name, body in files.items():
            _check(version, name, body, metadata["files"].get(name))
        return {**files, METADATA: json.dumps(metadata).encode()}

    def _file(self, cohort: str, version: str, name: str) -> bytes:
        try:
            return self._get(f"{_prefix(cohort, version)}{name}")
        except NotFoundError as error:
            raise ModelError(f"{name} of version {version} is missing") from error

    def _get(self, key: str) -> bytes:
        return read_object(self._s3, self._bucket, key)

    def write_version(
        self,
        cohort: str,
        version: str,
        files: Mapping[str, bytes],
        metadata: Mapping[str, Any],
        still_ours: Callable[[], object] = lambda: None,
    ) -> Mapping[str, Any]:
        """Write the files, then ``metadata.json`` with their sizes and sha256, last; returns the metadata.

        Two may write one version: a worker that was overtaken does not know it yet. So each object is written only
        while it is what it was before ``still_ours`` was asked. Where it is not, everything begins again by asking: who
        lost the lease stops there by its exception, and never writes over the files of who has it.

        Raises PointerConflictError when the objects would not hold still.
        """
        described = {
            name: {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()} for name, body in files.items()
        }
        complete = {**metadata, "version": version, "cohort": cohort, "files": described}
        bodies = {**files, METADATA: json.dumps(complete, indent=1).encode()}
        for _attempt in range(WRITE_ATTEMPTS):
            etags = self._etags(_prefix(cohort, version))
            still_ours()
            if all(self._replace(key, body, etags.get(key)) for key, body in _keyed(cohort, version, bodies)):
                return complete
        raise PointerConflictError(f"version {version} of cohort {cohort} was written by another meanwhile")

    def _etags(self, prefix: str) -> dict[str, str]:
        """The ETags of the objects below a prefix, by key."""
        with translated(RegistryUnavailableError, f"listing {prefix}"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            return {entry["Key"]: entry["ETag"] for page in pages for entry in page.get("Contents", [])}

    def _replace(self, key: str, body: bytes, etag: str | None) -> bool:
        return write_object(self._s3, self._bucket, key, body, etag)

    def annotate_version(self, cohort: str, version: str, notes: Mapping[str, Any]) -> None:
        """Add to a version's ``metadata.json``, such as why it was promoted or not; the files stay as they are.

        Raises PointerConflictError when others keep writing it.
        """
        key = f"{_prefix(cohort, version)}{METADATA}"
        for _attempt in range(WRITE_ATTEMPTS):
            etag = self._etags(key).get(key)
            metadata = {**self.read_metadata(cohort, version), **notes}
            if self._replace(key, json.dumps(metadata, indent=1).encode(), etag):
                return
        raise PointerConflictError(f"metadata.json of version {version} was written by another meanwhile")

    def list_versions(self, cohort: str) -> list[str]:
        """Versions that have a ``metadata.json``, newest first."""
        versions = []
        with translated(RegistryUnavailableError, "listing the versions"):
            for page in self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"models/{cohort}/"
            ):
                keys = (entry["Key"] for entry in page.get("Contents", []))
                versions += [key.split("/")[2] for key in keys if key.endswith(f"/{METADATA}")]
        return sorted(versions, reverse=True)

    def delete_version(self, cohort: str, version: str) -> None:
        """Delete a version's files, ``metadata.json`` first, so that a half-deleted version is no version."""
        prefix = _prefix(cohort, version)
        with translated(RegistryUnavailableError, f"deleting version {version}"):
            self._s3.delete_object(Bucket=self._bucket, Key=f"{prefix}{METADATA}")
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    self._s3.delete_object(Bucket=self._bucket, Key=entry["Key"])


def _pointer(cohort: str) -> str:
    return f"models/{cohort}/champion.json"


def _prefix(cohort: str, version: str) -> str:
    return f"models/{cohort}/{version}/"


def _keyed(cohort: str, version: str, bodies: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    return ((f"{_prefix(cohort, version)}{name}", body) for name, body in bodies.items())


def _check(version: str, name: str, body: bytes, expected: Any) -> None:
    if not isinstance(expected, dict):
        raise ModelError(f"metadata.json of version {version} does not describe {name}")
    found = {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    if found != {"size": expected.get("size"), "sha256": expected.get("sha256")}:
        raise ModelError(f"{name} of version {version} is damaged: expected {expected}, found {found}")


def champion_to_json(champion: Champion) -> bytes:
    """The pointer file's content."""
    return json.dumps(
        {
            "version": champion.version,
            "previous": champion.previous,
            "promoted_at": champion.promoted_at,
            "request_id": champion.request_id,
            "pinned": champion.pinned,
            "past": [list(entry) for entry in champion.past],
        },
        indent=1,
    ).encode()


def champion_from_json(raw: bytes) -> Champion:
    """The inverse of :func:`champion_to_json`; ModelError for anything that is not a pointer."""
    try:
        fields = json.loads(raw)
        champion = Champion(
            version=fields["version"],
            previous=fields.get("previous"),
            promoted_at=fields["promoted_at"],
            request_id=fields.get("request_id"),
            pinned=bool(fields.get("pinned", False)),
            past=tuple((str(version), str(until)) for version, until in fields.get("past", [])),
        )
        if not isinstance(champion.version, str) or "/" in champion.version or not champion.version:
            raise TypeError(f"version is {champion.version!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"champion.json is malformed: {error!r}") from error
    return champion
