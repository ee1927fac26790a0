"""Logins to the database by tokens of IAM, at an address that lets users in as RDS does."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs
from uuid import uuid4

import boto3
import pytest
import time_machine
from sqlalchemy import Engine, make_url, text

from chalicelib import wiring
from chalicelib.config import settings_from
from chalicelib.domain.errors import ConfigurationError, DatabaseUnavailableError
from chalicelib.storage import aws as aws_module
from chalicelib.storage.database import connect, statement
from chalicelib.storage.database_url import server_of
from infra.local import postgres
from ops import cli, lambda_handler
from tests.support.fronts import RdsFront, certificate
from training_job import wiring as training_wiring
from training_job.history.snapshot import read_snapshot
from training_job.process import TrainingProcess, start_child

pytestmark = pytest.mark.slow

RDS = "studysmart.abc.eu-central-1.rds.amazonaws.com"


@pytest.fixture
def front(postgres_server: postgres.Postgres, aws: Mapping[str, str], tmp_path: Path) -> Iterator[RdsFront]:
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    found = RdsFront(postgres_server.socket_path, certificate(tmp_path), secret, aws["AWS_REGION"])
    yield found
    found.close()


@pytest.fixture
def iam(front: RdsFront, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment of a program that logs in by IAM, as a user without a password."""
    user = f"user_{uuid4().hex}"
    owner = connect(environment["DATABASE_URL"], pool_size=1)
    statement(owner, lambda c: c.execute(text(f"CREATE ROLE {user} LOGIN SUPERUSER")))
    database = make_url(environment["DATABASE_URL"]).database
    url = f"postgresql://127.0.0.1:{front.port}/{database}?sslrootcert={front.root}"
    yield {**environment, "DATABASE_AUTH": "iam", "DATABASE_USER": user, "DATABASE_URL": url}
    statement(owner, lambda c: c.execute(text(f"DROP ROLE {user}")))
    owner.dispose()


def who(engine: Engine) -> str:
    return str(statement(engine, lambda c: c.execute(text("SELECT current_user")).scalar_one()))


def test_each_connection_logs_in_by_a_token_of_its_own(iam: dict[str, str], front: RdsFront) -> None:
    engine = connect(settings_from(iam).database_url)
    begun = datetime.now(UTC)
    with time_machine.travel(begun, tick=False):
        assert who(engine) == iam["DATABASE_USER"]
    with time_machine.travel(begun + timedelta(minutes=16), tick=False):
        assert who(engine) == iam["DATABASE_USER"]  # the open connection is used further
        assert len(front.tokens) == 1
        engine.dispose()
        assert who(engine) == iam["DATABASE_USER"]
        first, second = front.tokens
        assert [front.accepts(token, iam["DATABASE_USER"]) for token in (first, second)] == [False, True]
    assert front.encrypted == [True, True]
    engine.dispose()


def test_a_token_of_another_user_or_account_is_refused(iam: dict[str, str], front: RdsFront) -> None:
    engine = connect(settings_from({**iam, "DATABASE_USER": "postgres"}).database_url)
    assert who(engine) == "postgres"
    assert not front.accepts(front.tokens[0], iam["DATABASE_USER"])
    front._secret = "another"
    engine.dispose()
    with pytest.raises(DatabaseUnavailableError, match="PAM authentication failed"):
        who(engine)


def test_api_training_and_commands_log_in_by_tokens(
    iam: dict[str, str],
    front: RdsFront,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {**iam, "STATE_DIR": str(tmp_path / "none")}.items():
        monkeypatch.setenv(name, value)
    settings = settings_from(iam)

    def tokens_for(action: Callable[[], object]) -> int:
        before = len(front.tokens)
        action()
        return len(front.tokens) - before

    def train() -> None:
        worker = training_wiring.build(settings, TrainingProcess(partial(start_child, os.environ)))
        assert read_snapshot(worker.engine, "default").counter == 0
        worker.engine.dispose()

    def request() -> None:
        container = wiring.build(settings)
        assert container.tracker.read("default").n_samples_total == 0
        container.engine.dispose()

    assert tokens_for(request) == 1
    assert tokens_for(train) == 1
    for arguments in (["migrate"], ["status"], ["sql", "-c", "SELECT current_user"], ["account", "list"]):
        assert tokens_for(partial(cli.main, arguments)) >= 1, arguments
    said = capsys.readouterr()
    assert said.err == ""
    assert "The tables are up to date." in said.out
    assert iam["DATABASE_USER"] in said.out


def test_migrations_use_a_token_where_the_owners_password_is_refused(
    iam: dict[str, str], front: RdsFront, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {**iam, "STATE_DIR": str(tmp_path / "none")}.items():
        monkeypatch.setenv(name, value)
    for name in ("DATABASE_AUTH", "DATABASE_USER"):
        monkeypatch.delenv(name)
    secret = json.dumps({"username": iam["DATABASE_USER"], "password": "the owner's"})
    client = aws_module.aws_client("secretsmanager", iam["AWS_REGION"])
    monkeypatch.setenv("DATABASE_SECRET_ARN", client.create_secret(Name="owner", SecretString=secret)["ARN"])
    answer = lambda_handler.handler({"arguments": ["sql", "-c", "SELECT current_user"]}, None)
    assert answer["status"] == 0, answer["output"]
    assert iam["DATABASE_USER"] in answer["output"]


def test_the_token_is_that_of_boto3(aws: Mapping[str, str]) -> None:
    with time_machine.travel(datetime.now(UTC), tick=False):
        server = server_of(f"postgresql://study%20smart@{RDS}/d?auth=iam&region=us-east-1")
        assert server.token is not None
        client = boto3.client("rds", region_name="eu-central-1")
        expected = client.generate_db_auth_token(RDS, 5432, "study smart", Region="eu-central-1")
        assert server.token() == expected
    assert parse_qs(expected.partition("?")[2])["X-Amz-Expires"] == ["900"]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"DATABASE_PASSWORD": "p"}, "needs no password"),
        ({"DATABASE_URL": f"postgresql://u:p@{RDS}/d", "DATABASE_USER": ""}, "needs no password"),
        ({"DATABASE_USER": ""}, "needs the name of a database user in DATABASE_USER"),
        ({"DATABASE_AUTH": "kerberos"}, "DATABASE_AUTH='kerberos': Invalid enum value"),
        ({"DATABASE_URL": f"postgresql://{RDS}/d?sslmode=disable"}, "needs TLS, but DATABASE_URL has sslmode=disable"),
        ({"DATABASE_URL": f"postgresql://{RDS}/d?sslmode=prefer"}, "needs TLS, but DATABASE_URL has sslmode=prefer"),
        ({"DATABASE_URL": "postgresql:///d?unix_sock=/s"}, "needs TLS, but DATABASE_URL has unix_sock"),
    ],
)
def test_what_a_login_by_iam_lacks_is_named(changed: dict[str, str], problem: str) -> None:
    environment = {
        **dict.fromkeys(("REGISTRY_BUCKET", "TRAINING_QUEUE_URL", "USER_POOL_ID", "USER_POOL_CLIENT_ID"), "x"),
        **{"AWS_REGION": "eu-central-1", "DATABASE_AUTH": "iam", "DATABASE_USER": "studysmart_api"},
        "DATABASE_URL": f"postgresql://{RDS}/studysmart",
    }
    assert server_of(settings_from(environment).database_url).token is not None
    with pytest.raises(ConfigurationError, match=re.escape(problem)):
        server_of(settings_from({**environment, **changed}).database_url)


def test_a_login_by_iam_needs_a_region(iam: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="AWS_REGION is not set"):
        settings_from({name: value for name, value in iam.items() if name != "AWS_REGION"})
    with pytest.raises(ConfigurationError, match=r"needs AWS_REGION, because the host db\.example does not name"):
        server_of("postgresql://u@db.example/d?auth=iam&region=")


def test_a_login_by_iam_without_credentials_says_so(iam: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    aws_module.session.cache_clear()
    try:
        with pytest.raises(DatabaseUnavailableError, match="Unable to locate credentials"):
            who(connect(settings_from(iam).database_url))
    finally:
        aws_module.session.cache_clear()
