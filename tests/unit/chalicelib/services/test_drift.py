"""Fallback rate and calibration of windows of completions."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime

import pytest

from chalicelib.domain.predictions import Source
from chalicelib.domain.results import DriftRow
from chalicelib.services import drift
from tests.support.fakes.analytics import MemoryAnalyticsStore
from tests.support.fakes.database import MemoryDatabase

EARLY, LATE = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)


class Rows(MemoryAnalyticsStore):
    """A store with the given rows of drift."""

    def __init__(self, *rows: DriftRow) -> None:
        super().__init__(MemoryDatabase())
        self._rows = list(rows)

    def drift(self, limit: int, window: int, n_bins: int) -> list[DriftRow]:
        return self._rows


def row(window: int, source: Source, chance: float, n: int, correct: int) -> DriftRow:
    squared = correct * (1 - chance) ** 2 + (n - correct) * chance**2
    return DriftRow(window, source, int(chance * 10), n, n * chance, correct, squared, n, n * math.log(2), EARLY, LATE)


def test_a_window_of_defaults_has_a_fallback_rate_and_nothing_to_judge() -> None:
    (window,) = drift.drift(Rows(row(0, Source.DEFAULT, 0.5, 4, 4)), 100, 10).windows
    assert (window.n, window.fallback_rate, window.sources) == (4, 1.0, drift.Sources(0, 0, 4))
    assert (window.accuracy, window.expected_calibration_error, window.calibration_error_by_chance) == (
        None,
        None,
        None,
    )


def test_fallbacks_count_by_source_and_defaults_are_not_judged() -> None:
    rows = (row(0, Source.EMBEDDING, 0.75, 6, 3), row(0, Source.LNIRT, 0.75, 2, 1), row(0, Source.DEFAULT, 0.5, 2, 2))
    (window,) = drift.drift(Rows(*rows), 100, 10).windows
    assert window.fallback_rate == pytest.approx(0.4)
    assert (window.accuracy, window.predicted_accuracy) == (0.5, 0.75)
    assert window.expected_calibration_error == pytest.approx(0.25)  # of one bin, whatever the source
    assert window.time_ratio == pytest.approx(2)


def test_windows_stay_apart_and_in_order() -> None:
    found = drift.drift(Rows(row(0, Source.EMBEDDING, 0.5, 3, 3), row(1, Source.LNIRT, 0.5, 1, 0)), 100, 10)
    assert [window.n for window in found.windows] == [3, 1]
    assert (found.n, found.fallback_rate) == (4, 0.25)


def test_the_error_by_chance_is_what_calibrated_predictions_show_on_average() -> None:
    chances, size, random_ = (0.15, 0.55, 0.85), 40, random.Random(1)
    errors = []
    for _ in range(400):
        rows = [row(0, Source.EMBEDDING, p, size, sum(random_.random() < p for _ in range(size))) for p in chances]
        (window,) = drift.drift(Rows(*rows), 100, 10).windows
        errors.append(window.expected_calibration_error or 0.0)
    assert window.calibration_error_by_chance == pytest.approx(sum(errors) / len(errors), rel=0.08)
