"""The process that trains: ``python -m training_job.child FD``, started by :mod:`training_job.process`.

It imports TensorFlow once and forks for each training. When the fork ends, the operating system takes back all memory
of its training. A fork costs milliseconds, an import of TensorFlow costs seconds (docs/decisions/0024).

Log lines, progress, the question whether the lease still holds, and the outcome go to the worker over one connection.
"""

from __future__ import annotations

import logging
import os
import pickle
import select
import signal
import sys
import threading
import traceback
import warnings
from datetime import datetime
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from typing import Any, Literal

import msgspec

from chalicelib import logs
from chalicelib.config import Settings
from chalicelib.domain.training import TrainingRequest
from chalicelib.storage.aws import aws_client
from chalicelib.storage.database import connect
from chalicelib.storage.dataset_store import S3DatasetStore
from chalicelib.storage.model_registry import S3ModelRegistry
from chalicelib.storage.timeouts import patient
from training_job import pipeline

_log = logging.getLogger("studysmart.worker")

SNAPSHOT_SECONDS = 300.0
"""How long PostgreSQL may sort all answers before it sends the first one."""

Kind = Literal["log", "report", "still_ours", "done", "failed"]


class Job(msgspec.Struct, frozen=True):
    """A training to do, when its message was received, and the settings of the worker."""

    request: TrainingRequest
    received_at: datetime
    settings: Settings


def registry_of(settings: Settings) -> S3ModelRegistry:
    """Return the model registry, with the patience of a worker rather than of a student."""
    client = aws_client("s3", settings.aws_region, read_timeout=30.0)
    return S3ModelRegistry(client, settings.registry_bucket, settings.model_signing_key)


def datasets_of(settings: Settings) -> S3DatasetStore:
    """Return the copies of answers in S3."""
    return S3DatasetStore(aws_client("s3", settings.aws_region, read_timeout=30.0), settings.registry_bucket)


class _Worker:
    """The worker, as the child sees it at the other end of the connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def tell(self, kind: Kind, value: Any) -> None:
        self._connection.send((kind, value))

    def ask(self, kind: Kind, value: Any = None) -> None:
        """Let the worker do something, and raise the error that it ended with."""
        self.tell(kind, value)
        error = self._connection.recv()
        if error is not None:
            raise error

    def put_nowait(self, record: logging.LogRecord) -> None:
        """Let the worker write a log record. The name is that of the queue for which QueueHandler was made."""
        self.tell("log", record)


def main() -> int:
    """Import what a training needs, then train for the worker until it is gone."""
    connection = Connection(int(sys.argv[1]))
    _end_with_the_worker(connection)

    import keras  # noqa: F401
    import scipy.sparse
    import scipy.special  # noqa: F401

    serve(connection)
    return 0


def serve(
    connection: Connection,
    train: pipeline.Train = pipeline.train_and_compare,
    *,
    forks: bool = sys.platform != "darwin",
) -> None:
    """Train for each job that arrives, each in a fork of this process, until the worker is gone.

    A fork that dies takes this process with it: the end of the connection and the exit status tell the worker.
    Without ``forks`` this process trains once itself and ends, because macOS's frameworks do not survive a fork.
    """
    # Only the worker decides when a training stops; a Ctrl-C or a stopping container signals every process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Unlike SIG_IGN, a function is not inherited by the processes of an executor, which are ended by SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: None)
    while True:
        try:
            job = connection.recv()
        except (EOFError, ConnectionError):
            return
        if not forks:
            _train(connection, job, train)
            return
        with warnings.catch_warnings():
            # OpenBLAS ends its threads before a fork; the other thread only waits for the worker's end.
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            _become_training(connection, job, train)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code:
            # As a shell does it: 128 and the number of the signal.
            os._exit(128 - code if code < 0 else code)


def _become_training(connection: Connection, job: Job, train: pipeline.Train) -> None:
    status = 1
    try:
        _train(connection, job, train)
        status = 0
    except BaseException:  # noqa: BLE001 - the fork must not go on as a second server
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        # Exit handlers of libraries belong to the process that was forked, and an unloading TensorFlow takes its time.
        os._exit(status)


def _train(connection: Connection, job: Job, train: pipeline.Train) -> None:
    _end_with_the_worker(connection)
    worker = _Worker(connection)
    _send_logs(worker, job.settings.log_level)
    settings = job.settings
    try:
        trained = pipeline.run(
            job.request,
            connect(settings.database_url, 1, patient(settings, answer=SNAPSHOT_SECONDS)),
            registry_of(settings),
            received_at=job.received_at,
            still_ours=lambda: worker.ask("still_ours"),
            report=lambda progress: worker.ask("report", progress),
            train=train,
            datasets=datasets_of(settings),
            max_answers=settings.training_max_answers,
            max_network_answers=settings.training_network_answers,
            executor=settings.training_executor,
        )
    except Exception as error:  # noqa: BLE001 - the worker records whatever it is
        worker.tell("failed", (_portable(error), traceback.format_exc()))
    else:
        worker.tell("done", trained)


def _end_with_the_worker(connection: Connection) -> None:
    """Let a thread end this process when the worker has closed its end of the connection, as it does when it dies."""
    hung_up = select.poll()
    hung_up.register(connection.fileno(), select.POLLHUP)

    def wait() -> None:
        hung_up.poll()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _send_logs(worker: _Worker, level: str) -> None:
    """Let all log records of this process be written by the worker, with the fields of its lines."""
    root = logging.getLogger()
    root.handlers[:] = [QueueHandler(worker)]  # type: ignore[arg-type]
    root.setLevel(logging.WARNING)
    logging.getLogger(logs.ROOT).setLevel(level)


def _portable(error: Exception) -> Exception:
    """Return the error, or one that says the same where the error cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - own data
    except Exception as why:  # noqa: BLE001 - a library's exception may do anything here
        _log.debug("an error of type %s cannot be pickled: %s", type(error).__name__, why)
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


if __name__ == "__main__":
    sys.exit(main())
