"""The model registry in S3: complete versions, and a pointer that is moved by conditional PUT.

Layout::

    models/<cohort>/<version>/{correctness_model.keras, time_model.keras, lnirt.json, vocabulary.json}
    models/<cohort>/<version>/metadata.json      written last; without it the files are not a version
    models/<cohort>/champion.json                the pointer to the version that serves
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from botocore.exceptions import ClientError

from chalicelib.domain.errors import ModelError, NotFoundError, PointerConflictError, RegistryUnavailableError
from chalicelib.domain.model_files import check_size, json_object
from chalicelib.domain.training import Champion, FileEntry, VersionFiles
from chalicelib.storage.aws import error_code, translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

METADATA = "metadata.json"

SIGNATURE = "signature"
"""Member of the metadata that signs the digests of a version's files (decision 40)."""

PARALLEL_READS = 4

WRITE_ATTEMPTS = 3
"""Maximum number of attempts to write a version while another process writes it too."""

_ABSENT = ("NoSuchKey", "404", "NotFound")

_LOST_WRITE = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
"""Codes of a conditional PUT whose condition did not hold."""


def read_object(client: S3Client, bucket: str, key: str) -> bytes:
    """Return an object's content. Raises NotFoundError, RegistryUnavailableError."""
    with translated(RegistryUnavailableError, f"reading {key}"):
        try:
            return read_body(key, client.get_object(Bucket=bucket, Key=key))
        except ClientError as error:
            if error_code(error) in _ABSENT:
                raise NotFoundError(f"{key} is not in the registry") from error
            raise


def read_body(key: str, answer: GetObjectOutputTypeDef) -> bytes:
    """Return the content of an object. Raises ModelError before it reads one that is too large for a version."""
    check_size(key.rpartition("/")[2], answer["ContentLength"])
    return answer["Body"].read()


def write_object(client: S3Client, bucket: str, key: str, body: bytes, etag: str | None) -> str | None:
    """Write an object if it has this ETag (None: if it does not exist).

    Returns the new ETag, or None if the condition did not hold. Raises RegistryUnavailableError.
    """
    kind = "application/json" if key.endswith(".json") else "application/octet-stream"
    condition: dict[str, Any] = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
    with translated(RegistryUnavailableError, f"writing {key}"):
        try:
            return client.put_object(Bucket=bucket, Key=key, Body=body, ContentType=kind, **condition)["ETag"]
        except ClientError as error:
            if error_code(error) in (*_LOST_WRITE, *_ABSENT):
                return None
            raise


class S3ModelRegistry:
    """Implements :class:`chalicelib.ports.ModelRegistry`.

    With signing keys, versions are signed by the first one, and only versions that one of them has signed are read.
    """

    def __init__(self, client: S3Client, bucket: str, signing_keys: Sequence[str] = ()) -> None:
        self._s3 = client
        self._bucket = bucket
        self._signing_keys = signing_keys

    def read_champion(self, cohort: str, etag: str | None = None) -> tuple[Champion, str] | None:
        """Return the pointer and its ETag. None means: no pointer, or one that still has the given ``etag``.

        Raises RegistryUnavailableError, ModelError for a malformed pointer.
        """
        condition: dict[str, Any] = {"IfNoneMatch": etag} if etag else {}
        with translated(RegistryUnavailableError, "reading the champion pointer"):
            try:
                answer = self._s3.get_object(Bucket=self._bucket, Key=_pointer(cohort), **condition)
            except ClientError as error:
                if error_code(error) in (*_ABSENT, "304", "NotModified"):
                    return None
                raise
            raw = read_body(_pointer(cohort), answer)
        return champion_from_json(raw), answer["ETag"]

    def champion_etag(self, cohort: str) -> str | None:
        """Return the pointer's ETag, whatever its content, None without a pointer. Raises RegistryUnavailableError."""
        with translated(RegistryUnavailableError, "looking for the champion pointer"):
            try:
                return self._s3.head_object(Bucket=self._bucket, Key=_pointer(cohort))["ETag"]
            except ClientError as error:
                if error_code(error) in _ABSENT:
                    return None
                raise

    def write_champion(self, cohort: str, champion: Champion, expected_etag: str | None) -> str:
        """Replace the pointer if it has the expected ETag (None: if there is none), and return the new ETag.

        Raises PointerConflictError.
        """
        body = msgspec.json.format(msgspec.json.encode(champion), indent=1)
        etag = write_object(self._s3, self._bucket, _pointer(cohort), body, expected_etag)
        if etag is None:
            raise PointerConflictError(f"the champion of cohort {cohort} was moved meanwhile")
        return etag

    def read_metadata(self, cohort: str, version: str) -> Mapping[str, Any]:
        """Return the version's ``metadata.json``. Raises NotFoundError, ModelError."""
        raw, _ = self._read_metadata(cohort, version)
        return json_object(raw, METADATA)

    def _read_metadata(self, cohort: str, version: str) -> tuple[bytes, VersionFiles]:
        raw = read_object(self._s3, self._bucket, f"{_prefix(cohort, version)}{METADATA}")
        try:
            # Not msgspec's own decoder: metadata may contain NaN. But what msgspec cannot write could not be in an
            # answer of the API: half a character, or an integer of more than 64 bits.
            document = msgspec.json.encode(json_object(raw, METADATA))
            return raw, msgspec.json.decode(document, type=VersionFiles)
        except (ValueError, OverflowError, ModelError) as error:
            raise ModelError(f"metadata.json of version {version} is malformed: {error}") from error

    def read_version(self, cohort: str, version: str, names: Sequence[str] | None = None) -> dict[str, bytes]:
        """Return files of a version by name, and ``metadata.json``. They are read in parallel.

        With ``names`` the metadata is read together with the files and not before them, which saves a round trip. Each
        file is checked against size and SHA-256 in the metadata, and these against the signature. Raises
        NotFoundError, ModelError.
        """
        with ThreadPoolExecutor(max_workers=PARALLEL_READS) as pool:
            if names is None:
                raw, described = self._read_metadata(cohort, version)
                names = list(described.files)
                bodies = pool.map(partial(self._read_file, cohort, version), names)
            else:
                bodies = pool.map(partial(self._read_file, cohort, version), names)
                raw, described = self._read_metadata(cohort, version)
            files = dict(zip(names, bodies, strict=True))
        for name, body in files.items():
            _check(version, name, FileEntry.of(body), described.files.get(name))
        signatures = [_signature(key, cohort, version, described.files) for key in self._signing_keys]
        if signatures and not any(
            hmac.compare_digest(described.signature.encode(), one.encode()) for one in signatures
        ):
            raise ModelError(f"version {version} is not signed with MODEL_SIGNING_KEY")
        return {**files, METADATA: raw}

    def _read_file(self, cohort: str, version: str, name: str) -> bytes:
        try:
            return read_object(self._s3, self._bucket, f"{_prefix(cohort, version)}{name}")
        except NotFoundError as error:
            raise ModelError(f"{name} of version {version} is missing") from error

    def write_version(
        self,
        cohort: str,
        version: str,
        files: Mapping[str, bytes],
        metadata: Mapping[str, Any],
        still_ours: Callable[[], object] = lambda: None,
    ) -> Mapping[str, Any]:
        """Write the files, then ``metadata.json`` with their sizes and digests; return the metadata.

        Two workers may write the same version, because a worker does not know yet that it was overtaken. Therefore
        each object is written only if it has not changed since before ``still_ours`` was called. If it has changed, the
        check is repeated: the worker that lost the lease stops there with LeaseLostError, and never overwrites a file
        of the other one. Raises PointerConflictError after :data:`WRITE_ATTEMPTS`.
        """
        entries = {name: FileEntry.of(body) for name, body in files.items()}
        complete = {**metadata, "version": version, "cohort": cohort, "files": msgspec.to_builtins(entries)}
        complete |= self._signed(cohort, version, entries)
        prefix = _prefix(cohort, version)
        bodies = {prefix + name: body for name, body in files.items()}
        bodies[prefix + METADATA] = json.dumps(complete, indent=1).encode()
        for _attempt in range(WRITE_ATTEMPTS):
            etags = self._etags(prefix)
            still_ours()
            if all(write_object(self._s3, self._bucket, key, body, etags.get(key)) for key, body in bodies.items()):
                return complete
        raise PointerConflictError(f"version {version} of cohort {cohort} was written by another process meanwhile")

    def sign_version(self, cohort: str, version: str) -> None:
        """Sign a version's files as they are now. Raises NotFoundError, ModelError for a damaged one.

        The caller vouches for the version.
        """
        S3ModelRegistry(self._s3, self._bucket).read_version(cohort, version)  # refuses a damaged one
        _, described = self._read_metadata(cohort, version)
        self.annotate_version(cohort, version, self._signed(cohort, version, described.files))

    def _signed(self, cohort: str, version: str, entries: Mapping[str, FileEntry]) -> dict[str, str]:
        return {SIGNATURE: _signature(self._signing_keys[0], cohort, version, entries)} if self._signing_keys else {}

    def annotate_version(self, cohort: str, version: str, notes: Mapping[str, Any]) -> None:
        """Add fields to a version's ``metadata.json``. Raises PointerConflictError if others keep writing it."""
        key = f"{_prefix(cohort, version)}{METADATA}"
        for _attempt in range(WRITE_ATTEMPTS):
            etag = self._etags(key).get(key)
            metadata = {**self.read_metadata(cohort, version), **notes}
            if write_object(self._s3, self._bucket, key, json.dumps(metadata, indent=1).encode(), etag):
                return
        raise PointerConflictError(f"metadata.json of version {version} was written by another process meanwhile")

    def list_versions(self, cohort: str) -> list[str]:
        """Return the versions that have a ``metadata.json``, newest first."""
        return sorted(
            (key.split("/")[2] for key in self._etags(f"models/{cohort}/") if key.endswith(f"/{METADATA}")),
            reverse=True,
        )

    def delete_version(self, cohort: str, version: str) -> None:
        """Delete a version. ``metadata.json`` goes first, so a half-deleted version is not a version."""
        for key in sorted(self._etags(_prefix(cohort, version)), key=lambda key: not key.endswith(f"/{METADATA}")):
            with translated(RegistryUnavailableError, f"deleting {key}"):
                self._s3.delete_object(Bucket=self._bucket, Key=key)

    def _etags(self, prefix: str) -> dict[str, str]:
        """Return the ETags of the objects below a prefix, by key."""
        with translated(RegistryUnavailableError, f"listing {prefix}"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            return {entry["Key"]: entry["ETag"] for page in pages for entry in page.get("Contents", [])}


def champion_from_json(raw: bytes) -> Champion:
    """Return the pointer that a file holds. Raises ModelError."""
    try:
        return msgspec.json.decode(raw, type=Champion)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"champion.json is malformed: {error}") from error


def _pointer(cohort: str) -> str:
    return f"models/{cohort}/champion.json"


def _prefix(cohort: str, version: str) -> str:
    return f"models/{cohort}/{version}/"


def _signature(key: str, cohort: str, version: str, entries: Mapping[str, FileEntry]) -> str:
    """Return HMAC-SHA256 of a version's name and the digests of its files, in hexadecimal digits."""
    signed = json.dumps([cohort, version, sorted((name, entry.size, entry.sha256) for name, entry in entries.items())])
    return hmac.new(key.encode(), signed.encode(), hashlib.sha256).hexdigest()


def _check(version: str, name: str, found: FileEntry, expected: FileEntry | None) -> None:
    if expected is None:
        raise ModelError(f"metadata.json of version {version} does not describe {name}")
    if found != expected:
        raise ModelError(f"{name} of version {version} is damaged: expected {expected}, found {found}")
