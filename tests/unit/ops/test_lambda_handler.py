"""The operator's Lambda, and the login that the migrations take from a secret."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import boto3
import pytest

from ops import lambda_handler
from tests.support.clouds import account

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def empty_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("DATABASE_USER", "DATABASE_PASSWORD"):
        monkeypatch.setenv(name, "from before")
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/studysmart?sslmode=disable")  # nobody answers there
    with account(monkeypatch):
        yield


def secret(value: str) -> str:
    return str(boto3.client("secretsmanager").create_secret(Name="owner", SecretString=value)["ARN"])


def test_each_invocation_reads_the_login_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def command(_: object) -> int:
        seen.append(os.environ["DATABASE_PASSWORD"])
        return 0

    monkeypatch.setattr(lambda_handler, "main", command)
    arn = secret(json.dumps({"username": "owner", "password": "first"}))
    monkeypatch.setenv("DATABASE_SECRET_ARN", arn)
    assert lambda_handler.handler({"arguments": ["migrate"]}, None)["status"] == 0
    boto3.client("secretsmanager").put_secret_value(
        SecretId=arn, SecretString=json.dumps({"username": "owner", "password": "second"})
    )
    lambda_handler.handler({"arguments": ["migrate"]}, None)
    assert seen == ["first", "second"]


@pytest.mark.parametrize(("value", "why"), [("{}", "no username and password"), ("text", "no username and password")])
def test_a_secret_without_a_login_is_named(monkeypatch: pytest.MonkeyPatch, value: str, why: str) -> None:
    arn = secret(value)
    monkeypatch.setenv("DATABASE_SECRET_ARN", arn)
    answer = lambda_handler.handler({"arguments": ["migrate"]}, None)
    assert answer == {"status": 1, "output": f"error: the secret {arn} has {why}\n"}


def test_a_secret_that_is_gone_is_an_error_and_no_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_SECRET_ARN", "arn:aws:secretsmanager:us-east-1:123456789012:secret:gone-AbCdEf")
    answer = lambda_handler.handler({"arguments": ["migrate"]}, None)
    assert answer["status"] == 1
    assert "Reading the login of the database failed" in answer["output"]
