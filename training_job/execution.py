"""Where a training computes the steps that can be divided into groups of students.

``TRAINING_EXECUTOR`` is ``inline`` (threads of this process), ``processes:N`` (N processes on this machine), or
``dask://HOST:PORT`` (a Dask cluster, by the address of its scheduler). Results are
added in the order of the parts, so they do not depend on which worker ends first. If an executor cannot be started, or
is lost during a step, that step is computed again inline, and so is the rest of the training.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import chalicelib
import training_job

R = TypeVar("R")

THREADS = 2
"""Number of threads that compute inline. numpy works on two parts at once."""

AHEAD = 2
"""Number of unfinished parts for each worker. More would only wait in memory."""

PART_SECONDS = 300.0
"""Seconds for which a training waits for the next result of an executor. After them the executor counts as lost.

Otherwise a cluster that has lost all of its workers, or a result in transfer, would let it wait for ever.
"""

CONNECT_SECONDS = 20.0
"""How long a training looks for the scheduler of a Dask cluster, and for its workers."""

_log = logging.getLogger("studysmart.training")


class Execution:
    """Computes parts by an executor of ``concurrent.futures`` with some workers, or inline without one."""

    def __init__(
        self,
        executor: Executor | None = None,
        workers: int = THREADS,
        lost: tuple[type, ...] = (),
        close: Callable[[], object] = lambda: None,
    ) -> None:
        """Use ``executor``, with a few unfinished parts for each of its ``workers``, and end it by ``close``.

        Errors of the types ``lost``, besides the usual ones, mean that it cannot be reached: then all parts of the step
        are computed again inline. A part that raised such an error itself raises it again there.
        """
        self._executor, self._workers, self._close = executor, max(1, workers), close
        self._lost: Any = (BrokenExecutor, CancelledError, TimeoutError, OSError, *lost)

    def map(self, function: Callable[..., R], *columns: Sequence[Any]) -> list[R]:
        """Return the function's results for the first element of each column, the second ones, and so on.

        Raises what the function raises. Function and elements are pickled if processes compute them.
        """
        parts, executor = list(zip(*columns, strict=True)), self._executor
        if executor is not None and len(parts) > 1:
            try:
                return self._sent(executor, self._workers, PART_SECONDS, function, parts)
            except self._lost as error:
                _log.warning("the training goes on inline, its executor is lost: %s: %s", type(error).__name__, error)
                self._executor = None
        if len(parts) <= 1:
            return [function(*part) for part in parts]
        with ThreadPoolExecutor(THREADS) as threads:
            return self._sent(threads, THREADS, None, function, parts)

    def close(self) -> None:
        """End the executor, which holds memory. What follows is computed inline."""
        close, self._close, self._executor = self._close, lambda: None, None
        close()

    @staticmethod
    def _sent(
        executor: Executor,
        workers: int,
        seconds: float | None,
        function: Callable[..., R],
        parts: Sequence[tuple[Any, ...]],
    ) -> list[R]:
        results: list[R] = []
        waiting: deque[Future[R]] = deque()
        for part in parts:
            if len(waiting) >= AHEAD * workers:
                results.append(waiting.popleft().result(seconds))
            waiting.append(executor.submit(function, *part))
        return results + [future.result(seconds) for future in waiting]


INLINE = Execution()
"""Computes in threads of this process."""


@contextmanager
def execution_of(setting: str) -> Iterator[Execution]:
    """Start or reach the executor of a ``TRAINING_EXECUTOR``, and close it at the end."""
    kind, _, rest = setting.partition(":")
    opened = {"processes": _processes, "dask": _dask}.get(kind)
    execution = opened(rest.removeprefix("//")) if opened else INLINE
    try:
        yield execution
    finally:
        execution.close()


def _processes(number: str) -> Execution:
    try:
        # A fork of a process that has TensorFlow's threads could stop for ever.
        pool = ProcessPoolExecutor(int(number), multiprocessing.get_context("spawn"), _end_with_the_training)
    except OSError as error:
        # A Lambda has no shared memory for the pool's locks.
        _log.warning("the training goes on inline, it cannot start processes: %s", error)
        return INLINE
    return Execution(pool, int(number), close=lambda: pool.shutdown(wait=False, cancel_futures=True))


def _end_with_the_training() -> None:
    """Let this process end when the one that started it does, however it ends, and not by a Ctrl-C.

    The training ignores SIGTERM, but its pool ends processes by it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    training = multiprocessing.parent_process()

    def wait() -> None:
        if training is not None:
            training.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _dask(address: str) -> Execution:
    import distributed
    from distributed.client import ClosedClientError

    connect: Any = distributed.Client  # it has no types
    client = None
    try:
        client = connect(f"tcp://{address}", timeout=CONNECT_SECONDS, set_as_default=False)
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        workers = sum(client.nthreads().values())
        # The last one passes through the scheduler, as the parts do.
        releases = [*client.run(release).values(), client.submit(release, pure=False).result(CONNECT_SECONDS)]
        if set(releases) != {release()}:
            raise RuntimeError("a worker has another release of the program, or of numpy")
    except (OSError, TimeoutError, ValueError, RuntimeError, ImportError, AttributeError, ClosedClientError) as error:
        _log.warning("the training goes on inline, it cannot use the Dask cluster %s: %s", address, error)
        _close(client)
        return INLINE
    # A part is computed again if its worker dies. Without "pure", equal parts are not looked for.
    lost = (distributed.KilledWorker, ClosedClientError)
    return Execution(client.get_executor(pure=False), workers, lost, lambda: _close(client))


def _close(client: Any) -> None:
    try:
        if client is not None:
            client.close(timeout=1)
    except (OSError, TimeoutError) as error:
        _log.warning("the connection to the Dask cluster did not close: %s", error)


def release() -> str:
    """Return one digest of the program's code and numpy's version. Workers must have the same one as the training."""
    digest = hashlib.sha256(np.__version__.encode())
    for package in (chalicelib, training_job):
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
