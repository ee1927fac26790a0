"""Several training workers of one machine: a long training of one cohort does not hold up another cohort."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from chalicelib.services import training
from chalicelib.storage.database import connect
from chalicelib.storage.tracker import PostgresTracker
from chalicelib.storage.training_queue import SqsTrainingQueue
from tests.support.stacks import RunningStack, command_line
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow


class Cohorts:
    """Requests trainings of cohorts, and sees which of them run."""

    def __init__(self, stack: RunningStack) -> None:
        self._engine = connect(stack.environment["DATABASE_URL"], 1)
        self.tracker = PostgresTracker(self._engine)
        self._queue = SqsTrainingQueue(stack.client("sqs"), stack.environment["TRAINING_QUEUE_URL"])

    def request(self, cohort: str) -> str:
        """Request a training, and return the request's id."""
        request = self.tracker.request_training(cohort, "forced")
        assert request is not None
        training.send_request(self.tracker, self._queue, request)
        return request.request_id

    def trains(self, cohort: str) -> bool:
        return self.tracker.read(cohort).lease_live

    def is_over(self, cohort: str) -> bool:
        return self.tracker.read(cohort).training_request_id is None

    def close(self) -> None:
        self._engine.dispose()


@pytest.fixture
def stack(started: Callable[..., RunningStack], state_dir: Path) -> RunningStack:
    return started(state_dir)


@pytest.fixture
def cohorts(stack: RunningStack) -> Iterator[Cohorts]:
    cohorts = Cohorts(stack)
    yield cohorts
    cohorts.close()


def trainers_of(worker: psutil.Process) -> list[psutil.Process]:
    """The processes of a worker that have TensorFlow in memory, or import it."""
    return [process for process in worker.children() if "training_job.child" in command_line(process)]


def workers_of(stack: RunningStack) -> tuple[psutil.Process, psutil.Process]:
    """The first worker, whose training process was started, and the one in reserve."""
    wait_for(lambda: len(stack.children("training_job")) == 2, what="two workers")
    in_reserve, first = sorted(stack.children("training_job"), key=lambda w: "--reserve" not in command_line(w))
    wait_for(lambda: trainers_of(first), what="the process that trains for the first worker")
    return first, in_reserve


def test_a_cohort_trains_while_the_training_of_another_lasts(stack: RunningStack, cohorts: Cohorts) -> None:
    first, in_reserve = workers_of(stack)
    (trainer,) = trainers_of(first)
    assert trainers_of(in_reserve) == []
    in_reserve.suspend()  # so that the first worker takes the training that will last
    trainer.suspend()
    lasting = cohorts.request("large")
    wait_for(lambda: cohorts.trains("large"), what="the training of the large cohort")
    in_reserve.resume()

    cohorts.request("small")
    wait_for(lambda: cohorts.is_over("small"), what="the end of the small cohort's training")
    assert len(trainers_of(in_reserve)) == 1
    assert cohorts.tracker.read("large").training_request_id == lasting
    assert cohorts.trains("large")

    trainer.resume()
    wait_for(lambda: cohorts.is_over("large"), what="the end of the large cohort's training")
