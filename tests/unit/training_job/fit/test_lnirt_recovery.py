"""What answers were simulated from comes back from them, and the documented figures are those that are measured."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from evaluation.recovery import SIZES, answers_from, measure, truth_of
from training_job.fit.lnirt import fit_lnirt

DOCUMENT = Path(__file__).parents[4] / "docs" / "model.md"

BOUNDS = {
    "large": {"easiness": 0.12, "discrimination": 0.08, "intensity": 0.04, "residual_sd": 0.02, "ability": 0.3,
              "speed": 0.08, "unseen_easiness": 0.8, "unseen_intensity": 0.25},
    "medium": {"easiness": 0.25, "discrimination": 0.2, "intensity": 0.1, "residual_sd": 0.04, "ability": 0.35,
               "speed": 0.1, "unseen_easiness": 0.6, "unseen_intensity": 0.35},
    "small": {"easiness": 0.5, "discrimination": 0.4, "intensity": 0.2, "residual_sd": 0.1, "ability": 0.45,
              "speed": 0.12, "unseen_easiness": 0.8, "unseen_intensity": 0.5},
}  # fmt: skip
"""Root mean square errors, in the units of ``evaluation/recovery.py``: somewhat above the worst of eight seeds."""


@pytest.fixture(scope="module", params=sorted(SIZES))
def found(request: pytest.FixtureRequest) -> tuple[str, dict[str, float]]:
    name: str = request.param
    return name, measure(*SIZES[name], seed=0)


def test_every_parameter_comes_back(found: tuple[str, dict[str, float]]) -> None:
    name, figures = found
    errors = {parameter: figures[f"{parameter}_rmse"] for parameter in BOUNDS[name]}
    assert {key: value for key, value in errors.items() if value > BOUNDS[name][key]} == {}
    biases = {parameter: abs(figures[f"{parameter}_bias"]) for parameter in ("easiness", "intensity", "speed")}
    assert max(biases.values()) < (0.25 if name == "small" else 0.08)


def test_each_difficulty_is_harder_and_slower_than_the_one_before(found: tuple[str, dict[str, float]]) -> None:
    _, figures = found
    assert figures["least_step_easiness"] >= 0.05 - 1e-9
    assert figures["least_step_intensity"] >= 0.02 - 1e-9


def test_the_document_has_the_figures(found: tuple[str, dict[str, float]]) -> None:
    name, figures = found
    column = ("large", "medium", "small").index(name)
    rows = re.findall(r"^\| (\w+) \|(.+)\|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    documented = {
        parameter: [float(value) for value in re.findall(r"-?\d\.\d+", cells.split("|")[column])]
        for parameter, cells in rows
        if parameter in BOUNDS[name]
    }
    assert documented.keys() == BOUNDS[name].keys()
    for parameter, figure in documented.items():
        assert figure == pytest.approx([figures[f"{parameter}_bias"], figures[f"{parameter}_rmse"]], abs=0.01)


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_a_difficulty_that_nobody_tried_at_all_has_its_place_in_the_order(level: int) -> None:
    truth = truth_of(20, 5, seed=level)
    table = answers_from(truth, 2000, seed=level)
    model = fit_lnirt(table.select(table.difficulty != level))
    assert model.time is not None
    assert (np.diff(model.easiness, axis=1) <= -0.05 + 1e-9).all()
    assert (np.diff(model.time.intensity, axis=1) >= 0.02 - 1e-9).all()
    unseen = np.abs(model.easiness[:-1, level - 1] - truth.easiness[:, level - 1])[truth.seen[:, level - 1]]
    assert unseen.max() < 1.0
