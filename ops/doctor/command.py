"""``studysmart doctor``: checks the data of all services, and says how to fix what is wrong.

Exit status 0 when nothing was found (with ``--repair``: when nothing is left), 1 otherwise.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from chalicelib.wiring import Container
from ops import tables
from ops.doctor.checks import Doctor, Examination
from ops.doctor.findings import Finding
from ops.doctor.repair import repair

SHOWN = 20
"""The number of findings of one kind that are printed; ``--json`` has them all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--repair", action="store_true", help="repair what can be repaired without losing anything")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(container: Container, options: argparse.Namespace) -> int:
    """Examine everything, repair if requested, and print what is left."""
    begun = time.monotonic()
    doctor = Doctor(container)
    now = datetime.now(UTC)
    examined = doctor.examine(now)
    repaired: list[str] = []
    if options.repair and examined.findings:
        for line in repair(doctor, examined.findings, now):
            repaired.append(line)
            if not options.json:
                print(f"repaired  {line}", flush=True)
        examined = doctor.examine(now)
    tables.show(options.json, as_json(examined, repaired), as_lines(examined, time.monotonic() - begun))
    return 1 if examined.findings else 0


def as_json(examined: Examination, repaired: Sequence[str]) -> dict[str, object]:
    """Return the examination as JSON values."""
    return {
        "clean": not examined.findings,
        "students": examined.students,
        "answers": examined.answers,
        "versions": examined.versions,
        "findings": [finding.as_json() for finding in examined.findings],
        "remarks": [remark.as_json() for remark in examined.remarks],
        "repaired": list(repaired),
    }


def as_lines(examined: Examination, seconds: float) -> list[str]:
    """Return the examination for a terminal."""
    lines = [*_findings(examined.findings), *(f"remark  {remark.what}" for remark in examined.remarks)]
    amounts = ((examined.students, "student"), (examined.answers, "answer"), (examined.versions, "version"))
    looked = ", ".join(tables.count(n, noun) for n, noun in amounts)
    verdict = tables.count(len(examined.findings), "finding") if examined.findings else "nothing is wrong"
    return [*lines, f"{looked} examined in {seconds:.1f} s: {verdict}"]


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    counts = Counter(finding.kind for finding in findings)
    for kind, count in counts.items():
        of_kind = [finding for finding in findings if finding.kind == kind]
        yield from (f"{kind.code}  {finding.what}" for finding in of_kind[:SHOWN])
        if count > SHOWN:
            yield f"{kind.code}  and {count - SHOWN:,} more (--json lists them)"
        yield f"    fix: {kind.fix}"
