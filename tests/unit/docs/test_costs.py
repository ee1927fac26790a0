"""The tables of costs in the documents are those of the program."""

from __future__ import annotations

import re
from math import prod

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


def test_other_prices_give_other_sums(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(costs, "PRICES", dict(costs.PRICES))
    before = costs.month(1_000)["NAT gateway"]
    assert costs.main(["--price", "nat_hour=0.09"]) == 0
    assert costs.month(1_000)["NAT gateway"] == 2 * before
    assert "| NAT gateway | $65.70 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("price", "message"), [("nat=1", "'nat' is none of api_gateway_request"), ("nat_hour=x", "'x' is not a number")]
)
def test_a_wrong_price_is_named(price: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        costs.main(["--price", price])
    assert message in capsys.readouterr().err


ARITHMETIC = re.compile(r"^\| (.*) \| (.*\$.*) \| \$([\d.]+) \|$", re.MULTILINE)


def test_the_arithmetic_of_a_month_without_students_is_right() -> None:
    section = PAGE.partition("### A month without students")[2].partition("\n### ")[0]
    rows = ARITHMETIC.findall(section)
    assert len(rows) > 10
    for part, arithmetic, cost in rows:
        terms = [term.split("\u00d7") for term in arithmetic.split(" + ")]
        total = sum(prod(float(re.sub(r"[^\d.]", "", factor)) for factor in term) for term in terms)
        assert total == pytest.approx(float(cost), abs=0.011), part
