"""Prints the coverage of each area, from the data that ``pytest --cov`` left."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path, PurePath


def area(path: str) -> str:
    """``chalicelib/api``, ``infra/local``, ``training_job``: two parts where the first has folders of its own."""
    parts = PurePath(path).parts
    if len(parts) > 2:
        return "/".join(parts[:2])
    return parts[0]


def main() -> int:
    """Print a table and the total."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "coverage.json"
        done = subprocess.run(
            [sys.executable, "-m", "coverage", "json", "-q", "-o", str(report)],
            check=False,
        )
        if done.returncode:
            return done.returncode
        files = json.loads(report.read_text())["files"]
    covered: dict[str, int] = defaultdict(int)
    statements: dict[str, int] = defaultdict(int)
    for path, content in files.items():
        for name in (area(path), "total"):
            covered[name] += content["summary"]["covered_lines"]
            statements[name] += content["summary"]["num_statements"]
    print("\ncoverage by area (lines)")
    for name in [*sorted(covered.keys() - {"total"}), "total"]:
        if statements[name]:
            share = 100 * covered[name] / statements[name]
            print(f"  {name:<24}{share:5.1f} %   {covered[name]:>5} of {statements[name]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
