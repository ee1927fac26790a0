"""When a worker in reserve looks at the queue, and how long it keeps the process that trains."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import pytest

from chalicelib.config import Settings
from chalicelib.storage.training_queue import SqsTrainingQueue
from training_job.__main__ import IDLE_SECONDS, LOOK_SECONDS, run
from training_job.process import TrainingProcess
from training_job.wiring import POLL_SECONDS, build
from training_job.worker import WorkerStopped

SETTINGS = Settings(
    database_url="postgresql+pg8000://nobody@127.0.0.1:1/none",
    registry_bucket="bucket",
    training_queue_url="https://queue",
    user_pool_id="pool",
    user_pool_client_id="client",
    aws_region="eu-central-1",
)


class EmptyQueue:
    """An SQS without messages. It notes how long each receive would wait, and stops the worker after ``n`` of them."""

    def __init__(self, n: int, advance: Callable[[float], None]) -> None:
        self.waits: list[int] = []
        self._n, self._advance = n, advance

    def receive_message(self, **options: Any) -> dict[str, Any]:
        if len(self.waits) == self._n:
            raise WorkerStopped
        self.waits.append(options["WaitTimeSeconds"])
        self._advance(self.waits[-1])
        return {}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def advance(self, seconds: float) -> None:
        self.now += seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)


def start_sleeper() -> tuple[Connection, int]:
    """A process that stands for the one that trains."""
    ours, theirs = Pipe()
    theirs.close()
    return ours, os.posix_spawn("/bin/sleep", ["sleep", "60"], {}, setpgroup=0)


@pytest.fixture
def process() -> Iterator[TrainingProcess]:
    process = TrainingProcess(start_sleeper)
    yield process
    process.stop()


def waits_of(process: TrainingProcess, n: int, *, reserve: bool) -> tuple[list[int], Clock]:
    """What the worker waited for in each of ``n`` receives, and its clock."""
    clock = Clock()
    sqs = EmptyQueue(n, clock.advance)
    worker = replace(build(SETTINGS, process), queue=SqsTrainingQueue(sqs, "https://queue"))  # type: ignore[arg-type]
    with pytest.raises(WorkerStopped):
        run(worker, process, reserve=reserve, clock=lambda: clock.now, sleep=clock.sleep)
    return sqs.waits, clock


def test_a_reserve_lets_a_worker_with_tensorflow_take_a_message(process: TrainingProcess) -> None:
    waits, clock = waits_of(process, 3, reserve=True)
    assert waits == [0, 0, 0]
    assert clock.slept == [LOOK_SECONDS] * 3
    assert process.pid is None


def test_a_reserve_that_trained_keeps_its_process_for_a_while(process: TrainingProcess) -> None:
    process.start()
    receives = int(IDLE_SECONDS / POLL_SECONDS)
    waits, clock = waits_of(process, receives, reserve=True)
    assert (set(waits), clock.slept) == ({POLL_SECONDS}, [])
    assert process.pid is not None


def test_a_reserve_without_trainings_gives_its_memory_back(process: TrainingProcess) -> None:
    process.start()
    receives = int(IDLE_SECONDS / POLL_SECONDS) + 1
    waits, _ = waits_of(process, receives + 1, reserve=True)
    assert waits == [POLL_SECONDS] * receives + [0]
    assert process.pid is None


def test_the_first_worker_keeps_its_process(process: TrainingProcess) -> None:
    process.start()
    waits, _ = waits_of(process, 100, reserve=False)
    assert set(waits) == {POLL_SECONDS}
    assert process.pid is not None
