"""Executors of trainings that are killed, or are not there: no result is lost or used twice."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from distributed import Client

from tests.support.parts import processes, squared
from tests.support.waiting import wait_for
from training_job.execution import Execution, execution_of

pytestmark = pytest.mark.slow

NUMBERS = list(range(7))


class Cluster:
    """A Dask scheduler and two workers in processes of their own, as an operator starts them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        file, port = str(folder / "scheduler.json"), "--port=0"
        self.scheduler = self._start("dask_scheduler", port, f"--scheduler-file={file}", "--host=127.0.0.1")
        wait_for(Path(file).exists, what="the scheduler")
        self.workers = [
            self._start("dask_worker", f"--scheduler-file={file}", "--nthreads=1", "--no-nanny") for _ in range(2)
        ]
        wait_for(lambda: (folder / "log").read_text().count("Registered to:") == 2, what="the workers")
        self.address = Path(file).read_text().partition('"tcp://')[2].partition('"')[0]

    def _start(self, command: str, *options: str) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{command}", "--no-dashboard", *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait(120)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "cluster").mkdir()
    cluster = Cluster(tmp_path / "cluster")
    yield cluster
    cluster.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "parts").mkdir()
    return tmp_path / "parts"


def interrupted(execution: Execution, folder: Path, interrupt: Callable[[], object], workers: int = 2) -> list[int]:
    """Compute parts, and let something happen while all workers are at one."""
    with ThreadPoolExecutor(1) as thread:
        results = thread.submit(execution.map, squared, NUMBERS, [folder] * len(NUMBERS))
        wait_for(lambda: len(processes(folder)) == workers, what="the workers")
        interrupt()
        (folder / "go").touch()
        return results.result(60)


@pytest.fixture
def deaf() -> Iterator[None]:
    """Lets this process ignore SIGTERM, and so all processes that it starts."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("deaf")
def test_a_killed_process_moves_the_training_inline(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), execution_of("processes:2") as execution:
        found = interrupted(execution, folder, lambda: os.kill(processes(folder)[0], signal.SIGKILL))
        assert found == [number**2 for number in NUMBERS]
        assert os.getpid() in processes(folder)
        # What follows does not try the lost processes again.
        assert execution.map(squared, [3, 4], [folder] * 2) == [9, 16]
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "the training goes on inline, its executor is lost"
    ]
    wait_for(lambda: not any(map(psutil.pid_exists, set(processes(folder)) - {os.getpid()})), what="their end")


def test_processes_end_with_the_training(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.support.parts import squared\n"
        "from training_job.execution import execution_of\n"
        "if __name__ == '__main__':\n"
        "    with execution_of('processes:2') as execution:\n"
        "        execution.map(squared, range(4), [Path(sys.argv[1])] * 4)\n"
    )
    (folder / "training.py").write_text(code)
    (parts := folder / "parts").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    training = subprocess.Popen([sys.executable, str(folder / "training.py"), str(parts)], env=environment)
    try:
        wait_for(lambda: len(processes(parts)) == 2, what="the processes")
        found = [psutil.Process(pid) for pid in processes(parts)]
    finally:
        training.kill()
        training.wait(120)
    wait_for(lambda: not any(process.is_running() for process in found), what="the end of the processes")


def test_another_dask_worker_takes_over_from_a_killed_one(
    cluster: Cluster, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "studysmart"), execution_of(f"dask://{cluster.address}") as execution:
        found = interrupted(execution, folder, cluster.workers[0].kill)
        assert found == [number**2 for number in NUMBERS]
    assert processes(folder) == sorted(worker.pid for worker in cluster.workers)
    assert not [record for record in caplog.records if record.name.startswith("studysmart")]


def test_a_dask_scheduler_is_killed(cluster: Cluster, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "studysmart"), execution_of(f"dask://{cluster.address}") as execution:
        found = interrupted(execution, folder, cluster.scheduler.kill)
        assert found == [number**2 for number in NUMBERS]
    assert os.getpid() in processes(folder)
    assert "the training goes on inline, its executor is lost" in caplog.text


def test_a_dask_scheduler_is_killed_between_two_steps(
    cluster: Cluster, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("training_job.execution.CONNECT_SECONDS", 10.0)
    (folder / "go").touch()
    with caplog.at_level(logging.WARNING, "studysmart"), execution_of(f"dask://{cluster.address}") as execution:
        assert execution.map(squared, [1, 2], [folder] * 2) == [1, 4]
        cluster.scheduler.kill()
        cluster.scheduler.wait(120)
        (client,) = [found for found in gc.get_objects() if isinstance(found, Client) and found.status != "closed"]
        wait_for(lambda: client.status == "closed", what="the client to give up")
        assert execution.map(squared, NUMBERS, [folder] * len(NUMBERS)) == [number**2 for number in NUMBERS]
    assert "the training goes on inline, its executor is lost" in caplog.text


def test_a_frozen_dask_scheduler_is_given_up(
    cluster: Cluster, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training_job.execution.PART_SECONDS", 10.0)
    with caplog.at_level(logging.WARNING, "studysmart"), execution_of(f"dask://{cluster.address}") as execution:
        found = interrupted(execution, folder, lambda: cluster.scheduler.send_signal(signal.SIGSTOP))
        assert found == [number**2 for number in NUMBERS]
    assert "the training goes on inline, its executor is lost" in caplog.text


def test_a_cluster_of_another_release_is_not_used(
    cluster: Cluster, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np, "__version__", "0.1")
    (folder / "go").touch()
    with caplog.at_level(logging.WARNING, "studysmart"), execution_of(f"dask://{cluster.address}") as execution:
        assert execution.map(squared, NUMBERS, [folder] * len(NUMBERS)) == [number**2 for number in NUMBERS]
    assert processes(folder) == [os.getpid()]
    assert "a worker has another release" in caplog.text


def test_all_dask_workers_are_killed(
    cluster: Cluster, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training_job.execution.PART_SECONDS", 10.0)

    def kill() -> None:
        for worker in cluster.workers:
            worker.kill()

    with caplog.at_level(logging.WARNING, "studysmart"), execution_of(f"dask://{cluster.address}") as execution:
        assert interrupted(execution, folder, kill) == [number**2 for number in NUMBERS]
    assert os.getpid() in processes(folder)
    assert "the training goes on inline, its executor is lost" in caplog.text


@pytest.mark.parametrize("executor", ["dask://127.0.0.1:1", "dask://nowhere.invalid:8786"])
def test_a_cluster_that_is_not_there(executor: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr("training_job.execution.CONNECT_SECONDS", 0.5)
    (folder / "go").touch()
    with execution_of(executor) as execution:
        assert execution.map(squared, NUMBERS, [folder] * len(NUMBERS)) == [number**2 for number in NUMBERS]
    assert processes(folder) == [os.getpid()]


@pytest.mark.parametrize("executor", ["inline", "processes:2"])
def test_an_error_of_a_part_reaches_the_caller(executor: str) -> None:
    with execution_of(executor) as execution, pytest.raises(ValueError, match="invalid literal"):
        execution.map(int, ["1", "two", "3"])


@pytest.mark.parametrize("executor", ["inline", "processes:2"])
def test_an_error_of_a_part_that_looks_like_a_lost_executor_reaches_the_caller(executor: str, tmp_path: Path) -> None:
    with execution_of(executor) as execution, pytest.raises(FileNotFoundError):
        execution.map(Path.read_text, [tmp_path / "none"] * 3)


def test_a_closed_execution_goes_on_inline(folder: Path) -> None:
    (folder / "go").touch()
    with execution_of("processes:2") as execution:
        execution.close()
        assert execution.map(squared, NUMBERS, [folder] * len(NUMBERS)) == [number**2 for number in NUMBERS]
    assert processes(folder) == [os.getpid()]
