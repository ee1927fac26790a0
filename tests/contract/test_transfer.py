"""Objects of S3 as streams: whole or not at all, in parts, and with errors that name bucket and key."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.domain.errors import ObjectError
from ops import transfer
from ops.transfer import Bucket

pytestmark = pytest.mark.slow

PIECE = random.Random(1).randbytes(1 << 16)
PIECES = 400
"""More than three parts, and more than the pipe and the parts in memory hold."""


@pytest.fixture
def bucket(aws: Mapping[str, str]) -> Bucket:
    name = f"files-{uuid4().hex}"
    boto3.client("s3", region_name=aws["AWS_REGION"]).create_bucket(Bucket=name)
    return Bucket(name, aws["AWS_REGION"])


def let_fail(bucket: Bucket, operation: str, after: int = 0) -> None:
    """Let calls of an operation fail when so many have succeeded."""
    calls = []

    def fail(**_: Any) -> None:
        calls.append(1)
        if len(calls) > after:
            raise EndpointConnectionError(endpoint_url="the network")

    bucket._s3.meta.events.register(f"before-call.s3.{operation}", fail)


def unfinished(bucket: Bucket) -> list[Any]:
    """The multipart uploads that were neither completed nor aborted."""
    return list(bucket._s3.list_multipart_uploads(Bucket=bucket.name).get("Uploads", []))


def test_a_large_object_goes_and_comes_in_parts(bucket: Bucket) -> None:
    written, read = hashlib.sha256(), hashlib.sha256()
    with bucket.writing("large") as stream:
        for _ in range(PIECES):
            written.update(PIECE)
            stream.write(PIECE)
    assert bucket._s3.head_object(Bucket=bucket.name, Key="large", PartNumber=1)["ContentLength"] < PIECES * len(PIECE)
    with bucket.reading("large") as stream:
        assert len(stream.peek(transfer._BUFFER)) == transfer._BUFFER
        while piece := stream.read(100_000):
            read.update(piece)
    assert read.digest() == written.digest()
    assert unfinished(bucket) == []


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_a_small_object_is_written_at_once(bucket: Bucket, size: int) -> None:
    with bucket.writing("a/small") as stream:
        stream.write((PIECE * 2)[:size])
    assert read(bucket, "a/small") == (PIECE * 2)[:size]
    assert (bucket.has_any("a/"), bucket.has_any("b/"), bucket.exists("a/small"), bucket.exists("a")) == (
        (True, False, True, False)
    )


def write(bucket: Bucket, key: str, pieces: int, error: Exception | None = None) -> None:
    with bucket.writing(key) as stream:
        for _ in range(pieces):
            stream.write(PIECE)
        if error is not None:
            raise error


def read(bucket: Bucket, key: str) -> bytes:
    with bucket.reading(key) as stream:
        return b"".join(iter(lambda: stream.read(100_000), b""))


@pytest.mark.parametrize("pieces", [1, PIECES])
def test_an_interrupted_upload_leaves_nothing(bucket: Bucket, pieces: int) -> None:
    with pytest.raises(KeyError):
        write(bucket, "half", pieces, KeyError("the source failed"))
    assert not bucket.exists("half")
    assert unfinished(bucket) == []


@pytest.mark.parametrize("operation", ["PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
def test_an_upload_that_fails_says_why(bucket: Bucket, operation: str) -> None:
    let_fail(bucket, operation)
    with pytest.raises(ObjectError, match=f"^s3://{bucket.name}/x: Could not connect to .*the network"):
        write(bucket, "x", 1 if operation == "PutObject" else PIECES)
    assert not bucket.exists("x")
    assert unfinished(bucket) == []


def test_a_download_that_fails_is_no_short_file(bucket: Bucket) -> None:
    write(bucket, "large", PIECES)
    assert len(read(bucket, "large")) == PIECES * len(PIECE)
    let_fail(bucket, "GetObject", after=1)
    with pytest.raises(ObjectError, match="Could not connect"):
        read(bucket, "large")


def test_a_reader_may_stop_early(bucket: Bucket) -> None:
    write(bucket, "large", PIECES)
    with bucket.reading("large") as stream:
        assert stream.read(10) == PIECE[:10]


def test_a_new_object_does_not_replace_one(bucket: Bucket) -> None:
    assert bucket.add("manifest", b"first")
    assert not bucket.add("manifest", b"second")
    assert read(bucket, "manifest") == b"first"


def test_errors_name_the_bucket_or_the_object(bucket: Bucket, aws: Mapping[str, str]) -> None:
    nowhere = Bucket("no-such-bucket", aws["AWS_REGION"])

    absent = re.escape("s3://no-such-bucket/a.csv: there is no bucket no-such-bucket")
    with pytest.raises(ObjectError, match=absent):
        read(nowhere, "a.csv")
    with pytest.raises(ObjectError, match=absent):
        write(nowhere, "a.csv", 1)
    with pytest.raises(ObjectError, match="there is no bucket no-such-bucket"):
        nowhere.has_any("p/")
    with pytest.raises(ObjectError, match=f"^s3://{bucket.name}/a.csv: there is no object a.csv in the bucket"):
        read(bucket, "a.csv")
    with pytest.raises(ObjectError, match="Invalid bucket name"):
        read(Bucket("no bucket", aws["AWS_REGION"]), "a.csv")
