"""boto3: how clients are made, and how their errors become ours."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.domain.errors import UnavailableError

_client_lock = threading.Lock()
"""Making a client is not thread-safe in boto3; using one is."""


def aws_client(service: str, region: str, *, read_timeout: float = 3.0) -> Any:
    """A client that gives up soon, because a student may wait behind it. The endpoint is boto3's own business."""
    import boto3
    from botocore.config import Config

    config = Config(
        region_name=region,
        connect_timeout=1.0,
        read_timeout=read_timeout,
        retries={"total_max_attempts": 2, "mode": "standard"},
        max_pool_connections=16,
    )
    with _client_lock:
        return boto3.session.Session().client(service, config=config)  # type: ignore[call-overload]


def error_code(error: ClientError) -> str:
    """AWS's code of an error, such as ``NoSuchKey``."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def translated(unavailable: type[UnavailableError], what: str) -> Iterator[None]:
    """Raise ``unavailable`` for whatever boto3 raises inside; handle expected codes before this sees them."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise unavailable(f"{what} failed: {error}") from error
