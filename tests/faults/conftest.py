"""A backend for each fault, and the processes and servers that they share."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.local import postgres
from infra.local.aws import resources
from migrations import upgrade
from tests.support.faults.databases import start
from tests.support.faults.processes import Nursery
from tests.support.faults.world import World
from tests.support.servers import TEMPLATE_DATABASE

VISIBILITY_SECONDS = "5"
"""The template's least: what a worker that died at once had received comes again after it."""


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path_factory.mktemp("nursery"))
    yield nursery
    nursery.stop()


@pytest.fixture
def make_world(
    nursery: Nursery,
    aws_endpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> Iterator[Callable[..., World]]:
    """Makes a backend on a database; at the end its figures are recorded for :mod:`benchmarks.reliability`."""
    worlds: list[World] = []

    def make(database_url: str, server: postgres.Postgres, **settings: str) -> World:
        parameters = {"TrainingVisibilitySeconds": VISIBILITY_SECONDS}
        outputs = resources.create_stack(aws_endpoint, f"fault-{uuid.uuid4().hex[:12]}", parameters)
        environment = {
            **resources.client_environment(aws_endpoint),
            **resources.program_environment(aws_endpoint, outputs),
            "DATABASE_URL": database_url,
            "LOG_FORMAT": "text",
            "COHORT": f"c{uuid.uuid4().hex[:8]}",
            **settings,
        }
        for name, value in environment.items():
            if name.startswith("AWS_"):
                monkeypatch.setenv(name, value)
        world = World(environment, server.socket_path, nursery, tmp_path)
        # Clients are made when they are first needed, and read this then.
        monkeypatch.setenv("AWS_ENDPOINT_URL", world.api_aws.url)
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        world.lift_faults()
        measured = world.figures()
        for name in ("lost", "double_counted", "double_published"):
            record_property(name, getattr(measured, name))
        world.close()
        assert world.checked, "this fault's invariants were not checked"


@pytest.fixture
def world(database_url: str, postgres_server: postgres.Postgres, make_world: Callable[..., World]) -> World:
    """A backend on the session's servers, with one student; it ends before its database does."""
    return make_world(database_url, postgres_server)


@pytest.fixture
def patient(database_url: str, postgres_server: postgres.Postgres, make_world: Callable[..., World]) -> World:
    """A backend whose leases outlast a heartbeat that comes late because the machine is busy."""
    return make_world(database_url, postgres_server, LEASE_SECONDS="6")


@pytest.fixture
def moto(aws_endpoint: str) -> psutil.Process:
    """The process that is S3, SQS and Cognito."""
    (found,) = [child for child in psutil.Process().children() if "infra.local.aws" in child.cmdline()]
    return found


@pytest.fixture(scope="session")
def fragile_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Postgres]:
    """A PostgreSQL of these tests' own, to be killed and started again."""
    server = postgres.prepare(tmp_path_factory.mktemp("fragile"))
    start(server)
    postgres.create_database(server, TEMPLATE_DATABASE)
    upgrade(server.url(TEMPLATE_DATABASE))
    yield server
    postgres.stop(server)


@pytest.fixture
def fragile(make_world: Callable[..., World], fragile_server: postgres.Postgres) -> World:
    """A backend whose database may be killed."""
    name = f"test_{uuid.uuid4().hex}"
    postgres.create_database(fragile_server, name, TEMPLATE_DATABASE)
    return make_world(fragile_server.url(name), fragile_server)
