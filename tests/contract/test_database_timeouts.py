"""Each time-out of the database, by a real lock, slow statement, idle transaction or silent network."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Engine, text

from chalicelib import wiring
from chalicelib.config import settings_from
from chalicelib.domain.errors import DatabaseUnavailableError, TooSlowError
from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, Result
from chalicelib.domain.training import TrainingPolicy
from chalicelib.storage.database import connect, statement, transaction
from chalicelib.storage.task_store import PostgresTaskStore
from chalicelib.storage.timeouts import Timeouts, timeouts_of
from infra.local import postgres
from migrations import alembic_config, upgrade
from tests.support.fronts import Front, certificate

pytestmark = pytest.mark.slow

POLICY = TrainingPolicy(threshold=5, minimum_samples=10)
ONE = text("SELECT CAST(:n AS integer)")


@pytest.fixture
def engine(database_url: str) -> Iterator[Callable[..., Engine]]:
    """Connects with time-outs, and closes the connections at the end."""
    engines: list[Engine] = []

    def connected(**timeouts: float) -> Engine:
        engines.append(connect(database_url, pool_size=1, timeouts=Timeouts(**timeouts)))
        return engines[-1]

    yield connected
    for each in engines:
        each.dispose()


def one(engine: Engine) -> int:
    return int(statement(engine, lambda c: c.execute(ONE, {"n": 1}).scalar_one()))


@pytest.mark.parametrize("locked", ["LOCK TABLE practice_tasks", "SELECT 1 FROM practice_tasks FOR UPDATE"])
def test_a_locked_table_or_row_is_given_up(engine: Callable[..., Engine], locked: str) -> None:
    student = engine(lock=0.3)
    store = PostgresTaskStore(student, "default")
    task = store.insert("ada", NewTask("Maths", "t", Difficulty.EASY, "?"), DEFAULT_PREDICTION)
    with engine().connect() as other:
        other.exec_driver_sql("BEGIN")
        other.exec_driver_sql(locked)
        with pytest.raises(DatabaseUnavailableError, match="waited too long for a lock"):
            store.complete("ada", task.id, Result(True, 5.0), None, POLICY)
        other.exec_driver_sql("ROLLBACK")
    assert store.complete("ada", task.id, Result(True, 5.0), None, POLICY).task.completed


def test_limits_hold_after_a_rollback(engine: Callable[..., Engine]) -> None:
    limited = engine(statement=2.0, lock=3.0, idle_transaction=4.0)

    def fail(connection: object) -> None:
        raise KeyError("in the first transaction of the connection")

    with pytest.raises(KeyError):
        transaction(limited, fail)
    with pytest.raises(TooSlowError):
        statement(limited, lambda c: c.execute(text("SELECT pg_sleep(:s)"), {"s": 60.0}))
    names = ("lock_timeout", "idle_in_transaction_session_timeout")
    found = [statement(limited, lambda c, n=name: c.exec_driver_sql(f"SHOW {n}").scalar_one()) for name in names]  # type: ignore[misc]
    assert found == ["3s", "4s"]


def test_an_idle_transaction_ends_and_its_work_is_done_once(engine: Callable[..., Engine]) -> None:
    hung = engine(idle_transaction=2.0)
    attempts = []

    def work(connection: object) -> int:
        attempts.append(1)
        assert hasattr(connection, "execute")
        connection.execute(text("INSERT INTO users (id) VALUES (:id)"), {"id": "ada"})
        if len(attempts) == 1:
            # As a machine that hangs: PostgreSQL must have ended the session by itself.
            ended = text("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'")
            deadline = time.monotonic() + 120
            while statement(watching, lambda c: c.execute(ended).scalar_one()) and time.monotonic() < deadline:
                time.sleep(0.02)
        return int(connection.execute(ONE, {"n": 1}).scalar_one())

    watching = engine()
    assert transaction(hung, work) == 1
    assert len(attempts) == 2
    assert statement(watching, lambda c: c.execute(text("SELECT count(*) FROM users")).scalar_one()) == 1


def test_a_server_that_accepts_and_says_nothing_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"postgresql://postgres@127.0.0.1:{listener.getsockname()[1]}/d?sslmode=disable"
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailableError, match="does not answer"):
            one(connect(url, timeouts=Timeouts(connect=0.2)))
        assert time.monotonic() - started < Timeouts().connect  # far below the default


def test_an_answer_that_does_not_come_is_given_up(postgres_server: postgres.Postgres, tmp_path: Path) -> None:
    front = Front(postgres_server.socket_path, certificate(tmp_path))
    hasty = connect(front.url("sslmode=disable"), pool_size=1, timeouts=Timeouts(connect=2.0, answer=2.0))
    assert one(hasty) == 1
    front.speaks.clear()
    with pytest.raises(DatabaseUnavailableError, match="does not answer"):
        one(hasty)
    front.speaks.set()
    assert one(hasty) == 1
    hasty.dispose()
    front.close()


def test_a_migration_gives_up_a_table_in_use(empty_url: str) -> None:
    command.upgrade(alembic_config(empty_url), "0010")
    other = connect(empty_url, pool_size=1)
    with other.connect() as reading:
        reading.exec_driver_sql("BEGIN")
        reading.exec_driver_sql("LOCK TABLE users, practice_tasks IN ACCESS SHARE MODE")
        with pytest.raises(DatabaseUnavailableError, match=r"a table is in use, run the migration again.*lock timeout"):
            upgrade(empty_url)
        reading.exec_driver_sql("COMMIT")
    upgrade(empty_url)
    other.dispose()


SETTINGS = {
    **dict.fromkeys(("REGISTRY_BUCKET", "TRAINING_QUEUE_URL", "USER_POOL_ID", "USER_POOL_CLIENT_ID"), "x"),
    **{"AWS_REGION": "eu-central-1", "DATABASE_URL": "postgresql://u@127.0.0.1/d"},
}


def test_requests_and_trainings_have_the_time_outs_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("CONNECT_SECONDS", "ANSWER_SECONDS", "STATEMENT_SECONDS", "LOCK_SECONDS", "IDLE_TRANSACTION_SECONDS")
    given = {name: str(n) for n, name in enumerate(names, 1)}
    for name, value in {**SETTINGS, **given}.items():
        monkeypatch.setenv(name, value)
    settings = settings_from({**SETTINGS, **given})
    assert timeouts_of(settings) == Timeouts(1, 2, 3, 4, 5)
    wiring.install(None)
    try:
        assert wiring.current().timeouts == Timeouts(1, 2, 3, 4, 5)
    finally:
        wiring.install(None)
    assert wiring.build(settings).timeouts == Timeouts(1, 2, 0, 0, 0)  # of an operator's commands
