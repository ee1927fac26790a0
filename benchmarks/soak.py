"""Mixed load on a one-machine stack whose worker and API are killed at random; in the end nothing may be missing.

``python -m benchmarks.soak --seconds 120 --json`` starts a stack of its own. Students create, complete, repeat, correct
and delete tasks and read what the pages read, an admin trains and rolls back, and every few seconds worker or API gets
SIGKILL. Clients send again what is safe to send again. Afterwards, when everything is idle, ``studysmart doctor`` must
find nothing, and each acknowledged completion must be stored and counted once.

The last line is one JSON object; exit status 1 when something is not as it must be. ``acknowledged`` are answered
completions, ``lost`` and ``duplicated`` those that are not there or there too often, ``client_errors`` what clients met
by status, ``errors_while_up`` those that no killed API explains. The same ``--seed`` draws the same load and kills.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from benchmarks._ledger import compare
from benchmarks._outages import Killer, Outages
from benchmarks._percentiles import rounded
from benchmarks._soak_load import Admin, Student, Trouble, User
from benchmarks.local_stack import temporary_stack
from chalicelib.domain.training import TrackerRow
from chalicelib.storage.training_queue import SqsTrainingQueue
from chalicelib.wiring import Container
from ops.doctor.checks import Doctor
from ops.stack import Stack, connect

SECONDS = 120.0
STUDENTS = 6

_IDLE_SECONDS = 900.0
"""A request whose message was killed three times is sent again after ten minutes."""

_FAULTS = ("lost", "duplicated", "errors_while_up", "doctor_findings")


def soak(stack: Stack, seconds: float, students: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """All figures, from a stack that was just started."""
    container = connect(str(stack.state_dir))
    stopped = threading.Event()
    users = _accounts(stack, container, students, seed, stopped)
    killer = Killer(stack, Random(f"{seed} killer"), lambda: _row(container).training_request_id)
    began = time.monotonic()
    for thread in (*users, killer):
        thread.start()
    say("load and kills")
    while time.monotonic() - began < seconds:
        time.sleep(1.0)
        say(_so_far(users, killer))
    killer.finish()
    stopped.set()
    _join(users)
    lasted = time.monotonic() - began
    say("waiting until nothing is queued or running")
    _wait_until_idle(container)
    say("the doctor")
    examined = Doctor(container).examine()
    compared = compare(container.engine, [user.ledger for user in users])
    troubles = [trouble for user in users for trouble in user.wire.noted.troubles]
    requests = sum(user.wire.noted.requests for user in users)
    return {
        "seconds": rounded(lasted),
        "seed": seed,
        "students": students,
        "requests": requests,
        "requests_per_s": rounded(requests / lasted),
        "acknowledged": sum(user.ledger.acknowledged for user in users),
        "in_doubt": sum(len(user.ledger.in_doubt) for user in users),
        "lost": compared.lost,
        "duplicated": compared.duplicated,
        "kills": dict(killer.kills),
        "trainings": _trainings(stack),
        "client_errors": dict(Counter(trouble.what for trouble in troubles)),
        "errors_while_up": len(_unexplained(troubles, killer.outages)),
        "unexplained": [trouble.what for trouble in _unexplained(troubles, killer.outages)],
        "api_down_s": rounded(killer.outages.seconds),
        "doctor_findings": len(examined.findings),
        "findings": [finding.what for finding in examined.findings],
        "cpus": os.cpu_count(),
        "load_1min": rounded(os.getloadavg()[0]),
    }


def _accounts(stack: Stack, container: Container, students: int, seed: int, stopped: threading.Event) -> Sequence[User]:
    users: list[User] = [
        Student(f"student-{n}", stack.url, Random(f"{seed} student {n}"), stopped) for n in range(students)
    ]
    users.append(Admin("admin", stack.url, Random(f"{seed} admin"), stopped))
    for user in users:
        email = user.register()
    container.identity.add_to_admins(email)
    users[-1].log_in()
    return users


def _so_far(users: Sequence[User], killer: Killer) -> str:
    done = sum(user.ledger.acknowledged for user in users)
    return f"{done} completions acknowledged, {dict(killer.kills)} killed"


def _join(users: Sequence[User]) -> None:
    for user in users:
        user.join()
        if user.trouble is not None:
            raise user.trouble


def _unexplained(troubles: Sequence[Trouble], outages: Outages) -> list[Trouble]:
    return [trouble for trouble in troubles if not outages.touched(trouble.began, trouble.ended)]


def _row(container: Container) -> TrackerRow:
    return container.tracker.read(container.settings.cohort)


def _trainings(stack: Stack) -> int:
    """Trainings that ended, by the logs."""
    logs = (stack.state_dir / "logs").glob("backend.log*")
    return sum(log.read_text(encoding="utf-8").count("Background training complete") for log in logs)


def _wait_until_idle(container: Container) -> None:
    """Return when no training is asked for and no message is left, twice in a row."""
    queue = container.queue
    assert isinstance(queue, SqsTrainingQueue)
    deadline, quiet = time.monotonic() + _IDLE_SECONDS, 0
    while quiet < 2:
        row = _row(container)
        quiet = quiet + 1 if row.training_request_id is None and queue.depth() == (0, 0) else 0
        if time.monotonic() > deadline:
            raise TimeoutError(f"still busy after {_IDLE_SECONDS:.0f} s: {row}, queue {queue.depth()}")
        time.sleep(0.5)


def main() -> int:
    """Run the soak; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the JSON line, no progress")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of load and kills")
    parser.add_argument("--students", type=int, default=STUDENTS)
    parser.add_argument("--seed", type=int, default=0, help="of load and kills")
    options = parser.parse_args()
    began = time.monotonic()

    def say(what: str) -> None:
        if not options.json:
            print(f"{time.monotonic() - began:6.1f} s  {what}", file=sys.stderr)

    say("starting a stack")
    with temporary_stack() as stack:
        figures = soak(stack, options.seconds, options.students, options.seed, say)
    print(json.dumps(figures))
    return 1 if any(figures[name] for name in _FAULTS) else 0


if __name__ == "__main__":
    sys.exit(main())
