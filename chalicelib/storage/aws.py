"""Makes AWS clients, and translates their errors into ours."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from chalicelib import logs
from chalicelib.domain.errors import (
    DatabaseUnavailableError,
    QueueUnavailableError,
    RegistryUnavailableError,
    UnavailableError,
)

if TYPE_CHECKING:
    from botocore.session import Session

_TOKEN_SECONDS = 900
"""The life of a token for the database. RDS accepts no longer one."""

_client_lock = threading.Lock()
"""Creating a client is not thread-safe; using one is."""


_SERVICES = {RegistryUnavailableError: "s3", QueueUnavailableError: "sqs"}
"""Names of services in the fields of durations, by the error that says that one does not answer."""


@cache
def session() -> Session:
    """Return the session of all clients, so that endpoints and credentials are read once per process."""
    from botocore.session import Session

    return Session()


def aws_client(service: str, region: str, *, read_timeout: float = 3.0, attempts: int = 2) -> Any:
    """Return a client with short timeouts, because a student may wait for the answer.

    boto3 would return the same client, but importing it takes a tenth of a cold start.
    """
    from botocore.config import Config

    config = Config(
        connect_timeout=1.0,
        read_timeout=read_timeout,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        max_pool_connections=16,
    )
    with _client_lock:
        return session().create_client(service, region_name=region, config=config)


def database_token(host: str, port: int, user: str, region: str) -> str:
    """Return a token with which RDS lets a database user in during the next 15 minutes.

    It is that of boto3's ``generate_db_auth_token``, whose client would need the description of all of RDS. Nothing is
    sent: the token is a signed URL. Raises DatabaseUnavailableError if there are no credentials.
    """
    from botocore.awsrequest import prepare_request_dict
    from botocore.model import ServiceId
    from botocore.signers import RequestSigner

    with translated(DatabaseUnavailableError, "signing the login of the database"):
        with _client_lock:
            credentials, events = session().get_credentials(), session().get_component("event_emitter")
        if credentials is None:
            raise NoCredentialsError
        signer = RequestSigner(ServiceId("RDS"), region, "rds-db", "v4", credentials, events)
        body = {"Action": "connect", "DBUser": user}
        request = {"url_path": "/", "query_string": "", "headers": {}, "body": body, "method": "GET"}
        prepare_request_dict(request, f"https://{host}:{port}")
        url: str = signer.generate_presigned_url(request, "connect", expires_in=_TOKEN_SECONDS)
    return url.removeprefix("https://")


def error_code(error: ClientError | BotoCoreError) -> str:
    """Return AWS's code of an error, such as ``NoSuchKey``; empty if AWS did not answer."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


@contextmanager
def translated(unavailable: type[UnavailableError], what: str) -> Iterator[None]:
    """Raise ``unavailable`` for errors of botocore inside. Expected codes must be handled inside."""
    try:
        with logs.timed(_SERVICES.get(unavailable, "aws")):
            yield
    except (ClientError, BotoCoreError) as error:
        raise unavailable(f"{what} failed: {error}") from error
