"""What the pages and other readers see of results: figures by day and topic, and predicted against actual.

The store aggregates; everything here is arithmetic on a few rows, so the cost does not grow with history beyond one
indexed scan of the student's own tasks. Predictions of source ``default`` (0.5, 60 s) say nothing about a model and
are left out wherever predicted stands against actual; imported history carries them too.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta, timezone

from msgspec import Struct

from chalicelib.domain.calibration import N_BINS, expected_calibration_error
from chalicelib.domain.results import CalibrationRow, DayRow, TopicRow
from chalicelib.ports import AnalyticsStore

N_DAYS = 30
"""Days of the trend, today among them."""

MASTERY_DECAY_ANSWERS = 8.0
"""An answer on a topic counts exp(-k / 8) in its mastery when k answers on that topic came after it."""

_Z_80 = 1.2815515594600038
"""Standard normal quantile of 0.9: the limits of an 80 % interval."""


class Period(Struct, frozen=True):
    """Completions of a stretch of days; ``accuracy`` is null when there were none."""

    completed: int
    correct: int
    accuracy: float | None


class Day(Struct, frozen=True):
    """One day of the trend."""

    day: date
    completed: int
    correct: int
    accuracy: float | None
    median_time_seconds: float | None


class Summary(Struct, frozen=True):
    """A student's figures. ``predicted_accuracy`` is the mean predicted chance of tasks that a model predicted."""

    tasks: int
    completed: int
    correct: int
    accuracy: float | None
    predicted_accuracy: float | None
    mean_time_seconds: float | None
    median_time_seconds: float | None
    total_time_seconds: float
    today: Period
    last_7_days: Period
    days: list[Day]


class Topic(Struct, frozen=True):
    """A student's results on a topic.

    ``mastery`` is the recency-weighted share of correct answers (see :func:`mastery`) with its 80 % interval;
    ``time_ratio`` the geometric mean of actual / predicted seconds: 1.2 is 20 % slower than predicted.
    """

    topic: str
    completed: int
    correct: int
    accuracy: float
    predicted_accuracy: float | None
    mastery: float
    mastery_low: float
    mastery_high: float
    median_time_seconds: float | None
    time_ratio: float | None
    last_completed_at: datetime | None


class Bin(Struct, frozen=True):
    """Predictions between ``low`` and ``high``: their mean, and the share that was solved with its 80 % interval."""

    low: float
    high: float
    n: int
    predicted: float
    actual: float
    actual_low: float
    actual_high: float


class Calibration(Struct, frozen=True):
    """How predictions stood to results. All but the counts is null when there is nothing to judge by.

    ``time_log_rmse`` is the root mean square of ln(actual / predicted seconds), ``time_ratio`` its geometric mean,
    ``interval_coverage`` the share of times inside their 80 % interval.
    """

    n: int
    accuracy: float | None
    predicted_accuracy: float | None
    brier_score: float | None
    expected_calibration_error: float | None
    n_timed: int
    time_ratio: float | None
    time_log_rmse: float | None
    interval_coverage: float | None
    bins: list[Bin]


class VersionCalibration(Struct, frozen=True):
    """The calibration of one model version, ``embedding_<version>`` or ``lnirt_<version>``."""

    lnirt_model_version: str
    calibration: Calibration


class CalibrationReport(Struct, frozen=True):
    """Predicted against actual over all versions, and by version, newest first."""

    overall: Calibration
    by_version: list[VersionCalibration]


def summary(store: AnalyticsStore, user_id: str, now: datetime, utc_offset_minutes: int) -> Summary:
    """A student's figures, days as the reader's clock (``utc_offset_minutes`` ahead of UTC) has them."""
    here = timezone(timedelta(minutes=utc_offset_minutes))
    today = now.astimezone(here).date()
    since = datetime.combine(today - timedelta(days=N_DAYS - 1), datetime.min.time(), here)
    totals = store.totals(user_id)
    days = store.days(user_id, since, utc_offset_minutes)
    return Summary(
        tasks=totals.tasks,
        completed=totals.completed,
        correct=totals.correct,
        accuracy=_share(totals.correct, totals.completed),
        predicted_accuracy=totals.predicted_accuracy,
        mean_time_seconds=totals.mean_time_seconds,
        median_time_seconds=totals.median_time_seconds,
        total_time_seconds=totals.total_time_seconds,
        today=_period(row for row in days if row.day == today),
        last_7_days=_period(row for row in days if row.day > today - timedelta(days=7)),
        days=[
            Day(row.day, row.completed, row.correct, _share(row.correct, row.completed), row.median_time_seconds)
            for row in days
        ],
    )


def topics(store: AnalyticsStore, user_id: str, limit: int) -> list[Topic]:
    """A student's results by topic, most recently practised first."""
    return [_topic(row) for row in store.topics(user_id, MASTERY_DECAY_ANSWERS, limit)]


def calibration(store: AnalyticsStore, user_id: str | None) -> CalibrationReport:
    """Predicted against actual, of one student, or of everybody when ``user_id`` is None."""
    rows = store.calibration(user_id, N_BINS)
    by_version: dict[str, list[CalibrationRow]] = defaultdict(list)
    for row in rows:
        by_version[row.lnirt_model_version].append(row)
    # A version begins with the time of its training, so its text sorts by age.
    newest_first = sorted(by_version, key=lambda name: name.partition("_")[2], reverse=True)
    return CalibrationReport(
        _calibration(rows), [VersionCalibration(name, _calibration(by_version[name])) for name in newest_first]
    )


def mastery(weighted_correct: float, weight: float) -> tuple[float, float, float]:
    """(mastery, low, high) from decayed sums of correct and of all answers, all in 0..1.

    The mean of Beta(1 + correct, 1 + wrong), and an 80 % interval that is normal on the logit scale, where a Beta is
    nearly symmetric: variance 1/a + 1/b. No answers give one half, and an interval from .14 to .86.
    """
    right, wrong = 1.0 + weighted_correct, 1.0 + max(0.0, weight - weighted_correct)
    centre, spread = math.log(right / wrong), _Z_80 * math.sqrt(1.0 / right + 1.0 / wrong)
    return right / (right + wrong), _logistic(centre - spread), _logistic(centre + spread)


def interval_of_share(correct: int, n: int) -> tuple[float, float]:
    """80 % interval of the chance behind ``correct`` of ``n`` >= 1 answers, in 0..1; the share itself lies in it.

    Wilson, 1927, Probable inference, the law of succession, and statistical inference, JASA 22, 209-212.
    """
    share, square = correct / n, _Z_80**2 / n
    middle = (share + square / 2) / (1 + square)
    reach = math.sqrt(square * (share * (1 - share) + square / 4)) / (1 + square)
    return max(0.0, min(middle - reach, share)), min(1.0, max(middle + reach, share))


def _logistic(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value))


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _period(rows: Iterable[DayRow]) -> Period:
    kept = list(rows)
    completed, correct = sum(row.completed for row in kept), sum(row.correct for row in kept)
    return Period(completed, correct, _share(correct, completed))


def _topic(row: TopicRow) -> Topic:
    middle, low, high = mastery(row.weighted_correct, row.weight)
    return Topic(
        topic=row.topic,
        completed=row.completed,
        correct=row.correct,
        accuracy=row.correct / row.completed,
        predicted_accuracy=row.predicted_accuracy,
        mastery=middle,
        mastery_low=low,
        mastery_high=high,
        median_time_seconds=row.median_time_seconds,
        time_ratio=None if row.mean_log_time_ratio is None else math.exp(row.mean_log_time_ratio),
        last_completed_at=row.last_completed_at,
    )


def _calibration(rows: Sequence[CalibrationRow]) -> Calibration:
    n, timed = sum(row.n for row in rows), sum(row.timed for row in rows)
    correct, predicted = sum(row.correct for row in rows), sum(row.sum_predicted for row in rows)
    mean_log = _share(sum(row.sum_log_ratio for row in rows), timed)
    mean_square = _share(sum(row.sum_squared_log_ratio for row in rows), timed)
    bins = _bins(rows)
    return Calibration(
        n=n,
        accuracy=_share(correct, n),
        predicted_accuracy=_share(predicted, n),
        brier_score=_share(sum(row.sum_squared_error for row in rows), n),
        expected_calibration_error=expected_calibration_error(
            (one.n, one.n * one.actual, one.n * one.predicted) for one in bins
        ),
        n_timed=timed,
        time_ratio=None if mean_log is None else math.exp(mean_log),
        time_log_rmse=None if mean_square is None else math.sqrt(mean_square),
        interval_coverage=_share(sum(row.inside for row in rows), sum(row.with_interval for row in rows)),
        bins=bins,
    )


def _bins(rows: Sequence[CalibrationRow]) -> list[Bin]:
    by_bin: dict[int, list[CalibrationRow]] = defaultdict(list)
    for row in rows:
        by_bin[row.bin].append(row)
    bins = []
    for number in sorted(by_bin):
        n = sum(row.n for row in by_bin[number])
        predicted = sum(row.sum_predicted for row in by_bin[number]) / n
        correct = sum(row.correct for row in by_bin[number])
        low, high = interval_of_share(correct, n)
        bins.append(Bin(number / N_BINS, (number + 1) / N_BINS, n, predicted, correct / n, low, high))
    return bins
