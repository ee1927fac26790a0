"""A completion that waits for another change of the same student sees what that change did."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, Engine

from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, PracticeTask, Result
from chalicelib.domain.training import TrainingPolicy
from chalicelib.storage import completion
from chalicelib.storage.database import connect
from chalicelib.storage.task_store import PostgresTaskStore

pytestmark = pytest.mark.slow

POLICY = TrainingPolicy(threshold=5, minimum_samples=10)
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = connect(database_url, pool_size=3)
    yield engine
    engine.dispose()


def wait_until_one_waits(connection: Connection) -> None:
    deadline = time.monotonic() + 20
    while connection.exec_driver_sql(WAITING).scalar_one() == 0:
        assert time.monotonic() < deadline, "nobody waits for a lock"
        time.sleep(0.01)


def test_a_completion_that_waited_for_a_correction_keeps_the_correction(engine: Engine) -> None:
    store = PostgresTaskStore(engine, "default")

    def create() -> PracticeTask:
        return store.insert("ada", NewTask("Math", "Algebra", Difficulty.HARD, "?"), DEFAULT_PREDICTION)

    corrected, completed = create(), create()
    store.complete("ada", corrected.id, Result(True, 10.0), None, POLICY)
    with engine.connect() as connection, engine.connect() as observer, ThreadPoolExecutor(1) as pool:
        connection.exec_driver_sql("BEGIN")
        # The correction holds the student's row, and the completion has read the state before it commits.
        completion.complete(connection, "default", "ada", corrected.id, Result(False, 99.0), None, POLICY)
        racing = pool.submit(store.complete, "ada", completed.id, Result(True, 20.0), None, POLICY)
        wait_until_one_waits(observer)
        connection.exec_driver_sql("COMMIT")
        racing.result(timeout=20)
    (row,) = store.prediction_context("ada").state.rows
    assert (row.attempts, row.correct) == (2, 1)
