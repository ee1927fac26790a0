"""The costs follow from their inputs, and the document shows what the program prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from infra.package.template import read_part
from ops import cost
from ops.cost import Workload, of_completion, of_month, of_training

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = ROOT / "docs" / "cost-and-scale.md"


def usd(costs: list[cost.Cost], part: str) -> float:
    return next(one.usd for one in costs if one.part.startswith(part))


def test_the_document_shows_the_tables_of_the_program() -> None:
    shown = DOCUMENT.read_text().partition("<!-- python -m ops.cost -->\n")[2].partition("\n<!-- end -->")[0]
    assert shown == cost.report(Workload())


def test_the_document_names_the_month_of_the_prices() -> None:
    assert f"as known in {cost.PRICES_OF}" in DOCUMENT.read_text()


def test_the_parts_of_a_completion_follow_from_prices_and_durations() -> None:
    work = Workload(
        create_ms=10,
        complete_ms=10,
        other_requests=0,
        round_trip_ms=0,
        cold_share=0,
        api_memory_mb=cost.FULL_PROCESSOR_MB,
        training_seconds=9,
        training_start_seconds=1,
        training_memory_mb=1_024,
        completions_per_training=10,
    )
    costs = of_completion(work)
    assert usd(costs, "API Gateway") == pytest.approx(2 * 3.50e-6)
    assert usd(costs, "Lambda of the API") == pytest.approx(0.020 * 1_769 / 1_024 * 1.66667e-5 + 2 * 0.2e-6)
    assert usd(costs, "Lambda of the training") == pytest.approx((10 * 1.66667e-5 + 0.2e-6) / 10)
    assert usd(costs, "SQS") == pytest.approx(4 * 0.5e-6 / 10)


def test_half_a_processor_takes_twice_as_long_for_half_the_memory() -> None:
    whole = Workload(cold_share=1, api_memory_mb=1_768, round_trip_ms=0)
    half = replace(whole, api_memory_mb=884)
    assert usd(of_completion(half), "Lambda of the API") == pytest.approx(
        usd(of_completion(whole), "Lambda of the API"), rel=0.01
    )


def test_fewer_trainings_cost_less_of_training_only() -> None:
    often, rarely = of_completion(Workload()), of_completion(Workload(completions_per_training=200))
    assert usd(rarely, "Lambda of the training") == pytest.approx(usd(often, "Lambda of the training") / 40)
    assert usd(rarely, "API Gateway") == usd(often, "API Gateway")


def test_the_alarms_that_are_paid_for_are_those_of_the_template() -> None:
    resources = read_part(ROOT / "infra" / "alarms.yaml")["Resources"].values()
    alarms = [one["Properties"] for one in resources if one["Type"] == "AWS::CloudWatch::Alarm"]
    watched = sum(max(1, sum("MetricStat" in metric for metric in alarm.get("Metrics", []))) for alarm in alarms)
    assert watched == cost.ALARMS


def test_what_a_month_and_a_training_cost_is_told() -> None:
    assert usd(of_month(), "PostgreSQL") == pytest.approx(0.065 * 730 + 20 * 0.115)
    assert usd(of_month(), "12 metrics") == pytest.approx(3.60)
    lambda_, task, _hour = of_training(Workload())
    assert task.usd > lambda_.usd > 0


def test_options_put_in_other_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert cost.main(["--completions-per-training", "200"]) == 0
    assert capsys.readouterr().out == cost.report(Workload(completions_per_training=200)) + "\n"
