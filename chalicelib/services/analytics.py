"""Analytics of results: by day, by topic, and compared with the predictions.

The store aggregates by one indexed scan of a student's tasks; this module computes the figures from a few rows.
Comparisons skip predictions of source ``default`` (0.5, 60 s), which imported answers have too, because no model made
them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Annotated

from msgspec import Struct

from chalicelib.domain.calibration import N_BINS, expected_calibration_error, share
from chalicelib.domain.fields import (
    Accuracy,
    BrierScore,
    CalibrationError,
    DueAt,
    LnirtVersion,
    MedianSeconds,
    NCompleted,
    NCorrect,
    PredictedAccuracy,
    SubjectText,
    TimeRatio,
    TopicText,
    about,
)
from chalicelib.domain.numerics import OF_FLOATS
from chalicelib.domain.results import CalibrationRow, DayRow, TopicRow
from chalicelib.domain.topics import topic_key
from chalicelib.ports import AnalyticsStore, TaskStore
from chalicelib.services.champion import ChampionCache
from chalicelib.services.curve import falls, newest_rows

N_DAYS = 30
"""Number of days of the trend, including today."""

MASTERY_DECAY_ANSWERS = 8.0
"""Decay constant of mastery: an answer followed by k answers on the same topic has the weight exp(-k / 8)."""

_Z_80 = 1.2815515594600038
"""The 90 % quantile of the standard normal distribution, for the limits of 80 % intervals."""


class Period(Struct, frozen=True):
    """Completions of several days. ``accuracy`` is null without completions."""

    completed: NCompleted
    correct: NCorrect
    accuracy: Accuracy | None


class TrendDay(Struct, frozen=True):
    """One day of the trend."""

    day: Annotated[date, about("Day of the reader's calendar", "2026-03-02")]
    completed: NCompleted
    correct: NCorrect
    accuracy: Accuracy | None
    median_time_seconds: MedianSeconds | None


class Summary(Struct, frozen=True):
    """A student's totals. ``predicted_accuracy`` is the mean probability that models predicted."""

    tasks: Annotated[int, about("Number of tasks, the open ones too", 45)]
    completed: NCompleted
    correct: NCorrect
    accuracy: Accuracy | None
    predicted_accuracy: PredictedAccuracy | None
    mean_time_seconds: Annotated[float, about("Mean time in seconds; null without measured times", 44.1)] | None
    median_time_seconds: MedianSeconds | None
    total_time_seconds: Annotated[float, about("Sum of the measured times, in seconds", 1852.0)]
    today: Annotated[Period, about("Completions of today")]
    last_7_days: Annotated[Period, about("Completions of the last 7 days, including today")]
    days: Annotated[list[TrendDay], about("The last 30 days, oldest first")]


class Topic(Struct, frozen=True):
    """A student's results on a topic.

    ``mastery`` is the share of correct answers, weighted by recency, with its 80 % interval.
    ``time_ratio`` is the geometric mean of actual / predicted seconds: 1.2 means 20 % slower than predicted.
    """

    subject: SubjectText
    topic: TopicText
    completed: NCompleted
    correct: NCorrect
    accuracy: Annotated[float, about("Share of correct answers", 0.714)]
    predicted_accuracy: PredictedAccuracy | None
    mastery: Annotated[float, about("Share of correct answers, weighted by recency", 0.78)]
    mastery_low: Annotated[float, about("Lower limit of the 80 % interval of the mastery", 0.66)]
    mastery_high: Annotated[float, about("Upper limit of the 80 % interval of the mastery", 0.87)]
    median_time_seconds: MedianSeconds | None
    time_ratio: TimeRatio | None
    last_completed_at: (
        Annotated[datetime, about("Time of the newest answer", "2026-03-02T09:01:00Z", "date-time")] | None
    )
    due_at: DueAt | None


class Bin(Struct, frozen=True):
    """Predictions between ``low`` and ``high``: their mean, and the share of correct answers with its 80 % interval."""

    low: Annotated[float, about("Lower limit of the probabilities", 0.7)]
    high: Annotated[float, about("Upper limit of the probabilities", 0.8)]
    n: Annotated[int, about("Number of predictions", 17)]
    predicted: Annotated[float, about("Mean of the probabilities", 0.746)]
    actual: Annotated[float, about("Share of correct answers", 0.765)]
    actual_low: Annotated[float, about("Lower limit of the 80 % interval of the share", 0.61)]
    actual_high: Annotated[float, about("Upper limit of the 80 % interval of the share", 0.87)]


class Calibration(Struct, frozen=True):
    """A comparison of predictions with results. A figure without data is null.

    ``time_log_rmse`` is the root mean square of ln(actual / predicted seconds), ``time_ratio`` the geometric mean of
    actual / predicted seconds, and ``interval_coverage`` the share of times inside their 80 % interval.
    """

    n: Annotated[int, about("Number of completed predictions", 42)]
    accuracy: Accuracy | None
    predicted_accuracy: PredictedAccuracy | None
    brier_score: BrierScore | None
    expected_calibration_error: CalibrationError | None
    n_timed: Annotated[int, about("Number of them with a measured time", 40)]
    time_ratio: TimeRatio | None
    time_log_rmse: Annotated[float, about("Root mean square of ln(actual / predicted seconds)", 0.52)] | None
    interval_coverage: Annotated[float, about("Share of times inside their 80 % interval", 0.81)] | None
    bins: Annotated[list[Bin], about("The predictions by their probability, in tenths")]


class VersionCalibration(Struct, frozen=True):
    """The calibration of one model version, ``embedding_<version>`` or ``lnirt_<version>``."""

    lnirt_model_version: LnirtVersion
    calibration: Annotated[Calibration, about("Calibration of this version")]


class CalibrationReport(Struct, frozen=True):
    """The calibration over all versions, and by version, newest first."""

    overall: Annotated[Calibration, about("Calibration over all versions")]
    by_version: Annotated[list[VersionCalibration], about("Calibration of each version, newest first")]


def summary(store: AnalyticsStore, user_id: str, now: datetime, zone: tzinfo) -> Summary:
    """Return a student's figures. Days begin at midnight in the reader's ``zone``."""
    today = now.astimezone(zone).date()
    dates = [today - timedelta(days=age) for age in reversed(range(N_DAYS))]
    totals = store.totals(user_id)
    days = store.days(user_id, [datetime.combine(each, datetime.min.time(), zone) for each in dates])
    return Summary(
        tasks=totals.tasks,
        completed=totals.completed,
        correct=totals.correct,
        accuracy=share(totals.correct, totals.completed),
        predicted_accuracy=totals.predicted_accuracy,
        mean_time_seconds=totals.mean_time_seconds,
        median_time_seconds=totals.median_time_seconds,
        total_time_seconds=totals.total_time_seconds,
        today=_period(row for row in days if row.day == today),
        last_7_days=_period(row for row in days if row.day > today - timedelta(days=7)),
        days=[
            TrendDay(row.day, row.completed, row.correct, share(row.correct, row.completed), row.median_time_seconds)
            for row in days
        ],
    )


def topics(
    store: AnalyticsStore,
    tasks: TaskStore,
    champion: ChampionCache,
    user_id: str,
    target: float,
    limit: int,
    after: int = 0,
) -> list[Topic]:
    """Return a student's results by topic, most recently practised first, without the first ``after`` topics.

    A topic is due when its chance at the difficulty practised last falls below the target.
    """
    rows = store.topics(user_id, MASTERY_DECAY_ANSWERS, limit, after)
    context = tasks.prediction_context(user_id)
    newest = newest_rows(context.state)
    keys = [key for row in rows if (key := topic_key(row.subject, row.topic)) in newest]
    requested = [(key, newest[key].difficulty) for key in keys]
    predictor = champion.current(context.model_version)
    found = falls(predictor, context.state, requested, target, datetime.now(UTC))
    due = {key: fall.due_at for key, fall in zip(keys, found, strict=True) if fall is not None}
    return [_topic(row, due.get(topic_key(row.subject, row.topic))) for row in rows]


def calibration(store: AnalyticsStore, user_id: str | None) -> CalibrationReport:
    """Return the calibration for one student, or for all students if ``user_id`` is None."""
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
    """Return (mastery, low, high) in 0..1 from the decayed sums of correct answers and of all answers.

    Mastery is the mean of Beta(a, b) with a = 1 + correct and b = 1 + incorrect. The 80 % interval is that of a normal
    distribution of the logit with variance 1/a + 1/b. Without answers mastery is 0.5 and the interval 0.14 to 0.86.
    """
    a, b = 1.0 + weighted_correct, 1.0 + max(0.0, weight - weighted_correct)
    centre, spread = math.log(a / b), _Z_80 * math.sqrt(1.0 / a + 1.0 / b)
    return a / (a + b), OF_FLOATS.logistic(centre - spread), OF_FLOATS.logistic(centre + spread)


def interval_of_share(correct: int, n: int) -> tuple[float, float]:
    """Return the 80 % score interval of the probability behind ``correct`` of ``n`` >= 1 answers, in 0..1.

    Wilson, 1927, Probable inference, the law of succession, and statistical inference, JASA 22, 209-212.
    """
    p, square = correct / n, _Z_80**2 / n
    middle = (p + square / 2) / (1 + square)
    reach = math.sqrt(square * (p * (1 - p) + square / 4)) / (1 + square)
    return max(0.0, min(middle - reach, p)), min(1.0, max(middle + reach, p))


def _period(rows: Iterable[DayRow]) -> Period:
    kept = list(rows)
    completed, correct = sum(row.completed for row in kept), sum(row.correct for row in kept)
    return Period(completed, correct, share(correct, completed))


def _topic(row: TopicRow, due_at: datetime | None) -> Topic:
    middle, low, high = mastery(row.weighted_correct, row.weight)
    return Topic(
        subject=row.subject,
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
        due_at=due_at,
    )


def _calibration(rows: Sequence[CalibrationRow]) -> Calibration:
    n, timed = sum(row.n for row in rows), sum(row.timed for row in rows)
    correct, predicted = sum(row.correct for row in rows), sum(row.sum_predicted for row in rows)
    mean_log = share(sum(row.sum_log_ratio for row in rows), timed)
    mean_square = share(sum(row.sum_squared_log_ratio for row in rows), timed)
    bins = _bins(rows)
    return Calibration(
        n=n,
        accuracy=share(correct, n),
        predicted_accuracy=share(predicted, n),
        brier_score=share(sum(row.sum_squared_error for row in rows), n),
        expected_calibration_error=expected_calibration_error(
            (one.n, one.n * one.actual, one.n * one.predicted) for one in bins
        ),
        n_timed=timed,
        time_ratio=None if mean_log is None else math.exp(mean_log),
        time_log_rmse=None if mean_square is None else math.sqrt(mean_square),
        interval_coverage=share(sum(row.inside for row in rows), sum(row.with_interval for row in rows)),
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
