"""The interval of predicted times, and its part of vocabulary.json."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from chalicelib.domain.errors import ModelError
from chalicelib.prediction.interval import TimeInterval
from chalicelib.prediction.vocabulary import read_vocabulary
from tests.support.archives import version_files
from training_job.fit.practice import interval_of

INTERVAL = TimeInterval((1.0, 2.0, 4.0), (-2.0, -1.0, -0.5), (1.5, 1.0, 0.5))


def document(**changed: Any) -> bytes:
    return json.dumps({**json.loads(version_files()["vocabulary.json"]), **changed}).encode()


def test_bounds_are_interpolated_and_constant_beyond() -> None:
    low, high = INTERVAL.bounds(np.array([0.0, 1.5, 3.0, 9.0]))
    np.testing.assert_allclose(low, [-2.0, -1.5, -0.75, -0.5])
    np.testing.assert_allclose(high, [1.5, 1.25, 0.75, 0.5])


def test_an_interval_covers_80_percent_of_each_fifth() -> None:
    rng = np.random.default_rng(0)
    predicted = rng.normal(3.0, 1.0, 20_000)
    residuals = rng.normal(size=20_000) * np.exp(-0.3 * (predicted - 3.0))
    low, high = interval_of(residuals, predicted).bounds(predicted)
    inside = ((low <= residuals) & (residuals <= high))[np.argsort(predicted)]
    for part in np.array_split(inside, 5):
        assert 0.75 < part.mean() < 0.85


def test_few_or_equal_predictions_have_one_interval() -> None:
    assert interval_of(np.zeros(0), np.zeros(0)) == TimeInterval.constant(-1.2816, 1.2816)
    assert len(interval_of(np.arange(50.0) - 25.0, np.full(50, 3.0)).log_seconds) == 1


def test_an_interval_survives_its_file() -> None:
    stored = {"log_seconds": INTERVAL.log_seconds, "low": INTERVAL.low, "high": INTERVAL.high}
    found = read_vocabulary(document(time_interval=stored))
    assert found.time_interval == INTERVAL
    again = json.loads(found.to_json())
    assert (again["time_low"], again["time_high"]) == (pytest.approx(-3.5 / 3), 1.0)
    assert read_vocabulary(found.to_json()).time_interval == INTERVAL


def test_a_version_of_an_earlier_program_has_one_interval() -> None:
    old = json.loads(document(time_low=-1.1, time_high=1.4))
    del old["time_interval"]
    assert read_vocabulary(json.dumps(old).encode()).time_interval == TimeInterval.constant(-1.1, 1.4)


@pytest.mark.parametrize(
    "stored",
    [
        {"log_seconds": [], "low": [], "high": []},
        {"log_seconds": [1.0, 2.0], "low": [-1.0], "high": [1.0, 1.0]},
        {"log_seconds": [2.0, 1.0], "low": [-1.0, -1.0], "high": [1.0, 1.0]},
        {"log_seconds": [1e30], "low": [-1.0], "high": [1.0]},
        {"log_seconds": [1.0], "low": [0.5], "high": [1.0]},
        {"log_seconds": [1.0], "low": [-1.0], "high": [1e30]},
        {"log_seconds": list(range(101)), "low": [-1.0] * 101, "high": [1.0] * 101},
        {"log_seconds": [1.0], "low": [-1.0]},
        "1",
    ],
)
def test_a_damaged_interval_is_refused(stored: Any) -> None:
    with pytest.raises(ModelError, match=r"vocabulary\.json"):
        read_vocabulary(document(time_interval=stored))
