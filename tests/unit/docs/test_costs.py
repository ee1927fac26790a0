"""The tables of costs in the documents are those of the program."""

from __future__ import annotations

import pytest

from benchmarks import costs
from tests.support.documents import ROOT

PAGE = (ROOT / "docs" / "cost-and-scale.md").read_text()


@pytest.mark.parametrize("table", [costs.completion_table(), costs.month_table()], ids=["completion", "month"])
def test_the_document_has_the_table_of_the_program(table: str) -> None:
    assert table in PAGE


@pytest.mark.parametrize("compute", ["lambda", "ecs"])
def test_the_most_that_trainings_can_cost_is_named(compute: str) -> None:
    assert f"${costs.continuous_training(compute):.2f}" in PAGE
    assert costs.month(100_000)["trainings"] <= costs.continuous_training("lambda")


def test_the_sums_are_those_of_the_parts() -> None:
    result = costs.result()
    assert result["per_completion"] == sum(costs.completion().values())
    assert result["per_month"]["1000"] == pytest.approx(sum(costs.month(1_000).values()), abs=0.01)
