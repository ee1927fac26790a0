"""Students who use the API without a pause, and the killer of its processes; see :mod:`benchmarks.reliability`.

A student repeats what is safe to repeat until it is answered: whatever reads, a completion or correction (the same
result changes nothing), a registration (400 says that the account exists). A creation is not repeated, because a
second one would make a second task.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import httpx
import psutil

from benchmarks._clients import task_body
from ops.stack import Stack
from tests.support.faults.ledger import Ledger, Result

TOPICS = tuple(f"Topic {n}" for n in range(12))
LEVELS = ("easy", "medium", "hard", "expert")
MODULES = {"api": "infra.local.api", "worker": "training_job"}

THINKING_SECONDS = 0.01
"""Mean pause of a student: without one, the clients would take the processors from the worker and the API."""

SECONDS_BETWEEN_KILLS = (3.0, 9.0)
KILLS_OF_A_TRAINING = 2
"""The third kill makes the message a dead letter, as it should, and the request then waits ten minutes."""

_PATIENCE_SECONDS = 120.0
_PAUSE_SECONDS = 0.2


class Student(threading.Thread):
    """One account that acts at random until it is told to stop.

    ``ledger`` is shared by all students. ``troubles`` are the (begin, end) of requests that broke or were a 5xx, in
    seconds of the monotonic clock.
    """

    def __init__(self, name: str, url: str, random: Random, ledger: Ledger) -> None:
        super().__init__(name=name, daemon=True)
        # Every request opens a connection: a kept one to a killed process would break long after the kill.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(base_url=url, timeout=60.0, limits=limits)
        self._account = {"email": f"{name}@example.com", "password": f"password of {name}"}
        self._random, self._ledger = random, ledger
        self._open: list[str] = []
        self._done: dict[str, Result] = {}
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self.troubles: list[tuple[float, float]] = []

    def register(self) -> None:
        """Create the account and sign in."""
        self._insist("POST", "/auth/register", self._account)
        token = self._insist("POST", "/auth/login", self._account).json()["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def run(self) -> None:
        """Act until told to stop."""
        try:
            while not self._stopped.wait(self._random.expovariate(1 / THINKING_SECONDS)):
                self._act()
        except Exception as error:  # noqa: BLE001 - finish() raises it in the main thread
            self._error = error

    def finish(self) -> None:
        """Stop, and raise what went wrong in the thread."""
        self._stopped.set()
        self.join()
        self._http.close()
        if self._error is not None:
            raise self._error

    def _act(self) -> None:
        acts: dict[Callable[[], None], int] = {self._create: 4, self._read: 4}
        if self._open:
            acts[self._complete] = 8
        if self._done:
            acts |= {self._repeat: 2, self._correct: 2}
        (chosen,) = self._random.choices(list(acts), list(acts.values()))
        chosen()

    def _create(self) -> None:
        body = task_body(self._random.choice(TOPICS), self._random.choice(LEVELS))
        answer = self._send("POST", "/practice-tasks", body)
        if answer is not None:
            assert answer.status_code == 201, answer.text
            self._open.append(answer.json()["id"])

    def _complete(self) -> None:
        self._store(self._open.pop(self._random.randrange(len(self._open))), self._result())

    def _repeat(self) -> None:
        task_id = self._random.choice(list(self._done))
        self._store(task_id, self._done[task_id])

    def _correct(self) -> None:
        self._store(self._random.choice(list(self._done)), self._result())

    def _read(self) -> None:
        topic, level = self._random.choice(TOPICS).replace(" ", "%20"), self._random.choice(LEVELS)
        prediction = f"/predictions?subject=Mathematics&topic={topic}&difficulty={level}"
        paths = ("/practice-tasks?limit=10", prediction, "/recommendations", "/analytics/summary", "/model/status")
        self._insist("GET", self._random.choice(paths))

    def _store(self, task_id: str, result: Result) -> None:
        self._ledger.unanswered[task_id] = result
        body = {"completed": True, "is_correct": result[0], "actual_time_seconds": result[1]}
        answer = self._insist("PATCH", f"/practice-tasks/{task_id}", body)
        assert answer.status_code == 200, answer.text
        self._ledger.acknowledge(task_id, result)
        self._done[task_id] = result

    def _result(self) -> Result:
        return self._random.random() < 0.6, float(self._random.randrange(5, 300))

    def _insist(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        """Send until there is an answer below 500."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (answer := self._send(method, path, body)) is None:
            assert time.monotonic() < deadline, f"{method} {path} was not answered for {_PATIENCE_SECONDS:.0f} s"
            time.sleep(_PAUSE_SECONDS)
        return answer

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response | None:
        began = time.monotonic()
        try:
            answer = self._http.request(method, path, json=body)
        except httpx.TransportError:
            self.troubles.append((began, time.monotonic()))
            return None
        if answer.status_code >= 500:
            self.troubles.append((began, time.monotonic()))
            return None
        return answer


class Killer(threading.Thread):
    """Sends SIGKILL to the API or to a training worker, at random, until it is told to stop.

    ``current_request`` returns the id of the live training request. While it is the same, two workers are killed at
    most.
    """

    def __init__(self, stack: Stack, random: Random, current_request: Callable[[], str | None]) -> None:
        super().__init__(name="killer", daemon=True)
        self.kills: Counter[str] = Counter(dict.fromkeys(MODULES, 0))
        self._url, self._random, self._current_request = stack.url, random, current_request
        self._supervisor = psutil.Process(json.loads((stack.state_dir / "stack.json").read_text())["pid"])
        self._deaths: Counter[str | None] = Counter()
        self._outages: list[tuple[float, float]] = []
        self._stopped = threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        """Kill, wait for the API's successor, pause, and again."""
        try:
            while not self._stopped.wait(self._random.uniform(*SECONDS_BETWEEN_KILLS)):
                self._kill(self._next())
        except Exception as error:  # noqa: BLE001 - finish() raises it in the main thread
            self._error = error

    def finish(self) -> None:
        """Stop, return when everything is up again, and raise what went wrong in the thread."""
        self._stopped.set()
        self.join()
        if self._error is not None:
            raise self._error

    def was_down(self, began: float, ended: float) -> bool:
        """Return whether the API was down at some time between two moments; call it after :meth:`finish`."""
        return any(began <= back and ended >= down for down, back in self._outages)

    def _next(self) -> str:
        who = self._random.choice(sorted(MODULES))
        if who == "worker" and (request := self._current_request()) is not None:
            if self._deaths[request] == KILLS_OF_A_TRAINING:
                return "api"
            self._deaths[request] += 1
        return who

    def _kill(self, who: str) -> None:
        victim, down = self._process(MODULES[who]), time.monotonic()
        victim.kill()
        self.kills[who] += 1
        if who == "api":
            self._process(MODULES["api"], other_than=victim.pid)
            # The socket outlives the process, so this waits in its backlog for the successor.
            httpx.get(self._url, timeout=_PATIENCE_SECONDS)
            self._outages.append((down, time.monotonic()))

    def _process(self, module: str, other_than: int | None = None) -> psutil.Process:
        """Return the process that runs a module; one that was killed is started again soon."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            found = [child for child in self._supervisor.children() if module in command_line(child)]
            if found := [child for child in found if child.pid != other_than]:
                return self._random.choice(found)
            time.sleep(0.05)
        raise TimeoutError(f"{module} was not started again within {_PATIENCE_SECONDS:.0f} s")


def command_line(process: psutil.Process) -> list[str]:
    """Return the words of a process's command, none for one that has ended."""
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
