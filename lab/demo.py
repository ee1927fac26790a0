"""The main job from end to end over HTTP: ``make demo`` or ``python -m lab.demo``.

It imports some history, registers a student, completes tasks until a training is triggered, follows the training, and
shows the prediction for a next task before and after. It uses the stack that runs on the state directory, or starts one
in a temporary directory and stops it at the end. The exit status is 0 only if every step succeeded.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.client import ApiClient, ApiError
from benchmarks.local_stack import temporary_stack
from chalicelib.domain.errors import StudySmartError
from chalicelib.domain.tasks import Difficulty
from evaluation import selection, simulator
from lab.scenes import N_ANSWERS, N_TOPICS, N_USERS, SEED, SceneError, import_history
from ops.stack import Stack, running_stack, state_directory

_TRAINING_SECONDS = 300.0
_POLL_SECONDS = 0.05


class DemoError(Exception):
    """A step did not have the expected effect; the text says which."""


def main() -> int:
    """Run the demonstration and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lab.demo", description="Show the main job from end to end.")
    parser.add_argument("--file", type=Path, help="take the answers from this CSV file instead of simulating them")
    parser.add_argument("--state-dir", help="state directory of a running stack to use (default: STATE_DIR, or .local)")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="studysmart-") as directory:
            history = _history(options.file, Path(directory) / "history.csv")
            with _stack(options.state_dir) as stack:
                demonstrate(stack, history)
    except (DemoError, SceneError, ApiError, StudySmartError, OSError) as error:
        print(f"The demonstration failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("Every step succeeded.")
    return 0


@dataclass(frozen=True, slots=True)
class History:
    """A file of answers, and the most frequent kind of task in it."""

    path: Path
    subject: str
    topic: str
    difficulty: str


@contextmanager
def _stack(state_dir: str | None) -> Iterator[Stack]:
    directory = state_directory(state_dir)
    stack = running_stack(directory)
    if stack is not None:
        print(f"Using the stack at {stack.url}")
        yield stack
        return
    print(f"No stack is running in {directory}: starting one in a temporary directory ...", flush=True)
    with temporary_stack() as stack:
        print(f"Started at {stack.url}")
        yield stack


def demonstrate(stack: Stack, history: History) -> None:
    """Run every step on a stack. Raises DemoError when one does not have the expected effect."""
    print(f"Import: {import_history(stack, history.path, N_ANSWERS).summary()}")
    subject, topic, difficulty = history.subject, history.topic, history.difficulty
    client = ApiClient(stack.url)
    print(f"Registered and logged in {client.register_and_login('Demo Student')}")
    _wait_until_idle(client)
    before = client.prediction(subject, topic, difficulty)
    print(f"Prediction for a next task before: {_shown(before)}", flush=True)
    if before["prediction_source"] not in ("default", "lnirt"):
        raise DemoError(f"the prediction for a new student came from {before['prediction_source']}")
    trained_before = client.status()["last_trained_at"]
    _complete_until_triggered(client, subject, topic)
    _follow_training(client, trained_before)
    after = client.create(subject, topic, difficulty)
    print(f"Prediction for a next task after:  {_shown(after)}")
    if after["prediction_source"] != "embedding":
        raise DemoError(f"after the training a prediction still came from {after['prediction_source']}")
    client.close()


def _history(file: Path | None, path: Path) -> History:
    """Write the answers to import to ``path``: simulated ones, or some of ``file``."""
    if file is None:
        simulator.write_csv(simulator.history(N_ANSWERS, N_USERS, simulator.TOPICS[:N_TOPICS], SEED), path)
        return History(path, simulator.SUBJECT, simulator.TOPICS[0], Difficulty.MEDIUM.value)
    rows = selection.select(file, N_ANSWERS, N_USERS, N_TOPICS)
    selection.write_csv(rows, path)
    users, topics = len({row.user_id for row in rows}), len({row.key for row in rows})
    print(f"Took {len(rows)} answers of {users} users on {topics} topics from {file}")
    kinds = Counter((row.subject, row.topic, row.difficulty) for row in rows)
    subject, topic, level = kinds.most_common(1)[0][0]
    return History(path, subject, topic, Difficulty.from_numeric(level).value)


def _wait_until_idle(client: ApiClient) -> None:
    """Wait for the end of a training of others: during one, no completion triggers another."""
    deadline = time.monotonic() + _TRAINING_SECONDS
    status = client.status()
    if status["training"] != "idle":
        print("A training is already running, waiting for its end ...", flush=True)
    while status["training"] != "idle":
        if time.monotonic() > deadline:
            raise DemoError(f"the running training did not end in {_TRAINING_SECONDS:.0f} s")
        time.sleep(0.5)
        status = client.status()
    counter, threshold = status["counter"], status["threshold"]
    if counter:
        left = max(threshold - counter, 1)
        print(f"The counter is already at {counter}/{threshold}: {left} more completions trigger a training.")


def _complete_until_triggered(client: ApiClient, subject: str, topic: str) -> None:
    maximum = int(client.status()["threshold"]) + 1
    for _, difficulty, correct, seconds in islice(simulator.endless(SEED), maximum):
        task = client.create(subject, topic, difficulty)
        training = client.complete(task["id"], correct, seconds)["training"]
        print(f"counter: {training['counter']}/{training['threshold']}", flush=True)
        if training["queued"]:
            return
    raise DemoError(f"{maximum} completions triggered no training")


def _follow_training(client: ApiClient, trained_before: str | None) -> None:
    """Print start, epochs and end of the training. Raises DemoError when it fails, is skipped, or takes too long."""
    deadline = time.monotonic() + _TRAINING_SECONDS
    started = False
    epoch = ""
    while time.monotonic() < deadline:
        status = client.status()
        if status["training"] == "running" and not started:
            started = True
            print("Background training started", flush=True)
        shown = _epoch(status["progress"])
        if shown and shown != epoch:
            epoch = shown
            print(f"  {epoch}", flush=True)
        if status["last_error"]:
            raise DemoError(f"the training failed: {status['last_error']}")
        if status["last_trained_at"] != trained_before:
            break
        if status["training"] == "idle":
            raise DemoError("the training ended without a model")
        time.sleep(_POLL_SECONDS)
    else:
        raise DemoError(f"the training did not end in {_TRAINING_SECONDS:.0f} s")
    if not started:
        raise DemoError("the training was never seen running")
    print("Background training complete")
    print(f"counter: {status['counter']}/{status['threshold']}")
    if status["counter"]:
        raise DemoError(f"the counter is at {status['counter']} after the training (another student is practising)")


def _epoch(progress: dict[str, Any] | None) -> str:
    if not progress or "epoch" not in progress:
        return ""
    return f"{progress.get('phase', 'epoch')} {progress['epoch']}/{progress.get('epochs', '?')}"


def _shown(prediction: dict[str, Any]) -> str:
    correct, seconds = prediction["predicted_correct"], prediction["predicted_time_seconds"]
    return f"{correct:.3f} correct, {seconds} s, source {prediction['prediction_source']}"


if __name__ == "__main__":
    sys.exit(main())
