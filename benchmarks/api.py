"""Serving: how long requests take and how many are answered a second, over HTTP and through the handler.

``python -m benchmarks.api --json`` starts a stack of its own in a temporary directory, imports the histories of one
student with 10,000 completed tasks and of some with 10, and trains once. Then it measures

- alone: creations, completions, every fifth of which asks for a training, pages of ten tasks and the status, over
  HTTP and in this process from API Gateway's event to the answer (``handler_``). The training worker is stopped
  meanwhile and a live request is cleared after each fifth completion, so that there are many fifths and no training;
- the same work by 1, 8 and 32 clients at once;
- the same work during a real training on the same cores (``training_``).

``history_ratio`` is the median with 10,000 completed tasks over the median with 10, the worst of create, complete and
list. References of the same run: ``root_p50_ms`` is an answer without token and database, ``select_1_p50_ms`` the
emptiest round trip to PostgreSQL. The last line is one JSON object; times in milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import psutil
from sqlalchemy import text

from benchmarks._clients import Client, rate, result_body, task_body
from benchmarks._durations import Durations
from benchmarks._load import command_line
from benchmarks._percentiles import percentile, rounded
from benchmarks.local_stack import temporary_stack
from chalicelib import logs, wiring
from chalicelib.domain.training import TrackerRow
from chalicelib.storage.training_queue import SqsTrainingQueue
from chalicelib.wiring import Container
from evaluation import simulator
from ops.imports.importer import import_file
from ops.stack import Stack, connect

LARGE, SMALL = 10_000, 10
TOPICS = tuple(f"Topic {n}" for n in range(25))
ROUNDS, ROUNDS_OF_A_SMALL_STUDENT = 80, 4
TRAINING_SECONDS = 30.0
_WAIT_SECONDS = 120.0
_REQUESTS = ("create", "complete", "list", "status")

Call = Callable[[str, str, str, Any], tuple[float, Any]]
"""(token, method, path, body) to (milliseconds, answer)."""


@dataclass(frozen=True, slots=True)
class Student:
    """A student with a history; ``practised`` are topics and difficulties that the history has."""

    token: str
    user_id: str
    practised: list[tuple[str, str]]


class Bench:
    """One stack with its students."""

    def __init__(self, stack: Stack, container: Container) -> None:
        self.stack = stack
        self.container = container
        self.errors = 0
        self.large = self._student(LARGE, 0)
        self.small = [self._student(SMALL, n + 1) for n in range(ROUNDS // ROUNDS_OF_A_SMALL_STUDENT)]
        self._clients: dict[str, Client] = {}

    def _student(self, n_answers: int, seed: int) -> Student:
        client = Client(self.stack.url)
        account = {"email": f"student-{uuid.uuid4().hex}@example.com", "password": uuid.uuid4().hex}
        user_id = client.call("POST", "/auth/register", account)["id"]
        token = client.call("POST", "/auth/login", account)["access_token"]
        client.close()
        answers = simulator.history(n_answers, 1, TOPICS, seed)
        with tempfile.TemporaryDirectory(prefix="studysmart-") as directory:
            path = Path(directory) / "history.csv"
            simulator.write_csv((answer._replace(user_id=user_id) for answer in answers), path)
            cohort = self.container.settings.cohort
            report = import_file(self.container.engine, cohort, path, datetime.now(UTC), lambda _: None)
        assert report.added == n_answers, f"{report.added} answers were imported"
        return Student(token, user_id, sorted({(answer.topic, answer.difficulty) for answer in answers}))

    def over_http(self, token: str, method: str, path: str, body: Any) -> tuple[float, Any]:
        """A request to the stack's server over the student's kept connection."""
        client = self._clients.get(token) or self._clients.setdefault(token, Client(self.stack.url, token))
        errors = client.errors
        answer = client.call(method, path, body)
        self.errors += client.errors - errors
        return client.ms, answer

    def hang_up(self) -> None:
        """Begin with fresh connections: the server closes those that were idle for long."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def through_handler(self, token: str, method: str, path: str, body: Any) -> tuple[float, Any]:
        """API Gateway's event to the application in this process."""
        from app import app

        path, _, query = path.partition("?")
        task_id = path.removeprefix("/practice-tasks/") if path.startswith("/practice-tasks/") else None
        resource = path if task_id is None else "/practice-tasks/{task_id}"
        event = {
            "path": path,
            "headers": {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            "multiValueQueryStringParameters": {k: [v] for k, _, v in [query.partition("=")]} if query else None,
            "pathParameters": None if task_id is None else {"task_id": task_id},
            "stageVariables": None,
            "requestContext": {"httpMethod": method, "resourcePath": resource, "path": path},
            "body": None if body is None else json.dumps(body),
            "isBase64Encoded": False,
        }
        started = time.perf_counter()
        answer = app(event, None)
        ms = (time.perf_counter() - started) * 1_000
        if answer["statusCode"] >= 300:
            self.errors += 1
            return ms, {}
        return ms, json.loads(answer["body"])

    def reset(self, counter: int) -> None:
        """Set the counter and forget a live request, so that the next full counter asks for a training again."""
        with self.container.engine.connect() as connection:
            connection.execute(
                text(
                    "UPDATE embedding_model_tracker SET n_samples_since_training = :n, progress = NULL, "
                    "training_request_id = NULL, training_requested_at = NULL, training_enqueued_at = NULL, "
                    "lease_expires_at = NULL"
                ),
                {"n": counter},
            )

    def round(self, call: Call, durations: Durations, size: str, student: Student, n: int) -> None:
        """Five tasks created and completed, and in the midst of them a page of ten and the status.

        The message that the fifth answer's request sends afterwards thus meets the next creation.
        """
        for i in range(5):
            topic, difficulty = student.practised[(n * 5 + i) % len(student.practised)]
            ms, task = call(student.token, "POST", "/practice-tasks", task_body(topic, difficulty))
            durations.add("create", size, ms)
            path = f"/practice-tasks/{task.get('id', 'none')}"
            ms, done = call(student.token, "PATCH", path, result_body(is_correct=i % 3 > 0))
            fifth = bool(done.get("training", {}).get("queued"))
            durations.add("fifth" if fifth else "complete", size, ms)
            if i == 2:
                for what, path in (("list", "/practice-tasks?limit=10"), ("status", "/model/status")):
                    durations.add(what, size, call(student.token, "GET", path, None)[0])

    def alone(self, call: Call, rounds: int) -> Durations:
        """Rounds of the large student and of small ones in turn, each with one completion that asks for a training."""
        self.hang_up()
        warm_up, durations = Durations(), Durations()
        for n in range(-3, rounds):
            small = self.small[max(n, 0) // ROUNDS_OF_A_SMALL_STUDENT % len(self.small)]
            for size, student in (("small", small), ("large", self.large)):
                self.reset(0)
                self.round(call, durations if n >= 0 else warm_up, size, student, n)
        self.reset(0)
        return durations

    def during_training(self, seconds: float) -> tuple[Durations, float]:
        """Rounds over HTTP while trainings run one after the other; also the share of the time in which one ran."""
        self.hang_up()
        self.reset(self.container.policy.threshold)
        durations, running, n = Durations(), [], 0
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            small = self.small[n % len(self.small)]
            for size, student in (("small", small), ("large", self.large)):
                self.round(self.over_http, durations, size, student, n)
            status = self.over_http(self.large.token, "GET", "/model/status", None)[1]
            running.append(status["training"] == "running")
            if not running[-1] and n == 0:
                self.until_running()
            n += 1
        return durations, sum(running) / len(running)

    def references(self) -> dict[str, float]:
        """The emptiest answer over HTTP, and the emptiest round trip to PostgreSQL."""
        root, select = [], []
        with self.container.engine.connect() as connection:
            for _ in range(300):
                root.append(self.over_http(self.large.token, "GET", "/", None)[0])
                started = time.perf_counter()
                connection.exec_driver_sql("SELECT 1").scalar_one()
                select.append((time.perf_counter() - started) * 1_000)
        return {
            "root_p50_ms": rounded(percentile(root, 0.5)),
            "select_1_p50_ms": rounded(percentile(select, 0.5)),
        }

    def train(self) -> float:
        """Complete until a training starts and wait for its end; seconds from the completion."""
        began = time.monotonic()
        self.reset(self.container.policy.threshold - 1)
        self.round(self.over_http, Durations(), "small", self.small[0], 0)
        self.when_idle()
        return time.monotonic() - began

    def when_idle(self) -> None:
        """Wait until no training is asked for."""
        self._until(lambda: self._tracker().training_request_id is None, "the training does not end")
        assert not self._tracker().last_error, self._tracker().last_error

    def until_running(self) -> None:
        """Wait until a worker has taken the training that was asked for."""
        self._until(lambda: self._tracker().lease_live, "no worker takes the training")

    def drain(self) -> None:
        """Drop the messages of the requests that were cleared, as the worker would do one by one."""
        queue = self.container.queue
        assert isinstance(queue, SqsTrainingQueue)
        deadline = time.monotonic() + _WAIT_SECONDS
        while queue.depth() != (0, 0):
            assert time.monotonic() < deadline, "the messages of cleared requests do not end"
            if (delivery := queue.receive(1)) is not None:
                queue.delete(delivery)

    def _tracker(self) -> TrackerRow:
        return self.container.tracker.read(self.container.settings.cohort)

    def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + _WAIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, otherwise
            time.sleep(0.1)

    def rates(self, n: int) -> dict[str, float]:
        """Requests per second by the number of clients, and completions alone by eight."""
        tokens = [[self.small[i % len(self.small)].token] for i in range(32)]
        figures = {}
        for clients in (1, 8, 32):
            figures[f"requests_per_s_{clients}"] = self._rate(tokens[:clients], n // clients, only_completions=False)
        figures["completions_per_s"] = self._rate(tokens[:8], n // 8, only_completions=True)
        return figures

    def _rate(self, tokens: Sequence[Sequence[str]], n: int, *, only_completions: bool) -> float:
        self.reset(0)
        per_second, errors = rate(self.stack.url, tokens, n, only_completions=only_completions)
        self.errors += errors
        return rounded(per_second)


@contextlib.contextmanager
def worker_stopped(stack: Stack) -> Iterator[None]:
    """Stop the training workers for the time of the block."""
    supervisor = psutil.Process(json.loads((stack.state_dir / "stack.json").read_text())["pid"])
    workers = [child for child in supervisor.children(recursive=True) if "training_job" in command_line(child)]
    assert workers, "no training worker runs"
    for worker in workers:
        worker.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGCONT)


def measure(
    stack: Stack, rounds: int, training_seconds: float, say: Callable[[str], None], nowhere: TextIO
) -> dict[str, Any]:
    """All figures of a stack that was just started; the handler's log lines go ``nowhere``."""
    container = connect(str(stack.state_dir))
    wiring.install(container)
    logs.configure(container.settings.log_format, container.settings.log_level, nowhere)
    say("histories")
    bench = Bench(stack, container)
    say("first training")
    train_s = bench.train()
    with worker_stopped(stack):
        say("over HTTP")
        references = bench.references()
        over_http = bench.alone(bench.over_http, rounds)
        say("through the handler")
        handler = bench.alone(bench.through_handler, rounds)
        say("many clients")
        rates = bench.rates(800)
        bench.drain()
    say("during training")
    training, running = bench.during_training(training_seconds)
    return {
        **over_http.figures("", *_REQUESTS, "fifth"),
        "history_ratio": rounded(over_http.history_ratio()),
        "fifth_ratio": rounded(over_http.fifth_ratio()),
        **{
            f"{what}_p50_ms_{n}": rounded(over_http.p(0.5, what, size))
            for what in ("create", "complete", "list")
            for n, size in ((SMALL, "small"), (LARGE, "large"))
        },
        **training.figures("training_", *_REQUESTS),
        "training_running_share": rounded(running),
        **rates,
        **handler.figures("handler_", *_REQUESTS, "fifth"),
        "handler_history_ratio": rounded(handler.history_ratio()),
        "handler_fifth_ratio": rounded(handler.fifth_ratio()),
        **references,
        "errors": bench.errors,
        "first_training_s": rounded(train_s),
        "cpus": os.cpu_count(),
        "load_1min": rounded(os.getloadavg()[0]),
    }


def main() -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the JSON line, no progress")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of ten creations and completions each")
    parser.add_argument("--training-seconds", type=float, default=TRAINING_SECONDS, help="length of the load")
    options = parser.parse_args()
    began = time.monotonic()

    def say(what: str) -> None:
        if not options.json:
            print(f"{time.monotonic() - began:6.1f} s  {what} ...", file=sys.stderr)

    say("starting a stack")
    with temporary_stack() as stack, Path(os.devnull).open("w") as nowhere:
        figures = measure(stack, options.rounds, options.training_seconds, say, nowhere)
    print(json.dumps(figures | {"seconds": rounded(time.monotonic() - began)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
