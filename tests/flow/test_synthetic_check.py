"""The check that comes every few minutes: it does what a student does, leaves nothing, and raises what went wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.local_stack import temporary_stack
from infra.deploy import DeployError
from ops import synthetic_check
from ops.stack import Stack, connect
from tests.support.fronts import free_port

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with temporary_stack() as stack:
        yield stack


def test_a_check_practises_and_leaves_no_account(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_URL", stack.url)
    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)
    synthetic_check.handler({}, None)
    container = connect(str(stack.state_dir))
    with container.engine.connect() as connection:
        left = "SELECT count(*) FROM users WHERE email IS NOT NULL", "SELECT count(*) FROM practice_tasks"
        assert [connection.exec_driver_sql(statement).scalar_one() for statement in left] == [0, 0]
        counter = connection.exec_driver_sql("SELECT n_samples_since_training FROM embedding_model_tracker")
        assert counter.scalar_one() == 1
    container.engine.dispose()


def test_an_api_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(synthetic_check, "HEALTH_SECONDS", 0.1)
    with pytest.raises(DeployError, match="/health answered nothing"):
        synthetic_check.handler({}, None)
