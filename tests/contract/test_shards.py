"""Completions of one cohort at the same time: none waits for the tracker's row, and each is counted once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, text

from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, Result
from chalicelib.domain.training import Counted, TrainingPolicy
from chalicelib.storage import completion, shards
from chalicelib.storage.database import connect, statement
from chalicelib.storage.task_store import PostgresTaskStore
from chalicelib.storage.tracker import Lease, PostgresTracker
from ops.doctor.store import PostgresDoctorStore
from tests.support.waiting import wait_for
from training_job.history.snapshot import read_snapshot

pytestmark = pytest.mark.slow

POLICY = TrainingPolicy(threshold=5, minimum_samples=5)


class Class:
    """A cohort whose students complete tasks while somebody else is at work on the tracker's row."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.store = PostgresTaskStore(engine, "default")
        self.tracker = PostgresTracker(engine)

    def create(self, student: str) -> str:
        new = NewTask("Math", "Algebra", Difficulty.HARD, "?")
        return self.store.insert(student, new, DEFAULT_PREDICTION).id

    def complete(self, student: str = "ada") -> Counted:
        done = self.store.complete(student, self.create(student), Result(True, 20.0), None, POLICY)
        assert done.counted is not None
        return done.counted

    def complete_and_die(self, student: str = "ada") -> None:
        """Complete a task in a shard, by a program that ends before it is in the tracker's row."""
        task = self.create(student)
        seen = statement(self.engine, lambda c: completion.read(c, student, task))
        with self.busy():
            result = Result(True, 20.0)
            done = statement(self.engine, lambda c: completion.complete(c, seen, result, None, POLICY))
        assert done is not None
        assert (done.counted, done.shard_of) == (None, "default")

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Be a completion that has not committed yet."""
        with self.engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            lock = text(f"SELECT {shards.TRY_LOCK_SQL}")
            assert connection.execute(lock, {"cohort": "default"}).scalar_one()
            yield
            connection.exec_driver_sql("ROLLBACK")

    def in_shards(self) -> int:
        return int(self.rows("SELECT coalesce(sum(n), 0) FROM tracker_shards")[0][0])

    def table(self) -> tuple[int, int]:
        """(counter, total) as an operator's SELECT shows them."""
        counters = "SELECT n_samples_since_training, n_samples_total FROM embedding_model_tracker"
        return tuple(self.rows(counters)[0])

    def rows(self, query: str) -> list[Any]:
        with self.engine.connect() as connection:
            result = connection.exec_driver_sql(query)
            return list(result) if result.returns_rows else []


@pytest.fixture
def school(database_url: str) -> Iterator[Class]:
    engine = connect(database_url, pool_size=12)
    yield Class(engine)
    engine.dispose()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Completions wait as long as it takes, however slow the machine is."""
    monkeypatch.setattr(shards, "PATIENCE_SECONDS", 30.0)


def at_once(school: Class, students: list[str]) -> list[Counted]:
    """Complete a task of each student while the row is busy, and let the row go when all are in the shards."""
    before = school.in_shards()
    with ThreadPoolExecutor(len(students)) as threads:
        with school.busy():
            done: list[Future[Counted]] = [threads.submit(school.complete, student) for student in students]
            wait_for(lambda: school.in_shards() == before + len(students), what="completions in the shards")
        return [future.result(30) for future in done]


def test_a_completion_does_not_wait_for_a_busy_row(school: Class, patient: None) -> None:
    school.complete()
    with ThreadPoolExecutor(1) as threads:
        with school.busy():
            done = threads.submit(school.complete, "bob")
            wait_for(lambda: school.in_shards() == 1, what="the completion in a shard")
            assert school.table() == (1, 1)
            row = school.tracker.read("default")
            assert (row.n_samples_since_training, row.n_samples_total) == (2, 2)
        assert done.result(30).counter == 2
    assert school.table() == (2, 2)


def test_one_of_many_counts_for_all(school: Class, patient: None) -> None:
    counted = at_once(school, ["ada", "bob", "cyd"])
    assert max(done.counter for done in counted) == 3
    assert school.table() == (3, 3)
    assert school.complete().counter == 4
    assert school.table() == (4, 4)


@pytest.mark.parametrize("n", [1, 3])
def test_the_fifth_completion_triggers_once_also_from_a_shard(school: Class, patient: None, n: int) -> None:
    for _ in range(5 - n):
        school.complete()
    counted = at_once(school, ["bob", "cyd", "dan", "eve"][:n])
    requests = [done.request for done in counted if done.request is not None]
    assert [request.request_id for request in requests] == [school.tracker.read("default").training_request_id]


def test_the_statement_of_operators_triggers_from_a_shard(school: Class, patient: None) -> None:
    for _ in range(5):
        school.complete()
    school.rows("UPDATE embedding_model_tracker SET training_request_id = NULL")
    school.rows("UPDATE embedding_model_tracker SET n_samples_since_training = 4")
    (counted,) = at_once(school, ["bob"])
    assert (counted.counter, counted.request is not None) == (5, True)


def test_students_of_one_class_are_counted_exactly(school: Class, patient: None) -> None:
    def practise(student: str) -> list[Counted]:
        return [school.complete(student) for _ in range(12)]

    with ThreadPoolExecutor(8) as threads:
        done = [counted for part in threads.map(practise, [f"s{n}" for n in range(8)]) for counted in part]
    assert school.table() == (96, 96)
    assert max(counted.n_samples_total for counted in done) == 96
    assert sum(counted.request is not None for counted in done) == 1


def finish(school: Class) -> None:
    school.tracker.set_counter("default", 4)
    school.rows("UPDATE embedding_model_tracker SET n_samples_total = 4")
    request = school.tracker.request_training("default", "forced")
    assert request is not None
    lease = school.tracker.take_lease(request, 60.0)
    assert isinstance(lease, Lease)
    school.complete_and_die("cyd")
    school.tracker.finish(lease, counted=4, n_samples=4, version="v1", policy=POLICY)
    assert school.table() == (1, 5)


def set_counter(school: Class) -> None:
    school.complete_and_die()
    assert school.tracker.set_counter("default", 3).n_samples_since_training == 3
    assert school.table() == (3, 1)


def complete_another(school: Class) -> None:
    school.complete_and_die()
    school.complete_and_die("bob")
    assert school.complete().counter == 3


def read_a_snapshot(school: Class) -> None:
    school.complete()
    school.complete_and_die("bob")
    assert read_snapshot(school.engine, "default").counter == 2


def examine(school: Class) -> None:
    school.complete()
    school.complete_and_die("bob")
    (tracker,), completed = PostgresDoctorStore(school.engine).trackers()
    assert (tracker.counter, tracker.total, completed) == (2, 2, {"default": 2})


def sweep(school: Class) -> None:
    for _ in range(4):
        school.complete()
    school.complete_and_die("bob")
    (request,) = school.tracker.end_waits(POLICY)
    assert request.request_id == school.tracker.read("default").training_request_id
    assert school.tracker.end_waits(POLICY) == []
    assert school.table() == (5, 5)


@pytest.mark.parametrize(
    "use", [finish, set_counter, complete_another, read_a_snapshot, examine, sweep], ids=lambda use: use.__name__
)
def test_what_a_dead_program_left_in_its_shard_is_counted(school: Class, use: Callable[[Class], None]) -> None:
    use(school)


def test_a_completion_does_not_wait_for_ever(
    school: Class, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shards, "PATIENCE_SECONDS", 0.02)
    caplog.set_level(logging.WARNING)
    school.complete()
    with school.busy():
        assert school.complete("bob").request is None
    assert "the counter of cohort default lags" in caplog.text
    assert school.tracker.end_waits(POLICY) == []
    assert school.table() == (2, 2)


def test_the_first_completions_of_a_cohort_may_come_together(school: Class, patient: None) -> None:
    school.rows("DELETE FROM embedding_model_tracker")
    at_once(school, ["ada", "bob"])
    assert school.table() == (2, 2)


def test_students_are_spread_over_the_shards() -> None:
    used = [shards.shard_of(f"student-{n}") for n in range(3_200)]
    assert set(used) == set(range(shards.SHARDS))
    assert max(map(used.count, set(used))) < 3 * 3_200 / shards.SHARDS
