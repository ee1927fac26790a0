"""Count the violations of each check over all combinations of parameters: ``python -m infra.checks``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from infra.checks.combinations import Stack, stacks
from infra.checks.network import calls, ecs_can_start, programs_reach_database
from infra.checks.rules import RULES, runtime_matches_zip
from infra.lint import STANDALONE, translate
from infra.package import template
from infra.package.template import render

ROOT: Final = Path(__file__).resolve().parents[2]
NETWORK: Final = "infra/network.yaml"
DATABASE: Final = "infra/database.yaml"
OTHER_PYTHON: Final = "3.11"
"""A Python that renders the template in a check. The zip's is :data:`infra.package.PYTHON`."""

_PRETENDING = """
from chalice.config import Config
Config.lambda_python_version = property(lambda self: "python{}")
"""

Templates = Mapping[str, Mapping[str, Any]]


def templates(root: Path, work: Path) -> dict[str, Mapping[str, Any]]:
    """Return every template by its path: those that stand alone, and the product's as CloudFormation sees it."""
    found = {name: template.read_part(root / name) for name in STANDALONE}
    return {**found, template.TEMPLATE: translate(render(root, work))}


def violations(given: Templates) -> tuple[dict[str, list[str]], int]:
    """Return the violations of each check, and the number of stacks that were checked."""
    made = {name: list(stacks(one)) for name, one in given.items()}
    found: dict[str, list[str]] = {name: [] for name in (*RULES, ecs_can_start.__name__)}
    for path, several in made.items():
        for stack in several:
            for name, rule in RULES.items():
                _add(found[name], path, rule(stack))
    needed = {(_shared(program), calls(program)) for program in made[template.TEMPLATE]}
    for network in made[NETWORK]:
        for values, of_programs in needed:
            if _shared(network) == values:
                _add(found[ecs_can_start.__name__], NETWORK, ecs_can_start(of_programs, network))
    for network in made[NETWORK]:
        for database in made[DATABASE]:
            _add(found[ecs_can_start.__name__], DATABASE, programs_reach_database(network, database))
    return found, sum(map(len, made.values()))


def _shared(stack: Stack) -> tuple[str, ...]:
    """Return the values that a stack and its network have in common."""
    return tuple(stack.values[name] for name in ("TrainingCompute", "EventBusName"))


def _add(found: list[str], path: str, more: Iterable[str]) -> None:
    for one in more:
        if (line := f"{path}: {one}") not in found:
            found.append(line)


def main(arguments: list[str] | None = None) -> int:
    """Print the violations, and their numbers as JSON at the end; return 1 if there are any."""
    parser = argparse.ArgumentParser(prog="python -m infra.checks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON, in the last line")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="infra-checks-") as directory:
        found, n = violations(templates(ROOT, Path(directory) / "work"))
        with chalice_under(OTHER_PYTHON, Path(directory) / "python"):
            other = render(ROOT, Path(directory) / "other")
    _add(found[runtime_matches_zip.__name__], f"rendered by Python {OTHER_PYTHON}", _runtimes(other))
    for name, lines in found.items():
        print(f"{name:<26} {len(lines)}")
        for line in lines:
            print(f"  {line}", file=sys.stderr)
    if options.json:
        numbers = {name: len(lines) for name, lines in found.items()}
        print(json.dumps({**numbers, "stacks": n, "seconds": round(time.monotonic() - started, 1)}))
    return 1 if any(found.values()) else 0


@contextmanager
def chalice_under(python: str, directory: Path) -> Iterator[None]:
    """Let Chalice write templates as if another Python ran it. ``directory`` is for a module that starts with it."""
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(_PRETENDING.format(python))
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(directory)
    try:
        yield
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


def _runtimes(rendered: Mapping[str, Any]) -> Iterable[str]:
    return runtime_matches_zip(next(stacks(translate(dict(rendered)))))


if __name__ == "__main__":
    sys.exit(main())
