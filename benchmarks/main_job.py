"""The main job over HTTP: how long requests take, before, at and during a training, and how long the training takes.

``python -m benchmarks.main_job --json`` starts a stack of its own in a temporary directory, imports 679 simulated
answers, and drives one student's requests in sequence over one kept-open connection. The last line is one JSON object;
times in milliseconds, ``training_s`` (message received to champion moved) in seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks._percentiles import percentile, rounded
from benchmarks.client import ApiClient
from benchmarks.local_stack import temporary_stack
from chalicelib.domain.tasks import Difficulty
from chalicelib.wiring import Container
from evaluation import simulator
from ops.imports.importer import import_file
from ops.stack import Stack, connect

N_ANSWERS = 679
WARM_UP, MEASURED = 10, 200
_TRAINING_SECONDS = 120.0
_THINKING_SECONDS = 0.01


@dataclass
class Durations:
    """Milliseconds of each request of a phase."""

    create: list[float] = field(default_factory=list)
    complete: list[float] = field(default_factory=list)


Answers = Iterator[tuple[str, Difficulty, bool, int]]


def practise(client: ApiClient, answers: Answers, durations: Durations) -> dict[str, Any]:
    """Create a task and complete it; returns the completion's ``training``."""
    topic, difficulty, correct, seconds = next(answers)
    task = client.create(simulator.SUBJECT, topic, difficulty)
    durations.create.append(client.last_ms)
    done = client.complete(task["id"], correct, seconds)
    durations.complete.append(client.last_ms)
    return dict(done["training"])


def measure(stack: Stack, n: int) -> dict[str, Any]:
    """All figures, from a stack that was just started."""
    container = connect(str(stack.state_dir))
    _import(container)
    client = ApiClient(stack.url)
    client.register_and_login("Benchmark Student")
    answers = simulator.endless(1)
    figures = _before_training(client, container, answers, n)
    triggered = client.status()["last_trained_at"]
    during, status = _during_training(client, answers, triggered)
    training_s = _training_seconds(container, status["model_version"])
    settled = _settle(client, answers)
    last = client.create(simulator.SUBJECT, simulator.TOPICS[0], Difficulty.MEDIUM)
    client.close()
    return figures | {
        "training_s": training_s,
        "create_max_during_training_ms": rounded(max(during.create)),
        "complete_max_during_training_ms": rounded(max(during.complete)),
        "create_p50_during_training_ms": rounded(percentile(during.create, 0.5)),
        "complete_p50_during_training_ms": rounded(percentile(during.complete, 0.5)),
        "requests_during_training": len(during.create) + len(during.complete),
        "counter_after": settled["counter"],
        "source_after": last["prediction_source"],
        "samples": N_ANSWERS,
        "cpus": os.cpu_count(),
        "load_1min": rounded(os.getloadavg()[0]),
    }


def _import(container: Container) -> None:
    with tempfile.TemporaryDirectory(prefix="studysmart-") as directory:
        path = Path(directory) / "history.csv"
        simulator.write_csv(simulator.history(N_ANSWERS, seed=1), path)
        report = import_file(container.engine, container.settings.cohort, path, datetime.now(UTC), lambda _: None)
    assert report.added == N_ANSWERS, f"{report.added} answers were imported"


def _before_training(client: ApiClient, container: Container, answers: Answers, n: int) -> dict[str, Any]:
    """Requests while no training runs, then the one that triggers.

    The counter is set back all the while, so that only the last completion is a fifth one.
    """
    threshold, cohort = container.policy.threshold, container.settings.cohort
    for phase in (warm_up := Durations(), durations := Durations()):
        for i in range(WARM_UP if phase is warm_up else n):
            if i % (threshold - 1) == 0:
                container.tracker.set_counter(cohort, 0)
            practise(client, answers, phase)
    container.tracker.set_counter(cohort, threshold - 1)
    trigger = Durations()
    note = practise(client, answers, trigger)
    assert note["queued"], f"the fifth completion triggered nothing: {note}"
    return {
        "create_p50_ms": rounded(percentile(durations.create, 0.5)),
        "create_max_ms": rounded(max(durations.create)),
        "complete_p50_ms": rounded(percentile(durations.complete, 0.5)),
        "complete_max_ms": rounded(max(durations.complete)),
        "trigger_ms": rounded(trigger.complete[0]),
    }


def _during_training(
    client: ApiClient, answers: Answers, trained_before: str | None
) -> tuple[Durations, dict[str, Any]]:
    """Practise until the training is over, nothing of its time left out, up to the creation that loads its model.

    The student leaves no pause but a breath, so the machine is as busy as one client can make it.
    """
    durations = Durations()
    deadline = time.monotonic() + _TRAINING_SECONDS
    while time.monotonic() < deadline:
        practise(client, answers, durations)
        status = client.status()
        if status["last_trained_at"] != trained_before:
            topic, difficulty, _, _ = next(answers)
            client.create(simulator.SUBJECT, topic, difficulty)
            durations.create.append(client.last_ms)
            return durations, status
        assert not status["last_error"], status["last_error"]
        time.sleep(_THINKING_SECONDS)
    raise AssertionError(f"the training did not end in {_TRAINING_SECONDS:.0f} s")


def _settle(client: ApiClient, answers: Answers) -> dict[str, Any]:
    """The status after a training during which nobody practised: the load's own trainings are let finish first."""
    status = _when_idle(client)
    if status["counter"] == 0:
        return status
    while not practise(client, answers, Durations())["queued"]:
        pass
    return _when_idle(client)


def _when_idle(client: ApiClient) -> dict[str, Any]:
    deadline = time.monotonic() + _TRAINING_SECONDS
    while (status := client.status())["training"] != "idle":
        assert time.monotonic() < deadline, f"still {status['training']}"
        time.sleep(0.1)
    return status


def _training_seconds(container: Container, version: str) -> float:
    """Message received to champion moved, as the registry says right after the training."""
    cohort = container.settings.cohort
    found = container.registry.read_champion(cohort)
    assert found is not None, "there is no champion after the training"
    assert found[0].version == version, f"the champion is {found[0].version}, the tracker says {version}"
    received = container.registry.read_metadata(cohort, version)["received_at"]
    return rounded((datetime.fromisoformat(found[0].promoted_at) - datetime.fromisoformat(received)).total_seconds())


def main() -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.main_job", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the JSON line, no progress")
    parser.add_argument("--requests", type=int, default=MEASURED, help="creations and completions measured before")
    parser.add_argument(
        "--compute", choices=["ecs", "lambda"], default="ecs", help="train by the poll loop, or by the Lambda's handler"
    )
    options = parser.parse_args()
    if not options.json:
        print("starting a stack ...", file=sys.stderr)
    os.environ["TRAINING_COMPUTE"] = options.compute
    with temporary_stack() as stack:
        figures = measure(stack, options.requests)
    print(json.dumps({**figures, "compute": options.compute}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
