"""AWS: how clients are made, and how their errors become ours."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.domain.errors import UnavailableError

if TYPE_CHECKING:
    from botocore.session import Session

_client_lock = threading.Lock()
"""Making a client is not thread-safe; using one is."""


@cache
def _session() -> Session:
    """One for all clients: endpoints and credentials are read once in a process."""
    from botocore.session import Session

    return Session()


def aws_client(service: str, region: str, *, read_timeout: float = 3.0) -> Any:
    """A client that gives up soon, because a student may wait behind it. The endpoint is botocore's own business.

    Straight from botocore: boto3 makes the same client, and importing its resources and transfers first would take a
    tenth of a cold start.
    """
    from botocore.config import Config

    config = Config(
        connect_timeout=1.0,
        read_timeout=read_timeout,
        retries={"total_max_attempts": 2, "mode": "standard"},
        max_pool_connections=16,
    )
    with _client_lock:
        return _session().create_client(service, region_name=region, config=config)


def error_code(error: ClientError) -> str:
    """AWS's code of an error, such as ``NoSuchKey``."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def translated(unavailable: type[UnavailableError], what: str) -> Iterator[None]:
    """Raise ``unavailable`` for whatever botocore raises inside; handle expected codes before this sees them."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise unavailable(f"{what} failed: {error}") from error
