"""When the next automatic training may start: after a long training, and after trainings that failed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from chalicelib.domain.predictions import DEFAULT_PREDICTION
from chalicelib.domain.tasks import Difficulty, NewTask, Result
from chalicelib.domain.training import TrackerRow, TrainingPolicy, TrainingRequest, WaitReason
from chalicelib.services import training
from chalicelib.storage.database import connect
from chalicelib.storage.task_store import PostgresTaskStore
from chalicelib.storage.tracker import Lease, PostgresTracker
from tests.support.fakes.services import MemoryQueue

pytestmark = pytest.mark.slow

POLICY = TrainingPolicy(threshold=2, minimum_samples=2, duty=0.25)


class Cohort:
    """The tracker and the tasks of one cohort, and a clock to move."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.tracker = PostgresTracker(engine)
        self.tasks = PostgresTaskStore(engine, "default")

    def complete(self) -> TrainingRequest | None:
        task = self.tasks.insert("ada", NewTask("Math", "Algebra", Difficulty.HARD, "?"), DEFAULT_PREDICTION)
        counted = self.tasks.complete("ada", task.id, Result(True, 20.0), None, POLICY).counted
        assert counted is not None
        return counted.request

    def lease(self) -> Lease:
        """The lease of a training that somebody asked for."""
        request = self.tracker.request_training("default", "forced")
        assert request is not None
        lease = self.tracker.take_lease(request, 60.0)
        assert isinstance(lease, Lease)
        return lease

    def train(self, seconds: float, counted: int = 0) -> TrainingRequest | None:
        done: dict[str, Any] = {"n_samples": 2, "version": "v1", "policy": POLICY}
        return self.tracker.finish(self.lease(), counted=counted, seconds=seconds, **done)

    def fail(self, seconds: float = 1.0, policy: TrainingPolicy = POLICY) -> tuple[int, datetime]:
        failed = self.tracker.fail_request(self.lease(), "OSError: no", policy, seconds)
        assert failed is not None
        return failed

    def status(self) -> TrackerRow:
        return self.tracker.read("default")

    def wait_is_over(self) -> None:
        query = "UPDATE embedding_model_tracker SET next_training_at = clock_timestamp() - interval '1 second'"
        with self.engine.begin() as connection:
            connection.execute(text(query))


@pytest.fixture
def cohort(database_url: str) -> Iterator[Cohort]:
    engine = connect(database_url, pool_size=8)
    yield Cohort(engine)
    engine.dispose()


def from_now(moment: datetime | None) -> float:
    assert moment is not None
    return (moment - datetime.now(UTC)).total_seconds()


def test_a_training_waits_as_long_as_the_duty_says(cohort: Cohort) -> None:
    assert cohort.train(seconds=100.0) is None
    row = cohort.status()
    assert from_now(row.next_training_at) == pytest.approx(300.0, abs=60.0)
    assert (row.training_seconds, row.training_failures, row.wait_reason) == (100.0, 0, WaitReason.DUTY)


def test_with_a_duty_of_one_nothing_waits(cohort: Cohort) -> None:
    full = TrainingPolicy(2, 2, 1.0)
    cohort.tracker.finish(cohort.lease(), counted=0, n_samples=2, version="v1", policy=full, seconds=900.0)
    assert (cohort.status().next_training_at, cohort.status().wait_reason) == (None, None)
    assert [cohort.complete() is None for _ in range(2)] == [True, False]


def test_completions_are_counted_and_start_nothing_during_the_wait(cohort: Cohort) -> None:
    cohort.train(seconds=100.0)
    assert [cohort.complete() for _ in range(3)] == [None] * 3
    assert cohort.status().n_samples_since_training == 3
    cohort.wait_is_over()
    assert cohort.complete() is not None


def test_what_became_due_during_a_training_waits_too(cohort: Cohort) -> None:
    lease = cohort.lease()
    assert [cohort.complete() for _ in range(3)] == [None] * 3
    finish: dict[str, Any] = {"counted": 0, "n_samples": 0, "version": "v1", "policy": POLICY}
    assert cohort.tracker.finish(lease, seconds=100.0, **finish) is None
    assert cohort.tracker.end_waits(POLICY) == []


def test_a_forced_training_does_not_wait(cohort: Cohort) -> None:
    cohort.fail()
    assert cohort.tracker.request_training("default", "forced") is not None


def test_the_sweeper_starts_what_became_due_during_the_wait(cohort: Cohort) -> None:
    queue = MemoryQueue()
    cohort.train(seconds=100.0)
    assert [cohort.complete() for _ in range(3)] == [None] * 3
    assert training.sweep(cohort.tracker, queue, POLICY) == []
    cohort.wait_is_over()
    sent = training.sweep(cohort.tracker, queue, POLICY)
    assert sent == [message.request_id for message in queue.messages] == [cohort.status().training_request_id]
    assert training.sweep(cohort.tracker, queue, POLICY) == []


def test_the_sweeper_starts_nothing_that_did_not_wait(cohort: Cohort) -> None:
    cohort.train(seconds=100.0)
    cohort.complete()
    cohort.wait_is_over()
    assert cohort.tracker.end_waits(POLICY) == [], "one completion is not enough"
    assert cohort.complete() is not None
    cohort.tracker.skip_request(*leased(cohort))
    assert cohort.tracker.end_waits(POLICY) == [], "a skipped training is requested by the next completion"
    assert cohort.complete() is not None


def leased(cohort: Cohort) -> tuple[Lease, str]:
    """The lease of the live request, and a reason to skip it."""
    row = cohort.status()
    assert row.training_request_id is not None
    assert row.training_requested_at is not None
    request = TrainingRequest(row.training_request_id, "default", row.training_requested_at, "threshold")
    lease = cohort.tracker.take_lease(request, 60.0)
    assert isinstance(lease, Lease)
    return lease, "too little"


def test_each_failure_doubles_the_wait_up_to_an_hour(cohort: Cohort) -> None:
    local = TrainingPolicy(2, 2, 1.0)
    waits = [from_now(cohort.fail(policy=local)[1]) for _ in range(9)]
    assert waits == [pytest.approx(s, abs=20.0) for s in (30, 60, 120, 240, 480, 960, 1920, 3600, 3600)]
    assert (cohort.status().training_failures, cohort.status().wait_reason) == (9, WaitReason.FAILURES)


def test_a_failure_waits_no_shorter_than_the_duty_says(cohort: Cohort) -> None:
    assert from_now(cohort.fail(seconds=100.0)[1]) == pytest.approx(300.0, abs=20.0)
    assert from_now(cohort.fail(seconds=100.0)[1]) == pytest.approx(600.0, abs=20.0)
    assert from_now(cohort.fail(seconds=2_000.0)[1]) == pytest.approx(6_000.0, abs=20.0)


def test_a_success_ends_the_failures(cohort: Cohort) -> None:
    cohort.fail()
    cohort.fail()
    cohort.train(seconds=0.0)
    assert (cohort.status().training_failures, cohort.status().next_training_at) == (0, None)
    assert cohort.fail()[0] == 1


def test_a_training_that_was_skipped_is_no_failure(cohort: Cohort) -> None:
    cohort.fail()
    until = cohort.status().next_training_at
    cohort.tracker.skip_request(cohort.lease(), "too little")
    assert (cohort.status().training_failures, cohort.status().next_training_at) == (1, until)


def test_an_abandoned_training_has_failed(cohort: Cohort) -> None:
    request = cohort.tracker.request_training("default", "forced")
    assert request is not None
    cohort.tracker.mark_enqueued(request)
    assert cohort.tracker.free_abandoned(after_seconds=-1, resend_seconds=-1) == ["default"]
    assert (cohort.status().training_failures, cohort.status().wait_reason) == (1, WaitReason.FAILURES)


def test_only_one_of_sweepers_and_completions_starts_what_waited(cohort: Cohort) -> None:
    cohort.train(seconds=100.0)
    for _ in range(3):
        cohort.complete()
    for _ in range(5):
        cohort.wait_is_over()
        with ThreadPoolExecutor(4) as threads:
            sweeps = [threads.submit(cohort.tracker.end_waits, POLICY) for _ in range(2)]
            completions = [threads.submit(cohort.complete) for _ in range(2)]
            made = [request for sweep in sweeps for request in sweep.result()]
            made += [request for done in completions if (request := done.result()) is not None]
        assert len(made) == 1
        cohort.tracker.skip_request(*leased(cohort))


def test_the_statement_of_operators_triggers_as_before(cohort: Cohort) -> None:
    policy = TrainingPolicy()
    for _ in range(10):
        cohort.complete()
    cohort.tracker.skip_request(*leased(cohort))
    with cohort.engine.begin() as connection:
        connection.execute(text("UPDATE embedding_model_tracker SET n_samples_since_training = 4"))
    task = cohort.tasks.insert("ada", NewTask("Math", "Algebra", Difficulty.HARD, "?"), DEFAULT_PREDICTION)
    counted = cohort.tasks.complete("ada", task.id, Result(True, 20.0), None, policy).counted
    assert counted is not None
    assert (counted.counter, counted.request is not None) == (5, True)


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 0.0), (60.0, 180.0), (900.0, 2_700.0)])
def test_a_quarter_of_the_time_means_three_times_the_duration(seconds: float, expected: float) -> None:
    assert timedelta(seconds=POLICY.wait_after(seconds)) == timedelta(seconds=expected)
