"""Students, workers, operators and deaths in any order: after every step a model and the doctor must agree with it.

Real PostgreSQL, S3 and SQS. Hypothesis draws the steps, always the same ones; ``STATE_MACHINE_RUNS=500`` draws that
many new runs, and shortens one that fails.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    run_state_machine_as_test,
)

from infra.local import postgres
from infra.local.aws import resources
from tests.support.machine.deployment import Deployment
from tests.support.machine.steps import Figures
from tests.support.machine.workers import Workers
from tests.support.servers import TEMPLATE_DATABASE
from tests.support.waiting import SayAtEnd

pytestmark = pytest.mark.slow

RUNS, STEPS = 5, 50
MORE_RUNS = int(os.environ.get("STATE_MACHINE_RUNS", "0"))


class StudySmart(Workers):
    """One deployment under everything that can happen to it."""


@pytest.fixture
def machine(
    postgres_server: postgres.Postgres,
    aws_endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[type[StudySmart]]:
    """The machine, each run of which gets a database, a registry and a queue of its own."""
    # Lines of trainings that are made to fail would bury why a test failed.
    caplog.set_level(logging.CRITICAL, "studysmart")
    client = resources.client_environment(aws_endpoint)
    for name, value in client.items():
        monkeypatch.setenv(name, value)
    databases: dict[int, str] = {}

    def deploy() -> Deployment:
        name = f"machine_{uuid.uuid4().hex[:12]}"
        postgres.create_database(postgres_server, name, TEMPLATE_DATABASE)
        outputs = resources.create_stack(aws_endpoint, name.replace("_", "-"), {})
        environment = {**client, **resources.program_environment(aws_endpoint, outputs)}
        deployment = Deployment({**environment, "DATABASE_URL": postgres_server.url(name), "LOG_FORMAT": "text"})
        databases[id(deployment)] = name
        return deployment

    def undeploy(deployment: Deployment) -> None:
        deployment.stop()
        postgres.drop_database(postgres_server, databases.pop(id(deployment)))

    members = {"deploy": staticmethod(deploy), "undeploy": staticmethod(undeploy), "figures": Figures()}
    yield type("StudySmart", (StudySmart,), members)
    assert not databases


def test_whatever_happens_in_whatever_order_nothing_is_lost_or_counted_twice(
    machine: type[StudySmart], say_at_end: SayAtEnd
) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=MORE_RUNS or RUNS,
            stateful_step_count=STEPS,
            derandomize=not MORE_RUNS,
            database=None,
            phases=[Phase.generate, Phase.shrink] if MORE_RUNS else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    figures = machine.figures
    say_at_end(
        f"state machine: {figures.steps} steps in {figures.runs} runs, the longest of {figures.longest} steps "
        f"({', '.join(f'{name} {n}' for name, n in sorted(figures.done.items()))})"
    )
