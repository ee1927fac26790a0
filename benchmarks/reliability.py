"""Shows that no completion is lost and nothing happens twice, whatever fails.

``python -m benchmarks.reliability --seconds 60 --json`` runs two experiments and adds up their figures:

1. every scenario of ``tests/faults``: one fault each, at the worst moment;
2. a one-machine stack under load while its API and its training worker are killed at random (:mod:`benchmarks._load`).

Both compare what the API acknowledged with what is stored, by the ledger of the tests
(:mod:`tests.support.faults.ledger`). The last line is one JSON object; the exit status is 1 unless ``n_failed``,
``n_unmeasured``, ``lost``, ``double_counted``, ``double_published``, ``errors_while_up`` and ``doctor_findings`` are
all 0. ``acknowledged`` and ``kills`` say how much the second experiment tried.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from benchmarks._load import Killer, Student
from benchmarks._percentiles import rounded
from benchmarks.local_stack import temporary_stack
from chalicelib.domain.training import TrackerRow
from chalicelib.storage.aws import aws_client
from chalicelib.storage.training_queue import SqsTrainingQueue
from chalicelib.wiring import Container
from ops.doctor.checks import Doctor
from ops.stack import Stack, connect
from tests.support.faults.ledger import Ledger, figures

FIGURES = ("lost", "double_counted", "double_published")
MUST_BE_ZERO = (*FIGURES, "n_failed", "n_unmeasured", "errors_while_up", "doctor_findings")
N_STUDENTS = 6

_ROOT = Path(__file__).resolve().parents[1]
_IDLE_SECONDS = 900.0
"""A request whose message was killed three times is sent again after ten minutes."""


@dataclass
class Scenarios:
    """A pytest plugin that collects the outcome and the ledger's figures of each scenario, by its name."""

    outcomes: dict[str, str] = field(default_factory=dict)
    figures: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(FIGURES, 0)))
    measured: set[str] = field(default_factory=set)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the worst outcome of set-up, scenario and end; take the figures at the end."""
        name = report.nodeid.rpartition("::")[2].removeprefix("test_")
        if report.outcome != "passed" or name not in self.outcomes:
            self.outcomes[name] = report.outcome
        properties = dict(report.user_properties)
        if report.when == "teardown" and all(figure in properties for figure in FIGURES):
            self.measured.add(name)
            self.figures.update({figure: int(str(properties[figure])) for figure in FIGURES})

    def summary(self) -> dict[str, Any]:
        """Return the figures of all scenarios; one without figures proves nothing and is counted apart."""
        return {
            "n_faults": len(self.outcomes),
            "n_failed": sum(outcome != "passed" for outcome in self.outcomes.values()),
            "n_unmeasured": len(self.outcomes.keys() - self.measured),
            **self.figures,
        }


def run_scenarios(name_filter: str) -> dict[str, Any]:
    """Run the fault suite in this process; pytest's own output goes to stderr."""
    scenarios = Scenarios()
    arguments = ["-q", "-p", "no:cacheprovider", "--rootdir", str(_ROOT), str(_ROOT / "tests" / "faults")]
    with contextlib.redirect_stdout(sys.stderr):
        pytest.main([*arguments, "-k", name_filter], plugins=[scenarios])
    return scenarios.summary()


def run_under_kills(stack: Stack, seconds: float, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Load a fresh stack while its processes are killed, then compare what is stored with what was acknowledged."""
    container = connect(str(stack.state_dir))
    settings, ledger = container.settings, Ledger()
    s3 = aws_client("s3", settings.aws_region)
    # On AWS the template does this; moto's CloudFormation does not. The ledger reads the pointer's history.
    s3.put_bucket_versioning(Bucket=settings.registry_bucket, VersioningConfiguration={"Status": "Enabled"})
    students = [Student(f"student-{n}", stack.url, Random(f"{seed} {n}"), ledger) for n in range(N_STUDENTS)]
    killer = Killer(stack, Random(f"{seed} killer"), lambda: _row(container).training_request_id)
    for student in students:
        student.register()
    began = time.monotonic()
    for thread in (*students, killer):
        thread.start()
    while time.monotonic() - began < seconds:
        time.sleep(1.0)
        say(f"{len(ledger.acknowledged)} completions acknowledged, {dict(killer.kills)} killed")
    killer.finish()
    for student in students:
        student.finish()
    say("waiting until nothing is queued or running")
    _wait_until_idle(container)
    measured = figures(ledger, container.engine, settings.cohort, s3, settings.registry_bucket)
    troubles = [trouble for student in students for trouble in student.troubles]
    return {
        "load_seconds": rounded(time.monotonic() - began),
        "acknowledged": len(ledger.acknowledged),
        "unanswered": len(ledger.unanswered),
        "kills": dict(killer.kills),
        "trainings": _trainings(stack),
        "broken_requests": len(troubles),
        "errors_while_up": sum(not killer.was_down(*trouble) for trouble in troubles),
        "doctor_findings": len(Doctor(container).examine().findings),
        **{figure: getattr(measured, figure) for figure in FIGURES},
    }


def _row(container: Container) -> TrackerRow:
    return container.tracker.read(container.settings.cohort)


def _trainings(stack: Stack) -> int:
    """Count the trainings that ended, by the log."""
    logs = (stack.state_dir / "logs").glob("backend.log*")
    return sum(log.read_text(encoding="utf-8").count("Background training complete") for log in logs)


def _wait_until_idle(container: Container) -> None:
    """Return when no training is requested and no message is left, twice in a row."""
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
    """Run both experiments; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print only the JSON line, no progress")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the load under kills (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the load and of the kills")
    parser.add_argument("-k", default="", metavar="NAMES", help="run only the scenarios whose names match")
    options = parser.parse_args()
    began = time.monotonic()

    def say(what: str) -> None:
        if not options.json:
            print(f"{time.monotonic() - began:6.1f} s  {what}", file=sys.stderr)

    with temporary_stack() as stack:
        under_kills = run_under_kills(stack, options.seconds, options.seed, say)
    scenarios = run_scenarios(options.k)
    result = {
        **scenarios,
        **under_kills,
        **{figure: scenarios[figure] + under_kills[figure] for figure in FIGURES},
        "seconds": rounded(time.monotonic() - began),
        "cpus": os.cpu_count(),
        "load_1min": rounded(os.getloadavg()[0]),
    }
    print(json.dumps(result))
    return 1 if any(result[name] for name in MUST_BE_ZERO) else 0


if __name__ == "__main__":
    sys.exit(main())
