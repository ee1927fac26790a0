"""The table of capacities in the documents is that of the program, and the simulation agrees with simple cases."""

from __future__ import annotations

import json
import math

import pytest

from benchmarks import capacity
from tests.support.documents import ROOT

PAGE = (ROOT / "docs" / "cost-and-scale.md").read_text()


def test_the_document_has_the_table() -> None:
    assert capacity.table() in PAGE


def test_a_day_has_all_its_answers() -> None:
    parts = [capacity.of_day(minute) for minute in range(24 * 60)]
    assert max(parts) / (sum(parts) / len(parts)) == pytest.approx(1.9, abs=0.1)
    assert min(parts) > 0


def test_without_a_queue_a_model_is_as_old_as_wait_and_trainings() -> None:
    day = capacity.simulate(10_000)
    seconds = day["training_seconds"]
    assert day["queue_seconds"] == 0
    assert day["model_age_minutes"] == round((seconds + 3 * seconds + seconds) / 60)


def test_too_few_workers_make_trainings_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "LIMITS", dict(capacity.LIMITS))
    before = capacity.train(100_000)
    capacity.LIMITS["training tasks"] = 10
    after = capacity.train(100_000)
    # In a full queue each cohort has its turn once in (cohorts / workers) trainings.
    expected = 100 / 10 * before["training_seconds"] - 4 * before["training_seconds"]
    assert after["queue_seconds"] == pytest.approx(expected, rel=0.1)
    assert before["queue_seconds"] < after["queue_seconds"]
    assert after["trainings_a_day"] < before["trainings_a_day"]


def test_one_cohort_needs_no_more_memory_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "UNITS", {**capacity.UNITS, "cohort": math.inf})
    assert capacity.simulate(10_000_000)["memory_gb"] == capacity.simulate(10_000)["memory_gb"] < 2.5
    capacity.UNITS["max_network_answers"] = math.inf
    assert capacity.simulate(10_000)["first_limit"] == "training memory, GB"


def test_units_and_limits_can_be_replaced(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(capacity, "UNITS", dict(capacity.UNITS))
    monkeypatch.setattr(capacity, "LIMITS", dict(capacity.LIMITS))
    arguments = [
        "--unit",
        "answers=2000",
        "--limit",
        "training tasks=9000",
        "--limit",
        "training memory, GB=999",
        "--json",
    ]
    assert capacity.main(arguments) == 0
    days = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert days["1000000"]["first_limit"] == "requests per second"


@pytest.mark.parametrize("pair", ["answer=5", "answers=many", "answers"])
def test_a_unit_that_is_unknown_or_no_number_is_refused(pair: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        capacity.main(["--unit", pair])
    assert "answer" in capsys.readouterr().err
