"""A completion that waits for another change of the same student sees what that change did."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from chalicelib.domain.errors import NotFoundError
from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, PracticeTask, Result
from chalicelib.domain.topics import joined_key
from chalicelib.domain.training import TrainingPolicy
from chalicelib.features.state import Answer, StateRow, replay
from chalicelib.ports import Completion
from chalicelib.storage import completion
from chalicelib.storage.database import connect
from chalicelib.storage.prepared import PreparingConnection
from chalicelib.storage.task_store import PostgresTaskStore
from chalicelib.storage.tracker import PostgresTracker

pytestmark = pytest.mark.slow

POLICY = TrainingPolicy(threshold=5, minimum_samples=10)
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = connect(database_url, pool_size=3)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> PostgresTaskStore:
    return PostgresTaskStore(engine, "default")


def create(store: PostgresTaskStore) -> PracticeTask:
    return store.insert("ada", NewTask("Math", "Algebra", Difficulty.HARD, "?"), DEFAULT_PREDICTION)


def complete(store: PostgresTaskStore, task: PracticeTask, *, correct: bool = True) -> Completion:
    return store.complete("ada", task.id, Result(correct, 20.0), None, POLICY)


def counted(store: PostgresTaskStore, engine: Engine) -> tuple[int, int, list[tuple[int, int]]]:
    """The student's answers, the samples, and (attempts, correct) of each state row."""
    state = store.prediction_context("ada").state
    samples = PostgresTracker(engine).read("default").n_samples_total
    return state.n_answers, samples, [(row.attempts, row.correct) for row in state.rows]


def wait_until_one_waits(connection: Connection) -> None:
    deadline = time.monotonic() + 120
    while connection.exec_driver_sql(WAITING).scalar_one() == 0:
        assert time.monotonic() < deadline, "nobody waits for a lock"
        time.sleep(0.01)


def complete_meanwhile(
    store: PostgresTaskStore, engine: Engine, task: PracticeTask, change: Callable[[Connection], object], end: str
) -> Completion:
    """Complete a task while a transaction with the change is open, which ends when the completion waits for it."""
    with engine.connect() as connection, engine.connect() as observer, ThreadPoolExecutor(1) as pool:
        connection.exec_driver_sql("BEGIN")
        change(connection)
        racing = pool.submit(complete, store, task)
        wait_until_one_waits(observer)
        connection.exec_driver_sql(end)
        return racing.result(timeout=120)


@pytest.mark.parametrize(("end", "n_correct"), [("COMMIT", 1), ("ROLLBACK", 2)])
def test_a_completion_that_waited_for_a_correction_counts_and_keeps_what_became_of_it(
    store: PostgresTaskStore, engine: Engine, end: str, n_correct: int
) -> None:
    corrected, completed = create(store), create(store)
    complete(store, corrected)

    def correct(connection: Connection) -> None:
        completion.complete_or_correct(connection, "ada", corrected.id, Result(False, 99.0), None, POLICY)

    assert complete_meanwhile(store, engine, completed, correct, end).counted is not None
    assert counted(store, engine) == (2, 2, [(2, n_correct)])


def test_a_completion_that_waited_for_the_deletion_of_its_task_finds_no_task(
    store: PostgresTaskStore, engine: Engine
) -> None:
    complete(store, create(store))
    task = create(store)
    with pytest.raises(NotFoundError):
        complete_meanwhile(store, engine, task, lambda c: completion.delete(c, "ada", task.id), "COMMIT")
    assert counted(store, engine) == (1, 1, [(1, 1)])


def test_a_completion_that_waited_for_the_same_completion_is_a_repeat(store: PostgresTaskStore, engine: Engine) -> None:
    task = create(store)

    def first(connection: Connection) -> None:
        completion.complete_or_correct(connection, "ada", task.id, Result(True, 20.0), None, POLICY)

    assert complete_meanwhile(store, engine, task, first, "COMMIT").counted is None
    assert counted(store, engine) == (1, 1, [(1, 1)])


def test_a_completion_of_a_task_that_was_deleted_past_the_rules_changes_nothing(
    store: PostgresTaskStore, engine: Engine
) -> None:
    task = create(store)

    def delete(connection: Connection) -> None:
        connection.exec_driver_sql("DELETE FROM practice_tasks")

    with pytest.raises(DBAPIError, match="23502"):
        complete_meanwhile(store, engine, task, delete, "COMMIT")
    assert counted(store, engine) == (0, 0, [])


def test_a_completion_whose_answer_was_lost_on_the_way_counts_once(
    store: PostgresTaskStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = create(store)
    read, lost = PreparingConnection.handle_messages, list[object]()

    def lose_the_answer(connection: PreparingConnection, context: object) -> None:
        read(connection, context)
        if "UPDATE users" in str(context.statement) and not lost:  # type: ignore[attr-defined]
            lost.append(context.rows)  # type: ignore[attr-defined]
            raise ConnectionResetError("by the test")

    monkeypatch.setattr(PreparingConnection, "handle_messages", lose_the_answer)
    complete(store, task)  # prepares the statement and loses that answer, so nothing was executed
    lost.clear()
    second = create(store)
    done = complete(store, second)
    assert lost[0]
    assert done.task.completed
    assert counted(store, engine) == (2, 2, [(2, 2)])


HISTORY = """
    SELECT subject_key, topic_key, difficulty_numeric, is_correct, actual_time_seconds, completed_at, answer_index
    FROM practice_tasks WHERE user_id = 'ada' AND completed ORDER BY answer_index
"""


@pytest.mark.parametrize("seed", range(2))
def test_whatever_races_the_state_is_that_of_the_tasks_that_are_left(
    store: PostgresTaskStore, engine: Engine, seed: int
) -> None:
    random = Random(seed)
    tasks = [
        store.insert("ada", NewTask("Math", f"T{n % 3}", Difficulty.HARD, "?"), DEFAULT_PREDICTION) for n in range(30)
    ]
    changes = [(random.choice(tasks), random.choice("ccccxxd"), random.random() < 0.5) for _ in range(100)]

    def change(what: tuple[PracticeTask, str, bool]) -> int:
        task, kind, correct = what
        try:
            if kind == "d":
                store.delete("ada", task.id)
                return 0
            return complete(store, task, correct=correct if kind == "x" else True).counted is not None
        except NotFoundError:
            return 0

    with ThreadPoolExecutor(6) as pool:
        n_counted = sum(pool.map(change, changes))
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(HISTORY).all()
    assert [row[-1] for row in rows] == list(range(len(rows)))
    expected = replay("ada", (Answer(joined_key(*row[:2]), *row[2:-1]) for row in rows))
    state = store.prediction_context("ada").state
    assert state.n_answers == len(rows)
    assert sorted(map(comparable, state.rows)) == sorted(map(comparable, expected.rows))
    tracker = PostgresTracker(engine).read("default")
    assert (tracker.n_samples_since_training, tracker.n_samples_total) == (n_counted, len(rows))


def comparable(row: StateRow) -> tuple[object, ...]:
    numbers = (row.attempts, row.correct, row.timed, row.first_index, row.last_index, row.last_correct)
    return row.topic, numbers, [round(float(value), 9) for value in row.decayed.ravel()]
