"""A bucket in memory, which answers the model registry as boto3's client of S3 does."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from chalicelib.storage.model_registry import S3ModelRegistry

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

COHORT, VERSION = "default", "v1"

_READABLE = 1 << 20
"""Bytes of metadata that get digests: larger ones are written as they are."""


class Bucket(dict[str, bytes]):
    """Objects by key, with the operations that reading versions needs."""

    def get_object(self, *, Bucket: str, Key: str, IfNoneMatch: str | None = None) -> dict[str, Any]:  # noqa: N803 - boto3's names
        """Return an object. Raises ClientError if there is none, or if it has the given ETag."""
        if Key not in self:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, f"GetObject of {Bucket}")
        etag = sha256(self[Key]).hexdigest()
        if etag == IfNoneMatch:
            raise ClientError({"Error": {"Code": "304"}}, f"GetObject of {Bucket}")
        return {"Body": io.BytesIO(self[Key]), "ContentLength": len(self[Key]), "ETag": etag}

    def get_paginator(self, _operation: str) -> Bucket:
        """Return the paginator of lists."""
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> list[dict[str, Any]]:  # noqa: N803 - boto3's names
        """Return a list of one page."""
        return [{"Contents": [{"Key": key, "ETag": Bucket} for key in self if key.startswith(Prefix)]}]


def registry_of(files: Mapping[str, bytes]) -> S3ModelRegistry:
    """Return a registry with one version, as somebody would write it who can write to the bucket: the digests fit.

    ``files`` may hold ``champion.json`` as well. Otherwise the pointer names the version that the metadata names.
    """
    version, metadata = VERSION, files.get("metadata.json", b"")
    try:
        document = json.loads(metadata[:_READABLE])
        entries = {name: {"size": len(body), "sha256": sha256(body).hexdigest()} for name, body in files.items()}
        metadata = json.dumps({"files": entries, **document}).encode()
        # A key of S3 cannot have half a character.
        version = str(document["version"]).encode("utf-8", "replace").decode()
    except (LookupError, ValueError, TypeError, RecursionError):
        pass  # not metadata: it stays as it is
    stored = files if not metadata else {**files, "metadata.json": metadata}
    bucket = Bucket({f"models/{COHORT}/{version}/{name}": body for name, body in stored.items()})
    pointer = {"version": version, "previous": None, "promoted_at": "2026-01-01T00:00:00+00:00", "request_id": None}
    bucket[f"models/{COHORT}/champion.json"] = files.get("champion.json", json.dumps(pointer).encode())
    return S3ModelRegistry(cast("S3Client", bucket), "bucket")
