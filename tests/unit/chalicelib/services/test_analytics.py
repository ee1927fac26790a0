from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.results import CalibrationRow, DayRow, TopicRow, Totals
from chalicelib.services import analytics
from tests.support.fakes.analytics import MemoryAnalyticsStore
from tests.support.fakes.database import MemoryDatabase


class Figures(MemoryAnalyticsStore):
    """A store with the given rows."""

    def __init__(self, days: list[DayRow] | None = None, calibration: list[CalibrationRow] | None = None) -> None:
        super().__init__(MemoryDatabase())
        self._days, self._calibration = days or [], calibration or []
        self.midnights: Sequence[datetime] = []

    def totals(self, user_id: str) -> Totals:
        return Totals(4, 3, 2, 0.6, 20.0, 19.0, 60.0)

    def days(self, user_id: str, midnights: Sequence[datetime]) -> list[DayRow]:
        self.midnights = midnights
        return self._days

    def topics(self, user_id: str, decay_answers: float, limit: int, after: int = 0) -> list[TopicRow]:
        return []

    def calibration(self, user_id: str | None, n_bins: int) -> list[CalibrationRow]:
        return self._calibration


def row(version: str, bin_: int, n: int, predicted: float, correct: int) -> CalibrationRow:
    squared = correct * (1 - predicted) ** 2 + (n - correct) * predicted**2
    return CalibrationRow(version, bin_, n, n * predicted, correct, squared, 0, 0.0, 0.0, 0, 0)


def test_today_begins_at_the_readers_midnight() -> None:
    late_evening_in_utc = datetime(2026, 3, 31, 23, 30, tzinfo=UTC)
    days = [DayRow(date(2026, 4, 1), 2, 1, 30.0), DayRow(date(2026, 3, 31), 3, 3, 20.0)]
    store = Figures(days)
    summary = analytics.summary(store, "ada", late_evening_in_utc, timezone(timedelta(hours=1)))
    assert (summary.today.completed, summary.today.accuracy) == (2, 0.5)
    assert store.midnights[0].isoformat() == "2026-03-03T00:00:00+01:00"
    assert (len(store.midnights), store.midnights[-1].isoformat()) == (30, "2026-04-01T00:00:00+01:00")


@pytest.mark.parametrize(
    ("zone", "now", "lengths"),
    [
        ("America/New_York", "2026-11-03T12:00Z", {"2026-11-01": 25}),
        ("America/New_York", "2026-03-20T12:00Z", {"2026-03-08": 23}),
        ("Europe/Berlin", "2026-10-30T12:00Z", {"2026-10-25": 25}),
        ("Australia/Lord_Howe", "2026-04-20T12:00Z", {"2026-04-05": 24.5}),
        ("Africa/Cairo", "2026-05-10T12:00Z", {"2026-04-24": 23}),  # the clocks go from 0:00 to 1:00
        ("America/Havana", "2026-11-10T12:00Z", {"2026-11-01": 25}),  # and from 1:00 back to 0:00
        ("Asia/Kathmandu", "2026-11-10T12:00Z", {}),
    ],
)
def test_days_are_shorter_or_longer_where_clocks_change(zone: str, now: str, lengths: dict[str, float]) -> None:
    store = Figures()
    analytics.summary(store, "ada", datetime.fromisoformat(now), ZoneInfo(zone))
    starts = [each.astimezone(UTC) for each in store.midnights]
    hours = [(end - start) / timedelta(hours=1) for start, end in pairwise(starts)]
    dates = [each.date().isoformat() for each in store.midnights]
    assert {day: length for day, length in zip(dates, hours, strict=False) if length != 24} == lengths


def test_the_last_seven_days_are_today_and_six_before() -> None:
    days = [DayRow(date(2026, 3, day), 1, 1, None) for day in (31, 25, 24)]
    summary = analytics.summary(Figures(days), "ada", datetime(2026, 3, 31, 12, tzinfo=UTC), UTC)
    assert (summary.last_7_days.completed, len(summary.days)) == (2, 3)


def test_a_day_without_completions_has_no_accuracy() -> None:
    summary = analytics.summary(Figures(), "ada", datetime(2026, 3, 31, tzinfo=UTC), UTC)
    assert (summary.today.completed, summary.today.accuracy) == (0, None)


def test_calibration_joins_versions_and_lists_the_newest_first() -> None:
    rows = [
        row("embedding_20260101", 2, 4, 0.25, 1),
        row("lnirt_20260301", 2, 4, 0.25, 3),
        row("embedding_20260301", 8, 2, 0.85, 2),
    ]
    report = analytics.calibration(Figures(calibration=rows), "ada")
    assert [version.lnirt_model_version.partition("_")[2] for version in report.by_version] == [
        "20260301",
        "20260301",
        "20260101",
    ]
    assert [(one.n, one.actual) for one in report.overall.bins] == [(8, 0.5), (2, 1.0)]
    assert report.overall.expected_calibration_error == pytest.approx(0.8 * 0.25 + 0.2 * 0.15)
    assert report.overall.brier_score == pytest.approx((4 * 0.5625 + 4 * 0.0625 + 2 * 0.0225) / 10)


def test_no_predictions_are_no_calibration() -> None:
    overall = analytics.calibration(Figures(), None).overall
    assert (overall.n, overall.brier_score, overall.time_ratio, overall.bins) == (0, None, None, [])


def test_mastery_without_answers_is_one_half_and_unsure() -> None:
    middle, low, high = analytics.mastery(0.0, 0.0)
    assert middle == 0.5
    assert low == pytest.approx(1 - high)
    assert low < 0.2


@given(weight=st.floats(0, 1e4), share=st.floats(0, 1))
def test_mastery_lies_inside_its_interval(weight: float, share: float) -> None:
    middle, low, high = analytics.mastery(weight * share, weight)
    assert 0 <= low <= middle <= high <= 1


@given(weight=st.floats(0, 1e3), share=st.floats(0, 1), more=st.floats(0.1, 10))
def test_another_correct_answer_never_lowers_mastery(weight: float, share: float, more: float) -> None:
    before = analytics.mastery(weight * share, weight)[0]
    assert analytics.mastery(weight * share + more, weight + more)[0] >= before - 1e-12


@given(st.integers(1, 1000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_share_lies_in_its_interval_and_that_in_0_to_1(answers: tuple[int, int]) -> None:
    low, high = analytics.interval_of_share(*answers)
    assert 0 <= low <= answers[0] / answers[1] <= high <= 1


def test_an_interval_holds_the_chance_about_as_often_as_it_says() -> None:
    n, chance, inside = 30, 0.3, 0.0
    for correct in range(n + 1):
        low, high = analytics.interval_of_share(correct, n)
        inside += (low <= chance <= high) * math.comb(n, correct) * chance**correct * (1 - chance) ** (n - correct)
    assert inside == pytest.approx(0.8, abs=0.06)
