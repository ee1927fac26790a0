"""Run by :mod:`benchmarks.cold_start` as a program of its own: ends with one JSON line of what the process cost.

``_fresh_process.py lambda DIRECTORY < event.json`` answers one API Gateway event with the unpacked package and nothing
else, ``stages`` does the same work one step after the other, and ``tensorflow`` loads the two models in DIRECTORY
with TensorFlow and predicts once. Nothing is imported at the top but what the interpreter loads anyway: every import
counts.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is an import that counts
    from collections.abc import Callable
    from typing import Any

    Outcome = tuple[dict[str, Any], dict[str, float]]

CAME_UP = time.monotonic()


def answer_event(directory: str) -> Outcome:
    """Answer the event on standard input through the Lambda's handler; returns (answer, seconds of each stage)."""
    import json

    event = json.load(sys.stdin)
    sys.path.insert(0, directory)
    clock = Clock()
    import app

    clock.lap("import_app")
    answer = app.app(event, Context())
    clock.lap("first_request")
    body = json.loads(answer["body"])
    return {"status": answer["statusCode"], "source": body.get("prediction_source"), "body": body}, clock.laps


def answer_in_stages(directory: str) -> Outcome:
    """The same, with the first request's parts asked for beforehand, so that each can be timed."""
    import json

    event = json.load(sys.stdin)
    sys.path.insert(0, directory)
    clock = Clock()
    import app

    clock.lap("import_app")
    container = sys.modules["chalicelib.wiring"].current()
    clock.lap("settings_and_log_format")
    container.identity.verify(event["headers"]["Authorization"].removeprefix("Bearer "))
    clock.lap("keys_and_token")
    container.tracker.read(container.settings.cohort)
    clock.lap("database_connection")
    _ = container.registry
    clock.lap("s3_client")
    container.champion.current()
    clock.lap("model")
    answer = app.app(event, Context())
    clock.lap("request_itself")
    body = json.loads(answer["body"])
    return {"status": answer["statusCode"], "source": body.get("prediction_source"), "body": body}, clock.laps


class Context:
    """As much of Lambda's context as is read."""

    aws_request_id = "cold-start"


class Clock:
    """Seconds from one lap to the next, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """End a lap."""
        now = time.monotonic()
        self.laps[name], self._last = now - self._last, now


def predict_with_tensorflow(directory: str) -> Outcome:
    """Import TensorFlow, load both models, predict once; returns (answer, seconds of each stage)."""
    clock = Clock()
    import keras
    import numpy as np
    import tensorflow as tf

    clock.lap("import")
    paths = [f"{directory}/{name}_model.keras" for name in ("correctness", "time")]
    models = [keras.saving.load_model(path, compile=False) for path in paths]
    clock.lap("load")
    for model in models:
        row = {tensor.name: np.zeros((1, *tensor.shape[1:]), tensor.dtype) for tensor in model.inputs}
        model.predict(row, verbose=0)
    clock.lap("predict")
    return {"version": tf.__version__}, clock.laps


def peak_bytes() -> int:
    """The most memory that the process ever had resident; not ``ru_maxrss``, which remembers the parent's."""
    with open("/proc/self/status") as status:  # noqa: PTH123 - pathlib is an import that counts
        line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


TASKS: dict[str, Callable[[str], Outcome]] = {
    "lambda": answer_event,
    "stages": answer_in_stages,
    "tensorflow": predict_with_tensorflow,
}


def main() -> None:
    """Do one of the three and print what it cost up to the answer."""
    what, directory = sys.argv[1:]
    answer, stages = TASKS[what](directory)
    answered = time.monotonic()
    times = os.times()
    cost = {
        "answered": answered,
        "cpu_seconds": times.user + times.system,
        "rss_bytes": peak_bytes(),
        "stages": {"interpreter": CAME_UP, **stages},
        "answer": answer,
    }
    import json

    print(json.dumps(cost), flush=True)


if __name__ == "__main__":
    main()
