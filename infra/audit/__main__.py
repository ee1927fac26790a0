"""Run all checks and print their findings; the last line counts them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from infra.audit import ROOT, Outcome, advisories, distributions, licences, sbom, sources


def main(arguments: list[str] | None = None) -> int:
    """Return 1 if there is a finding, or with ``--strict`` if a check could not be made."""
    parser = argparse.ArgumentParser(prog="python -m infra.audit", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="fail if the advisories of the index do not answer")
    options = parser.parse_args(arguments)
    locked = distributions.locked(ROOT)
    shipped = distributions.shipped(ROOT, locked)
    checks: dict[str, Callable[[], Outcome]] = {
        "advisories": lambda: advisories.check(locked),
        "licences": lambda: licences.check(locked, shipped),
        "sbom": lambda: sbom.write(shipped),
        "secrets": sources.secrets,
        "rules": sources.rules,
        "pins": sources.pins,
    }
    n_findings, not_checked = 0, []
    for name, check in checks.items():
        outcome = check()
        n_findings += len(outcome.findings)
        not_checked += [] if outcome.checked else [name]
        print(f"{name:<11} {len(outcome.findings)} findings ({outcome.remark})")
        for finding in outcome.findings:
            print(f"  {finding}")
    print(
        f"findings {n_findings}" + (f"; not checked with today's data: {', '.join(not_checked)}" if not_checked else "")
    )
    return int(n_findings > 0 or (options.strict and bool(not_checked)))


if __name__ == "__main__":
    sys.exit(main())
