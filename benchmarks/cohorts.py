"""Cohorts side by side: completions per second, and a small cohort's training during that of a large one.

``python -m benchmarks.cohorts --json`` starts a stack with two training workers. In the first part 8 clients complete
tasks over HTTP as 64 students, who are all in one cohort, in 8 or in 64 (``completions_per_s``). The three cases have
students of their own and are measured in turns. ``ratio_64_to_1`` is the median over the rounds of the one rate divided
by the other. ``exact`` is true if the tracker of each cohort has counted each completion once. No training runs.

In the second part a cohort of four students trains: alone, and twice while a cohort with 40,000 answers trains.
``delay_s`` is the time from the request until a worker has taken the lease. ``training_s`` ends when the API predicts
with the version that serves after it. ``alone`` is, as a rule, by the worker that has TensorFlow in memory.
``small_delay_s`` and ``small_training_s`` are those of the first training next to the large one: the worker in reserve
has to import TensorFlow for it. ``again`` is the next training, for which it is there. ``large_lasted`` is true if the
large cohort trained during all of this, and ``large_training_s`` are the seconds of its training. On a busy machine
``again`` and ``large_training_s`` may be null: after four minutes nothing is begun or waited for.

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks._clients import Client, rate
from benchmarks._percentiles import rounded
from benchmarks.local_stack import temporary_stack
from chalicelib.domain.training import TrackerRow
from chalicelib.services.training import force_training
from chalicelib.wiring import Container
from evaluation import simulator
from ops.imports.importer import import_file
from ops.stack import Stack, connect

N_COHORTS = (1, 8, 64)
STUDENTS, CLIENTS, ROUNDS, EACH = 64, 8, 3, 32
"""``EACH`` is the number of completions of a client in a round."""

SIGN_UPS = 4
"""Accounts that are made at the same time: as many as the stack's proxy admits."""

SMALL_STUDENTS, SMALL_ANSWERS = 4, 60
LARGE_STUDENTS, LARGE_ANSWERS = 400, 40_000
SETTINGS = {"TRAINING_WORKERS": "2", "TRAINING_THRESHOLD": "1000000"}
"""Trainings begin only where the benchmark requests them."""

_WAIT_SECONDS = 300.0
_ENOUGH_SECONDS = 240.0
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Student:
    """An account and an access token for it."""

    user_id: str
    token: str


class Bench:
    """A stack, the students on it, and what they do."""

    def __init__(self, stack: Stack, container: Container) -> None:
        self.stack = stack
        self.container = container
        self.errors = 0
        self._began = time.monotonic()
        self._pool = ThreadPoolExecutor(SIGN_UPS)

    def join(self, cohort: str, n: int) -> list[Student]:
        """Make accounts in a cohort. They send no request before they are in it."""
        found = list(self._pool.map(self._account, range(n)))
        moved = self._put([one.user_id for one in found], cohort)
        assert moved == n, f"{moved} of {n} students were moved to {cohort}"
        return found

    def _account(self, _: int) -> Student:
        client = Client(self.stack.url)
        account = {"email": f"student-{uuid.uuid4().hex}@example.com", "password": uuid.uuid4().hex}
        user_id = client.call("POST", "/auth/register", account)["id"]
        token = client.call("POST", "/auth/login", account)["access_token"]
        client.close()
        return Student(user_id, token)

    def _put(self, user_ids: Sequence[str], cohort: str) -> int:
        """Put students into a cohort, which is made with its tracker, and return their number."""
        self.container.tracker.set_counter(cohort, 0)
        return self.container.cohorts.move(user_ids, cohort)

    def rates(self, rounds: int) -> dict[str, Any]:
        """Return the completions per second by the number of cohorts."""
        cases = {n: self._divided(n) for n in N_COHORTS}
        shares = {n: shared([[student.token for student in group] for group in groups]) for n, groups in cases.items()}
        rates: dict[int, list[float]] = {n: [] for n in N_COHORTS}
        for k in range(rounds):
            # Each round begins with another case: the first one after a pause is slower.
            for n in in_turn(N_COHORTS, k):
                per_second, errors = rate(self.stack.url, shares[n], EACH, only_completions=True)
                rates[n].append(per_second)
                self.errors += errors
        totals = [self._tracker(f"of-{n}-{i}").n_samples_total for n in N_COHORTS for i in range(n)]
        expected = [rounds * CLIENTS * EACH // n for n in N_COHORTS for _ in range(n)]
        return {
            "completions_per_s": {n: rounded(statistics.median(of)) for n, of in rates.items()},
            **{f"ratio_{n}_to_1": ratio(rates[1], rates[n]) for n in N_COHORTS[1:]},
            "exact": totals == expected,
        }

    def _divided(self, n: int) -> list[list[Student]]:
        """Make students in ``n`` cohorts of equal size."""
        everybody = self.join(f"of-{n}-0", STUDENTS)
        groups = [everybody[i::n] for i in range(n)]
        for i, group in enumerate(groups[1:], 1):
            self._put([one.user_id for one in group], f"of-{n}-{i}")
        return groups

    def trainings(self) -> dict[str, Any]:
        """Return the times of trainings of a small cohort, alone and during that of a large one."""
        (student, *others) = self.join("small", SMALL_STUDENTS)
        small = [one.user_id for one in (student, *others)]
        topic, difficulty = self._import("small", small, SMALL_ANSWERS)
        self._import("large", [f"large-{n}" for n in range(LARGE_STUDENTS)], LARGE_ANSWERS)
        path = f"/predictions?subject={simulator.SUBJECT}&topic={topic}&difficulty={difficulty}"

        def serving() -> str | None:
            # The server closes connections that are idle during a training.
            client = Client(self.stack.url, student.token)
            found: str | None = client.call("GET", path).get("model_version")
            self.errors += client.errors
            client.close()
            return found

        def train() -> dict[str, float]:
            began = time.monotonic()
            self._request("small")
            delay = time.monotonic() - began
            version = self._after("small")
            self._until(lambda: serving() == version, f"{version} does not serve")
            return {"delay_s": rounded(delay), "training_s": rounded(time.monotonic() - began)}

        alone = train()
        began = time.monotonic()
        self._request("large")
        first = train()
        again = train() if time.monotonic() < self._began + _ENOUGH_SECONDS else None
        lasted = self._tracker("large").lease_live
        while (trains := self._tracker("large").lease_live) and time.monotonic() < self._began + _ENOUGH_SECONDS:
            time.sleep(_LOOK_SECONDS)
        return {
            "small_delay_s": first["delay_s"],
            "small_training_s": first["training_s"],
            "again": again,
            "alone": alone,
            "large_lasted": lasted,
            "large_training_s": None if trains else rounded(time.monotonic() - began),
        }

    def _import(self, cohort: str, user_ids: Sequence[str], n_answers: int) -> tuple[str, str]:
        """Import simulated answers of students. Return the topic and difficulty of the first student's last one."""
        answers = simulator.history(n_answers, len(user_ids))
        renamed = [answer._replace(user_id=user_ids[n % len(user_ids)]) for n, answer in enumerate(answers)]
        with tempfile.TemporaryDirectory(prefix="studysmart-") as directory:
            path = Path(directory) / "history.csv"
            simulator.write_csv(renamed, path)
            report = import_file(self.container.engine, cohort, path, datetime.now(UTC), lambda _: None)
        assert report.added == n_answers, f"{report.added} answers were imported"
        last = renamed[-len(user_ids)]
        return last.topic, last.difficulty

    def _request(self, cohort: str) -> None:
        """Request a training, and wait until a worker has taken it."""
        request = force_training(self.container.tracker, self.container.queue, cohort)
        assert request is not None, f"a training of {cohort} runs already"
        self._until(lambda: self._tracker(cohort).lease_live, f"no worker takes the training of {cohort}")

    def _after(self, cohort: str) -> str:
        """Wait for the end of a training, and return the version that serves after it."""
        self._until(lambda: self._tracker(cohort).training_request_id is None, f"the training of {cohort} does not end")
        row = self._tracker(cohort)
        assert row.model_version is not None, f"the training of {cohort} published nothing: {row.last_error}"
        return row.model_version

    def _tracker(self, cohort: str) -> TrackerRow:
        return self.container.tracker.read(cohort)

    def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + _WAIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, otherwise
            time.sleep(_LOOK_SECONDS)


def shared(groups: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the tokens of each client. A client has students of as many cohorts as possible."""
    tokens = [token for group in groups for token in group]
    return [tokens[i::CLIENTS] for i in range(CLIENTS)]


def in_turn(cases: Sequence[int], k: int) -> list[int]:
    """Return the cases in the order of round ``k``."""
    first = k % len(cases)
    return [*cases[first:], *cases[:first]]


def ratio(reference: Sequence[float], rates: Sequence[float]) -> float:
    """Return the median over the rounds of each rate divided by that of the reference in the same round."""
    return round(statistics.median(b / a for a, b in zip(reference, rates, strict=True)), 3)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print one JSON object as the last line."""
    parser = argparse.ArgumentParser(description="Measure completions and trainings of several cohorts.")
    parser.add_argument("--json", action="store_true", help="print only the JSON object")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds, of which the median counts")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    with temporary_stack(SETTINGS) as stack:
        bench = Bench(stack, connect(str(stack.state_dir)))
        figures = {"clients": CLIENTS, "students": STUDENTS, **bench.rates(options.rounds), **bench.trainings()}
        figures |= {"errors": bench.errors, "seconds": rounded(time.monotonic() - began), "cpus": os.cpu_count()}
    if not options.json:
        for name, value in figures.items():
            print(f"{name}: {value}")
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
