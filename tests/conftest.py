"""Real servers for the tests marked slow: one PostgreSQL and one moto for the session, fresh contents for each test.

They are the servers of the one-machine stack, started by the same code.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import settings

from chalicelib import logs
from chalicelib.storage.database import connect, transaction
from chalicelib.storage.timeouts import DEFAULT
from infra.local import postgres
from infra.local.aws import resources
from infra.local.processes import child_command
from tests.support.servers import FAST_SETTINGS, ROLE_PREFIX, TEMPLATE_DATABASE
from tests.support.waiting import SayAtEnd, wait_for

_AT_END = "said at the end"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell ignores Ctrl-C for what it runs in the background, and so would the servers that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


# As Hypothesis does it where CI is set: no example fails for being slow.
settings.register_profile("no deadline", settings(), deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(autouse=True)
def levels_of_logging() -> Iterator[None]:
    """Restores the levels that a program sets when it configures its log: later tests read what is logged."""
    loggers = [logging.getLogger(name) for name in (None, logs.ROOT)]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture(autouse=True)
def environment_of_the_process() -> Iterator[None]:
    """Restores ``os.environ``. Chalice's test client exchanges it for a copy while it answers a request.

    Two requests at once may leave the copy there. Then what later tests set does not reach the programs they start.
    """
    own = os.environ
    yield
    os.environ = own  # noqa: B003 - the object is exchanged, not the environment


@pytest.fixture
def say_at_end(request: pytest.FixtureRequest) -> SayAtEnd:
    """Keeps a line for the end of the whole suite's output.

    It travels as a property of the test, so that it arrives from whichever process ran the test.
    """
    return lambda line: request.node.user_properties.append((_AT_END, line))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, line in report.user_properties:
            if name == _AT_END and report.when == "call":
                terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Postgres]:
    """A PostgreSQL with one migrated database to copy from."""
    from migrations import upgrade
    from migrations.roles import create as create_roles

    directory = tmp_path_factory.mktemp("postgres")
    server = postgres.prepare(directory)
    with (directory / "log").open("wb") as output:
        postgres.start(server, FAST_SETTINGS, output)
    try:
        postgres.wait_until_ready(server)
        postgres.create_database(server, TEMPLATE_DATABASE)
        upgrade(server.url(TEMPLATE_DATABASE))
        # The tables belong to the migrator, as in a deployment: each database that is copied has the privileges too.
        engine = connect(server.url(TEMPLATE_DATABASE), pool_size=1)
        transaction(engine, lambda connection: create_roles(connection, ROLE_PREFIX, DEFAULT))
        engine.dispose()
        yield server
    finally:
        postgres.stop(server)


@pytest.fixture
def database_url(postgres_server: postgres.Postgres) -> Iterator[str]:
    """URL of a migrated, empty database of the test's own."""
    name = f"test_{uuid.uuid4().hex}"
    postgres.create_database(postgres_server, name, TEMPLATE_DATABASE)
    yield postgres_server.url(name)
    postgres.drop_database(postgres_server, name)


@pytest.fixture
def empty_url(postgres_server: postgres.Postgres) -> Iterator[str]:
    """URL of a database without tables."""
    name = f"empty_{uuid.uuid4().hex}"
    postgres.create_database(postgres_server, name)
    yield postgres_server.url(name)
    postgres.drop_database(postgres_server, name)


@pytest.fixture(scope="session")
def outbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the messages that the moto server sends."""
    return tmp_path_factory.mktemp("mail") / "outbox.jsonl"


@pytest.fixture(scope="session")
def aws_endpoint(tmp_path_factory: pytest.TempPathFactory, outbox: Path) -> Iterator[str]:
    """Address of a moto server that keeps nothing."""
    directory = tmp_path_factory.mktemp("aws")
    ready = directory / "ready.json"
    command = [sys.executable, "-m", "infra.local.aws", "--ready-file", str(ready), "--outbox", str(outbox)]
    with (directory / "log").open("wb") as output:
        process = subprocess.Popen(
            child_command(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: ready.exists() or process.poll() is not None, what="the moto server")
        assert ready.exists(), (directory / "log").read_text()
        yield str(json.loads(ready.read_text())["AWS_ENDPOINT_URL"])
    finally:
        process.terminate()
        process.wait(120)


@pytest.fixture
def aws(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """Fresh resources made from the template, as environment variables; boto3 of this process is pointed at them.

    A received training request stays hidden for the template's own time.
    """
    outputs = resources.create_stack(aws_endpoint, f"test-{uuid.uuid4().hex[:12]}", {})
    client = resources.client_environment(aws_endpoint)
    for name, value in client.items():
        monkeypatch.setenv(name, value)
    return {**client, **resources.program_environment(aws_endpoint, outputs)}


@pytest.fixture
def environment(database_url: str, aws: Mapping[str, str]) -> dict[str, str]:
    """What :func:`chalicelib.config.settings_from` reads, for a database and resources of the test's own."""
    return {**aws, "DATABASE_URL": database_url, "LOG_FORMAT": "text"}


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """A state directory for a stack of the test's own."""
    return tmp_path / "state"
