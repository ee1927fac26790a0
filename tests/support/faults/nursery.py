"""Processes that have imported what takes long, and are forked from here for each test.

``python -m tests.support.faults.nursery``: each line of its input asks for a process, each line of its output gives
a process id. In the process runs the worker's own ``main`` or the application's own handler; only the imports were
done before.
Where the networks do not matter, the worker gets a trainer that needs no Keras: everything around it is the same.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import traceback
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from chalicelib.prediction.predictor import Predictor
from tests.support.archives import version_files
from training_job.__main__ import main as work
from training_job.child import serve
from training_job.fit.optimise import Progress
from training_job.fit.population import Population
from training_job.fit.train import TrainedVersion
from training_job.pipeline import Train, train_and_compare


def main() -> int:
    """Import everything, then serve until the input ends."""
    import keras  # noqa: F401
    import tensorflow  # noqa: F401

    import app  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they end, so the kernel forgets them at once
    print("ready", flush=True)
    for line in sys.stdin:
        requested = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(requested)
        print(pid, flush=True)
    return 0


def _become(requested: dict[str, Any]) -> None:
    """Be the process that was asked for, to its end."""
    status = 1
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        output = os.open(requested["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number, file in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
            os.dup2(file, number)
        os.environ.clear()
        os.environ.update(requested["environment"])
        if requested["largest_file"] is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (requested["largest_file"],) * 2)
        with ExitStack() as stack:
            if requested["skew_seconds"]:
                import time_machine

                moment = timedelta(seconds=requested["skew_seconds"])
                stack.enter_context(time_machine.travel(moment))
            status = (
                _request(requested)
                if "request" in requested
                else _work(train_and_compare if requested["keras"] else quickly_trained)
            )
    except BaseException:  # noqa: BLE001 - the process must not go on as a copy of the nursery
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _work(train: Train) -> int:
    """Run the worker's own ``main``; its training process is forked too, and has imported everything already."""
    sys.argv = ["training_job", "--once"]
    return work(partial(_fork_child, train))


def _fork_child(train: Train) -> tuple[Connection, int]:
    ours, theirs = Pipe()
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        ours.close()
        serve(theirs, train)
        os._exit(0)
    os.setpgid(pid, pid)
    theirs.close()
    return ours, pid


def quickly_trained(population: Population, *, version: str, on_progress: Progress, **_: Any) -> TrainedVersion:
    """A version that can be served; its two networks differ, and are others for every number of answers."""
    weight = len(population.everything) / 1000
    files = version_files(weight=weight, version=version)
    files["time_model.keras"] = version_files(weight=weight / 2)["time_model.keras"]
    challenger = Predictor.from_files(files)
    files.pop("metadata.json")
    on_progress({"phase": "evaluate"})
    return TrainedVersion(files, {}, challenger)


def _request(requested: dict[str, Any]) -> int:
    """One invocation of the Lambda: ``request`` has method, path, headers and body; the answer goes into a file."""
    from chalice.test import Client

    from app import app

    request = requested["request"]
    answer = Client(app).http.request(
        request["method"], request["path"], headers=request["headers"], body=request["body"].encode()
    )
    file = Path(requested["answer"])
    file.with_suffix(".new").write_text(json.dumps({"status": answer.status_code, "body": answer.body.decode()}))
    file.with_suffix(".new").rename(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
