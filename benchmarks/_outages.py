"""Kills processes of a one-machine stack at random, and knows when its API was down because of that."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from urllib.parse import urlsplit

import psutil

from ops.stack import Stack

MODULES = {"api": "infra.local.api", "worker": "training_job"}

PAUSE_SECONDS = (3.0, 9.0)
"""Between two kills, at least and at most."""

KILLS_OF_A_TRAINING = 2
"""The third makes its message a dead letter, as it should, and the request waits ten minutes for the next one."""

_BACK_SECONDS = 120.0
_LOOK_SECONDS = 0.05


@dataclass(slots=True)
class Outages:
    """When the API was down: from a kill to the first answer of its successor. Times of the monotonic clock."""

    spans: list[tuple[float, float]] = field(default_factory=list)
    down_since: float | None = None

    def touched(self, began: float, ended: float) -> bool:
        """Whether the API was down at any time of a span."""
        open_ended = [] if self.down_since is None else [(self.down_since, float("inf"))]
        return any(began <= back and ended >= down for down, back in [*self.spans, *open_ended])

    @property
    def seconds(self) -> float:
        """How long the API was down in all."""
        return sum(back - down for down, back in self.spans)


class Killer(threading.Thread):
    """Sends SIGKILL to worker or API until it is told to stop. Which one and when is drawn from ``random``.

    ``in_hand`` gives the id of the live training request.
    """

    def __init__(self, stack: Stack, random: Random, in_hand: Callable[[], str | None]) -> None:
        super().__init__(name="killer", daemon=True)
        self.outages = Outages()
        self.kills: Counter[str] = Counter(dict.fromkeys(MODULES, 0))
        self.trouble: BaseException | None = None
        self._in_hand = in_hand
        self._deaths: Counter[str | None] = Counter()
        self._url = stack.url
        self._supervisor = psutil.Process(json.loads((stack.state_dir / "stack.json").read_text())["pid"])
        self._random = random
        self._stopped = threading.Event()

    def run(self) -> None:
        """Kill, wait for the API's successor, pause, and again."""
        try:
            while not self._stopped.wait(self._random.uniform(*PAUSE_SECONDS)):
                self._kill(self._next())
        except Exception as error:  # noqa: BLE001 - the thread that waits for this one raises it
            self.trouble = error

    def finish(self) -> None:
        """End the killing, and return when everything is up again."""
        self._stopped.set()
        self.join()
        if self.trouble is not None:
            raise self.trouble

    def _next(self) -> str:
        """Whose turn it is; a training that died too often already is spared."""
        who = self._random.choice(sorted(MODULES))
        if who == "worker" and (request := self._in_hand()) is not None:
            if self._deaths[request] == KILLS_OF_A_TRAINING:
                return "api"
            self._deaths[request] += 1
        return who

    def _kill(self, who: str) -> None:
        victim = self._process(MODULES[who])
        if who == "api":
            self.outages.down_since = time.monotonic()
        victim.kill()
        self.kills[who] += 1
        if who == "api":
            self._wait_for_successor(victim)

    def _process(self, module: str, other_than: int | None = None) -> psutil.Process:
        """The process that runs a module; one that was killed is there again soon."""
        deadline = time.monotonic() + _BACK_SECONDS
        while time.monotonic() < deadline:
            for child in self._supervisor.children():
                if child.pid != other_than and module in _command_line(child):
                    return child
            time.sleep(_LOOK_SECONDS)
        raise TimeoutError(f"{module} was not started again within {_BACK_SECONDS:.0f} s")

    def _wait_for_successor(self, victim: psutil.Process) -> None:
        self._process(MODULES["api"], victim.pid)
        # Taken from the backlog of the socket, which outlives the process, by the successor and nobody else.
        connection = http.client.HTTPConnection(urlsplit(self._url).netloc, timeout=_BACK_SECONDS)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        finally:
            connection.close()
        assert self.outages.down_since is not None
        self.outages.spans.append((self.outages.down_since, time.monotonic()))
        self.outages.down_since = None


def _command_line(process: psutil.Process) -> list[str]:
    """Empty for a process that has ended."""
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
