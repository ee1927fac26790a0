"""From the start of a process to the first prediction answered, out of the packaged zip, compared with TensorFlow.

``python -m benchmarks.cold_start --json`` builds the zip, unpacks it, starts a stack of its own in a temporary
directory, trains a version there, and then starts fresh processes that have the package and no other site-packages.
Each answers one ``POST /practice-tasks`` as API Gateway sends it: verify the token, read the state, load the model,
predict, store. The reference does less: import TensorFlow, load the same two models, predict once, nothing stored.
The two take turns, with the files in the page cache. ``stages_ms`` says where the time goes: ``import_app`` and
``first_request`` of the measured runs, and the parts of the first request from runs that ask for one after the other.

``seconds`` (wall clock since the process was started) and ``cpu_seconds`` are medians, ``rss_mb`` is the greatest
resident size of any run; a MB is 10^6 bytes. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks._percentiles import rounded
from benchmarks.local_stack import temporary_stack
from chalicelib.domain.tasks import Difficulty, NewTask, TaskChange
from chalicelib.services import tasks
from chalicelib.wiring import Container
from evaluation import simulator
from infra.package import build, check, install
from ops.imports.importer import import_file
from ops.stack import Stack, connect

N_ANSWERS, N_USERS, N_OWN = 5_000, 50, 5
TOPICS = tuple(f"Topic {n}" for n in range(100))
RUNS, STAGED_RUNS, TENSORFLOW_RUNS = 15, 5, 5

_ROOT = Path(__file__).resolve().parents[1]
_PROGRAM = Path(__file__).with_name("_fresh_process.py")
_TRAINING_SECONDS = 150.0


@dataclass(slots=True)
class Costs:
    """What the runs of one kind cost: seconds, CPU seconds, bytes, and the seconds of each stage."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    rss_bytes: list[int] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=dict)

    def add(self, command: list[str], environment: Mapping[str, str], given: str = "") -> dict[str, Any]:
        """Run a fresh process and note what it cost; returns its answer."""
        started = time.monotonic()
        done = subprocess.run(
            command, env=dict(environment), input=given, cwd="/", capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
        cost = json.loads(done.stdout.splitlines()[-1])
        self.seconds.append(cost["answered"] - started)
        self.cpu_seconds.append(cost["cpu_seconds"])
        self.rss_bytes.append(cost["rss_bytes"])
        cost["stages"]["interpreter"] -= started
        for name, seconds in cost["stages"].items():
            self.stages.setdefault(name, []).append(seconds)
        return dict(cost["answer"])

    @property
    def median_stages(self) -> dict[str, float]:
        """Median milliseconds of each stage."""
        return {name: rounded(statistics.median(values) * 1_000) for name, values in self.stages.items()}


def measure(python: str, package: Path, stack: Stack, runs: int, work: Path) -> dict[str, Any]:
    """All figures of cold starts from the unpacked package against a stack that was just started."""
    container = connect(str(stack.state_dir))
    token = _sign_in(container)
    files = _publish(container, token, work)
    event = json.dumps(_event(token))
    environment = {**stack.environment, "LOG_FORMAT": "json", "PATH": os.defpath}
    quiet = {"PATH": os.defpath, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}
    warm_up, cold, staged, reference = Costs(), Costs(), Costs(), Costs()

    def start(costs: Costs, what: str = "lambda") -> None:
        answer = costs.add([python, "-I", "-S", str(_PROGRAM), what, str(package)], environment, event)
        assert (answer["status"], answer["source"]) == (201, "embedding"), answer

    start(warm_up)  # brings the files into the page cache
    for run in range(1, runs + 1):
        start(cold)
        if run % max(runs // STAGED_RUNS, 1) == 0:
            start(staged, "stages")
        if run % max(runs // TENSORFLOW_RUNS, 1) == 0:
            reference.add([sys.executable, "-I", str(_PROGRAM), "tensorflow", str(work)], quiet)
    container.engine.dispose()
    return {
        "seconds": rounded(statistics.median(cold.seconds)),
        "cpu_seconds": rounded(statistics.median(cold.cpu_seconds)),
        "rss_mb": rounded(max(cold.rss_bytes) / 1e6),
        "speedup_vs_tensorflow": rounded(statistics.median(reference.seconds) / statistics.median(cold.seconds)),
        "seconds_max": rounded(max(cold.seconds)),
        "stages_ms": staged.median_stages | cold.median_stages,
        "cpu_speedup_vs_tensorflow": rounded(
            statistics.median(reference.cpu_seconds) / statistics.median(cold.cpu_seconds)
        ),
        "tensorflow_seconds": rounded(statistics.median(reference.seconds)),
        "tensorflow_cpu_seconds": rounded(statistics.median(reference.cpu_seconds)),
        "tensorflow_rss_mb": rounded(max(reference.rss_bytes) / 1e6),
        "tensorflow_stages_ms": reference.median_stages,
        "runs": runs,
        "tensorflow_runs": len(reference.seconds),
        "model_bytes": sum(map(len, files.values())),
        "load_1min": rounded(os.getloadavg()[0]),
    }


def _publish(container: Container, token: str, work: Path) -> dict[str, bytes]:
    """Import answers, add a student's own, let the stack's worker train, and put the version's files into ``work``."""
    history = work / "history.csv"
    simulator.write_csv(simulator.history(N_ANSWERS, N_USERS, TOPICS, seed=1), history)
    cohort = container.settings.cohort
    report = import_file(container.engine, cohort, history, datetime.now(UTC), lambda _: None)
    assert report.added == N_ANSWERS, f"{report.added} answers were imported"
    user_id = container.identity.verify(token).user_id
    for topic in TOPICS[:N_OWN]:
        new = NewTask(simulator.SUBJECT, topic, Difficulty.MEDIUM, "1/2 + 1/3 = ?")
        task = tasks.create_task(container.tasks, container.champion, user_id, new)
        change = TaskChange(is_correct=True, actual_time_seconds=30.0)
        tasks.update_task(
            container.tasks,
            container.champion,
            container.tracker,
            container.queue,
            container.policy,
            user_id,
            task.id,
            change,
        )
    version = _trained_version(container)
    files = container.registry.read_version(cohort, version)
    for name, body in files.items():
        (work / name).write_bytes(body)
    return dict(files)


def _trained_version(container: Container) -> str:
    deadline = time.monotonic() + _TRAINING_SECONDS
    while (row := container.tracker.read(container.settings.cohort)).model_version is None or row.training_request_id:
        assert not row.last_error, row.last_error
        assert time.monotonic() < deadline, f"the training did not end in {_TRAINING_SECONDS:.0f} s"
        time.sleep(0.1)
    return row.model_version


def _sign_in(container: Container) -> str:
    """The access token of a new student."""
    email, password = "student@example.com", "correct horse battery"
    container.identity.register(email, password, "Benchmark Student")
    return container.identity.login(email, password).access_token


def _event(token: str) -> dict[str, Any]:
    """A creation as API Gateway's REST API hands it to the Lambda."""
    body = {"subject": simulator.SUBJECT, "topic": TOPICS[0], "difficulty": "medium", "task_content": "1/2 + 1/3 = ?"}
    resource, stage = "/practice-tasks", "v1"
    return {
        "resource": resource,
        "path": resource,
        "httpMethod": "POST",
        "headers": {"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
        "multiValueHeaders": None,
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "resourcePath": resource,
            "httpMethod": "POST",
            "path": f"/{stage}{resource}",
            "stage": stage,
        },
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }


def _package(work: Path) -> tuple[str, Path, dict[str, float]]:
    """(the Python that runs it, the unpacked package, its sizes), built from this checkout."""
    python = install.find_python()
    if python is None:
        raise RuntimeError("the package is for Python 3.13, which was not found")
    target = work / "package.zip"
    (work / "build").mkdir()
    build.build(_ROOT, target, work / "build", python)
    with zipfile.ZipFile(target) as written:
        written.extractall(work / "package")
        unpacked = check.unpacked_bytes(written)
    sizes = {"zip_mb": rounded(target.stat().st_size / 1e6), "unzipped_mb": rounded(unpacked / 1e6)}
    return python, work / "package", sizes


def main() -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_start", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the JSON line, no progress")
    parser.add_argument("--runs", type=int, default=RUNS, help="cold starts to measure (%(default)s)")
    options = parser.parse_args()

    def say(line: str) -> None:
        if not options.json:
            print(line, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="studysmart-") as directory:
        work = Path(directory)
        say("building the package ...")
        python, package, sizes = _package(work)
        say("starting a stack, training a version ...")
        with temporary_stack() as stack:
            figures = measure(python, package, stack, options.runs, work)
    print(json.dumps(figures | sizes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
