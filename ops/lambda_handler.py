"""The operator's commands as a Lambda next to the database, with a role of its own.

``aws lambda invoke --payload '{"arguments": ["models", "list"]}'`` answers ``{"status": 0, "output": "…"}``: the exit
status of the command and the text that it printed. Files that a command writes are lost with the Lambda, so ``backup``,
``restore`` and ``import`` name files in a bucket: ``s3://bucket/key``.

The Lambda of the migrations logs in as the owner of the tables. It reads the login from the secret that
``DATABASE_SECRET_ARN`` names at each invocation, because RDS changes the password every week. If the password is
refused, it logs in by a token of IAM: RDS may count the owner among the roles that have to, once the owner has created
such roles.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from sqlalchemy.exc import DBAPIError

from chalicelib.config import database_address
from chalicelib.domain.errors import DatabaseUnavailableError, StudySmartError
from chalicelib.storage.aws import aws_client, translated
from chalicelib.storage.database import connect, sql_state
from ops.cli import main

_REFUSED = ("28000", "28P01")
"""SQLSTATE of a login that is refused, by the rules of ``pg_hba.conf`` or for its password."""


def handler(event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
    """Run one command. Raises ValueError for an event without a list of words in ``arguments``."""
    arguments = event.get("arguments")
    if not isinstance(arguments, list) or not all(isinstance(word, str) for word in arguments):
        raise ValueError('the event must be {"arguments": ["COMMAND", …]}')
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        try:
            _take_login()
            status: Any = main(arguments)
        except StudySmartError as error:
            print(f"error: {error}")
            status = 1
        except SystemExit as end:  # a wrong command line, or --help
            status = end.code
    return {"status": status, "output": output.getvalue()}


def _take_login() -> None:
    """Put the login of the secret into the environment. Raises DatabaseUnavailableError."""
    arn = os.environ.get("DATABASE_SECRET_ARN")
    if arn is None:
        return
    with translated(DatabaseUnavailableError, "Reading the login of the database"):
        client = aws_client("secretsmanager", os.environ["AWS_REGION"])
        text = client.get_secret_value(SecretId=arn)["SecretString"]
    try:
        secret = json.loads(text)
        by_password = {"DATABASE_USER": secret["username"], "DATABASE_PASSWORD": secret["password"]}
    except (ValueError, KeyError, TypeError) as error:
        raise DatabaseUnavailableError(f"the secret {arn} has no username and password") from error
    for name in ("DATABASE_AUTH", "DATABASE_PASSWORD"):
        os.environ.pop(name, None)
    refused = _is_refused(database_address({**os.environ, **by_password}))
    os.environ |= {"DATABASE_USER": secret["username"], "DATABASE_AUTH": "iam"} if refused else by_password


def _is_refused(url: str) -> bool:
    """Return whether PostgreSQL refuses the login of a URL. Other errors are left to the command."""
    engine = connect(url, pool_size=1)
    try:
        with engine.connect():
            return False
    except DBAPIError as error:
        return sql_state(error) in _REFUSED
    finally:
        engine.dispose()
