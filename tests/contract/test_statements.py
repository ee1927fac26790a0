"""What the database is asked for: how many statements, each prepared once on a connection, and prepared again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, event, text

from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, PracticeTask, Result
from chalicelib.domain.training import TrainingPolicy
from chalicelib.storage import prepared
from chalicelib.storage.database import connect, statement
from chalicelib.storage.prepared import PreparingConnection
from chalicelib.storage.task_store import PostgresTaskStore

pytestmark = pytest.mark.slow

POLICY = TrainingPolicy(threshold=5, minimum_samples=10)
PREPARED = "SELECT statement, generic_plans + custom_plans FROM pg_prepared_statements"
END_ALL = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = connect(database_url, pool_size=1)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> PostgresTaskStore:
    return PostgresTaskStore(engine, "default")


@pytest.fixture
def sent(engine: Engine) -> list[str]:
    """The first words of every statement from now on, as the driver is given them."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, text: str, *_: object) -> None:
        statements.append(" ".join(text.split()[:2]))

    event.listen(engine, "before_cursor_execute", note)
    return statements


def create(store: PostgresTaskStore) -> PracticeTask:
    store.prediction_context("ada")
    return store.insert("ada", NewTask("Math", "Algebra", Difficulty.HARD, "?"), DEFAULT_PREDICTION)


def besides_begin_and_commit(statements: list[str]) -> int:
    return len([words for words in statements if words not in ("BEGIN", "COMMIT")])


def test_a_creation_with_its_prediction_takes_two_statements(store: PostgresTaskStore, sent: list[str]) -> None:
    create(store)
    assert besides_begin_and_commit(sent) == 2


def test_a_completion_takes_two_statements(store: PostgresTaskStore, sent: list[str]) -> None:
    task = create(store)
    sent.clear()
    assert store.complete("ada", task.id, Result(True, 20.0), None, POLICY).counted is not None
    assert besides_begin_and_commit(sent) == 2


def test_the_completion_that_asks_for_a_training_takes_no_more(store: PostgresTaskStore, sent: list[str]) -> None:
    task = create(store)
    sent.clear()
    counted = store.complete("ada", task.id, Result(True, 20.0), None, TrainingPolicy(1, 1)).counted
    assert counted is not None
    assert counted.request is not None
    assert besides_begin_and_commit(sent) == 2


def test_what_runs_again_on_a_connection_is_prepared_once(store: PostgresTaskStore, engine: Engine) -> None:
    for _ in range(3):
        create(store)
    with engine.connect() as connection:
        runs = {text.split()[0]: n for text, n in connection.exec_driver_sql(PREPARED).all()}
    assert runs == {"SELECT": 3, "WITH": 3}


def test_a_connection_keeps_a_bounded_number_of_statements(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "KEPT_STATEMENTS", 2)
    for n in (1, 2, 3, 1):
        query = text(f"SELECT {n} + CAST(:more AS integer)")
        assert statement(engine, lambda c, q=query: c.execute(q, {"more": 4}).scalar_one()) == n + 4  # type: ignore[misc]
    with engine.connect() as connection:
        kept = [text for text, _ in connection.exec_driver_sql(PREPARED).all()]
    assert kept == ["SELECT 3 + CAST($1 AS integer)", "SELECT 1 + CAST($1 AS integer)"]


def test_a_refused_statement_leaves_the_connection_usable(store: PostgresTaskStore, engine: Engine) -> None:
    wrong = text("SELECT CAST(:word AS integer)")
    for _ in range(2):
        with pytest.raises(Exception, match="a value is not valid"):
            statement(engine, lambda c: c.execute(wrong, {"word": "many"}))
        create(store)


def test_a_broken_connection_is_replaced_with_its_prepared_statements(
    store: PostgresTaskStore, database_url: str
) -> None:
    first = create(store)
    operator = connect(database_url, pool_size=1)
    statement(operator, lambda c: c.exec_driver_sql(END_ALL).all())
    operator.dispose()
    second = create(store)
    assert [store.get("ada", task.id).id for task in (first, second)] == [first.id, second.id]


def test_a_connection_that_is_reset_while_an_answer_is_read_is_replaced(
    store: PostgresTaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(store)
    read = PreparingConnection.handle_messages
    resets = [ConnectionResetError("by the test")]

    def reset_once(connection: PreparingConnection, context: object) -> None:
        if resets:
            raise resets.pop()
        read(connection, context)

    monkeypatch.setattr(PreparingConnection, "handle_messages", reset_once)
    assert create(store).topic == "Algebra"
    assert not resets


def test_statements_that_a_pooler_forgot_are_prepared_again(store: PostgresTaskStore, engine: Engine) -> None:
    create(store)
    with engine.connect() as connection:
        connection.exec_driver_sql("DEALLOCATE ALL")
    assert create(store).topic == "Algebra"


def test_a_migration_under_a_running_program_does_not_fail_its_statements(
    store: PostgresTaskStore, engine: Engine
) -> None:
    task = create(store)
    assert store.get("ada", task.id).estimated_time_minutes is None
    with engine.connect() as connection:
        connection.exec_driver_sql("ALTER TABLE practice_tasks ALTER COLUMN estimated_time_minutes TYPE real")
    assert store.get("ada", task.id) == task


@pytest.mark.parametrize(
    "shown", ["2026-01-05 08:00:00.123456+00", "2026-01-05 08:00:00.1+00", "2026-01-05 08:00:00+00"]
)
def test_a_time_is_read_as_it_was_written(engine: Engine, shown: str) -> None:
    query = text("SELECT CAST(CAST(:shown AS text) AS timestamptz)")
    read = statement(engine, lambda c: c.execute(query, {"shown": shown}).scalar_one())
    assert read == datetime.fromisoformat(shown)
    assert read.tzinfo is not None
    assert read.astimezone(UTC).isoformat(" ").startswith(shown[:19])


def test_a_time_that_python_cannot_hold_leaves_the_connection_usable(engine: Engine) -> None:
    query = text("SELECT CAST(CAST(:shown AS text) AS timestamptz)")
    assert statement(engine, lambda c: c.execute(query, {"shown": "infinity"}).scalar_one()) == "infinity"
    assert statement(engine, lambda c: c.execute(query, {"shown": "2026-01-05"}).scalar_one()).year == 2026
