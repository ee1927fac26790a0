"""Counts the files that a request enters: ``python -m lab.trace [--json]``, from the project's folder.

A creation, a completion and the loading of a model run on the fakes of the tests. For each, ``files`` is the number of
files of ``chalicelib`` that were entered, and ``changes`` is how often a call went from one file to another.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

from chalicelib import wiring
from tests.support.api import DONE, World, create, sign_up
from tests.support.page_data import publish_versions

PACKAGE = str(Path(wiring.__file__).parent)


def trace(work: Callable[[], Any]) -> dict[str, int]:
    """Run the work, and return its numbers of files and changes of file."""
    entered: list[str] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            entered.append(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return {"files": len(set(entered)), "changes": sum(before != after for before, after in pairwise(entered))}


def run() -> dict[str, dict[str, int]]:
    """Return the figures of a creation, a completion and a cold start."""
    world = World()
    container = world.container()
    wiring.install(container)
    publish_versions(world)
    cold_start = trace(container.champion.current)
    student = sign_up(world)
    task: dict[str, Any] = {}

    def new_task() -> None:
        task.update(create(student, topic="topic 1"))

    def complete() -> None:
        student.patch(f"/practice-tasks/{task['id']}", DONE)

    new_task()
    complete()  # the first request of each kind fills caches, so the second one is measured
    creation, completion = trace(new_task), trace(complete)
    return {"creation": creation, "completion": completion, "cold_start": cold_start}


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m lab.trace", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    options = parser.parse_args()
    figures = run()
    if options.json:
        print(json.dumps(figures))
    else:
        for name, each in figures.items():
            print(f"{name}: {each['files']} files, {each['changes']} changes of file")
    return 0


if __name__ == "__main__":
    sys.exit(main())
