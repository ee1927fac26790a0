"""What Lighthouse says of each page, on a phone and on a desktop: ``make lighthouse``.

``python -m benchmarks.lighthouse --json`` starts a stack of its own, lets some weeks of practice happen
(:mod:`lab.scenes`), and audits every page with Lighthouse's own settings: a phone with a slow processor behind a slow
network, and a desktop. Each audit has a browser of its own with an empty cache. Performance varies between runs, so
each figure is the median of some (``--runs``). Scores go from 0 to 100.

``scores`` holds them by form, page and category; ``min_performance``, ``min_accessibility`` and ``min_best_practices``
are the lowest; ``below_95`` names those that are lower. Without ``--json`` the measures behind them are printed too:
milliseconds, and the layout shift without unit. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks._browser import NoBrowserError, chromium_path
from benchmarks._percentiles import rounded
from benchmarks.local_stack import temporary_stack
from lab import scenes
from lab.scenes import Scene

INSTALLED = Path(__file__).resolve().parents[1] / ".lighthouse"
FORMS = ("mobile", "desktop")
CATEGORIES = ("performance", "accessibility", "best-practices")
WANTED = 95

_AUDIT = Path(__file__).resolve().parent / "_lighthouse" / "audit.mjs"
_RUNS = 3


class NoLighthouseError(Exception):
    """Lighthouse is not installed here, or did not run."""


def pages(people: Scene) -> list[dict[str, str | None]]:
    """Every page, and the token of whoever looks at it."""
    student, admin = people.student.token, people.admin.token
    seen_by = {
        "login": None,
        "dashboard": student,
        "dashboard/tasks": student,
        "dashboard/analytics": student,
        "dashboard/models": admin,
        "docs": student,
    }
    return [{"name": path.rpartition("/")[2], "path": path, "token": token} for path, token in seen_by.items()]


def audits(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What ``audit.mjs`` writes, line by line. Raises NoLighthouseError when it fails."""
    node = shutil.which("node")
    if node is None or not (INSTALLED / "node_modules").is_dir():
        raise NoLighthouseError("Lighthouse is not installed: `make lighthouse` does it, with npm")
    script = shutil.copy(_AUDIT, INSTALLED)
    with subprocess.Popen(
        [node, script, json.dumps(request)], cwd=INSTALLED, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode:
        raise NoLighthouseError(f"Lighthouse ended with {process.returncode}; what it said is above")


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The medians of all runs, the lowest of each category, and what is below the goal."""
    by_page: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for each in found:
        by_page[each["form"], each["name"]].append(each["scores"])
    scores: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for (form, name), runs in by_page.items():
        scores[form][name] = {category: statistics.median(run[category] for run in runs) for category in CATEGORIES}
    flat = {
        (form, name, category): score
        for form, of_pages in scores.items()
        for name, of_page in of_pages.items()
        for category, score in of_page.items()
    }
    lowest = {
        f"min_{category.replace('-', '_')}": min(score for (*_, of), score in flat.items() if of == category)
        for category in CATEGORIES
    }
    below = [f"{' '.join(key)} {score:g}" for key, score in flat.items() if score < WANTED]
    return {"scores": scores, **lowest, f"below_{WANTED}": below}


def measure(options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Audit all pages of a stack with some weeks of practice."""
    say("starting a stack with some weeks of practice ...")
    with temporary_stack() as stack:
        people = scenes.people(stack)
        scenes.fill(people, scenes.answers_of(None))
        wanted = [page for page in pages(people) if not options.page or page["name"] in options.page]
        request = {
            "chromium": chromium_path(),
            "base": stack.url.rstrip("/"),
            "runs": options.runs,
            "forms": FORMS,
            "pages": wanted,
        }
        found = []
        for audit in audits(request):
            found.append(audit)
            measures = "  ".join(f"{name} {value:.4g}" for name, value in audit["measures"].items())
            say(f"{audit['form']} {audit['name']}: {list(audit['scores'].values())}  {measures}  {audit['short']}")
    return summary(found)


def main() -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lighthouse", description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the JSON line, no progress")
    parser.add_argument("--runs", type=int, default=_RUNS, help=f"audits of each page (default: {_RUNS})")
    parser.add_argument("--page", action="append", help="only this page, by the last part of its path")
    options = parser.parse_args()
    began = time.monotonic()

    def say(what: str) -> None:
        if not options.json:
            print(f"{time.monotonic() - began:6.1f} s  {what}", file=sys.stderr, flush=True)

    try:
        figures = measure(options, say)
    except (NoLighthouseError, NoBrowserError) as error:
        print(f"No audit: {error}", file=sys.stderr)
        return 1
    about = {"runs": options.runs, "cpus": os.cpu_count(), "load_1min": rounded(os.getloadavg()[0])}
    print(json.dumps(figures | about | {"seconds": rounded(time.monotonic() - began)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
