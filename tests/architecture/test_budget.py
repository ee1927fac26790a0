"""The line budget of pyproject.toml. CONTRIBUTING.md says who may raise it, and how."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.support.sources import ROOT, written_files

BUDGET: dict[str, int] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["studysmart"]["budget"]

NOT_THE_PRODUCT = {"tests", "benchmarks", "evaluation", "lab"}


def lines(paths: list[Path]) -> int:
    return sum(path.read_bytes().count(b"\n") for path in paths)


@pytest.mark.parametrize("part", ["product", "tests"])
def test_python_stays_within_its_line_budget(part: str) -> None:
    modules = [path.relative_to(ROOT) for path in written_files() if path.suffix == ".py"]
    counted = [path for path in modules if path.parts[0] == "tests"]
    if part == "product":
        counted = [path for path in modules if path.parts[0] not in NOT_THE_PRODUCT]
    assert len(counted) > 100
    total = lines([ROOT / path for path in counted])
    assert total <= BUDGET[part], f"{total} lines of {part}: shorten it, or raise the budget and say why"
