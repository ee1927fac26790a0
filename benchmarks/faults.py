"""Each fault of ``tests/faults`` on real PostgreSQL and moto, and what was lost or happened twice in all of them.

The scenarios are those of the tests, run by pytest in this process. Each keeps a ledger of what the API acknowledged
and compares it with what is stored when the fault is over (:mod:`tests.support.faults.ledger`); the figures
here are the sums, also of scenarios that failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks._percentiles import rounded

FIGURES = ("lost", "double_counted", "double_published")
_ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Collector:
    """A plugin of pytest: the result and the figures of each scenario, by its name."""

    results: dict[str, str] = field(default_factory=dict)
    figures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FIGURES, 0))
    measured: set[str] = field(default_factory=set)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the worst of set-up, scenario and end, and at the end the ledger's figures."""
        name = report.nodeid.rpartition("::")[2].removeprefix("test_")
        if report.outcome != "passed" or name not in self.results:
            self.results[name] = report.outcome
        if report.when == "teardown":
            self._add(name, dict(report.user_properties))

    def _add(self, name: str, properties: dict[str, object]) -> None:
        if all(isinstance(properties.get(figure), int) for figure in FIGURES):
            self.measured.add(name)
            for figure in FIGURES:
                self.figures[figure] += int(str(properties[figure]))


def measure(arguments: list[str]) -> tuple[int, Collector]:
    """Run the scenarios; returns pytest's exit status and what was collected. What pytest says goes to stderr."""
    collector = Collector()
    with contextlib.redirect_stdout(sys.stderr):
        status = pytest.main(
            ["-q", "-p", "no:cacheprovider", "--rootdir", str(_ROOT), str(_ROOT / "tests" / "faults"), *arguments],
            plugins=[collector],
        )
    return int(status), collector


def main() -> int:
    """Run the benchmark; exit status 1 when a fault was not survived."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the JSON line and failures, no progress")
    parser.add_argument("-k", help="only the faults whose names match, as for pytest")
    options = parser.parse_args()
    started = time.monotonic()
    chosen = ["-k", options.k] if options.k else []
    status, collector = measure([*chosen, *(["--no-header", "-q"] if options.json else ["-v"])])
    failed = [name for name, result in collector.results.items() if result == "failed"]
    # A scenario without figures proves nothing.
    unmeasured = collector.results.keys() - collector.measured
    figures = {
        "faults": collector.results,
        "n_faults": sum(result == "passed" for result in collector.results.values()),
        "n_failed": len(failed),
        "n_unmeasured": len(unmeasured),
        **collector.figures,
        "seconds": rounded(time.monotonic() - started),
        "cpus": os.cpu_count(),
        "load_1min": rounded(os.getloadavg()[0]),
    }
    print(json.dumps(figures))
    return 1 if status or failed or any(collector.figures.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
