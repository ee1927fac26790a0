"""What every analytics store sums up, be it in memory or in PostgreSQL."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from chalicelib.domain.predictions import DEFAULT_PREDICTION, Prediction, Source
from chalicelib.domain.results import DayRow, ItemResult, PredictedAnswer, ServedAnswer, Totals
from chalicelib.domain.tasks import Difficulty, NewTask, PracticeTask, Result
from chalicelib.domain.training import TrainingPolicy
from chalicelib.ports import AnalyticsStore, TaskStore
from chalicelib.storage.analytics_store import PostgresAnalyticsStore
from chalicelib.storage.database import connect
from chalicelib.storage.task_store import PostgresTaskStore
from tests.support.fakes.analytics import MemoryAnalyticsStore
from tests.support.fakes.database import MemoryDatabase, MemoryTaskStore

ADA = "ada"


@dataclass
class Practice:
    """A student at work, and the store that sums it up."""

    tasks: TaskStore
    analytics: AnalyticsStore

    def create(
        self, prediction: Prediction, topic: str = "Fractions", user: str = ADA, subject: str = "Mathematics"
    ) -> PracticeTask:
        return self.tasks.insert(user, NewTask(subject, topic, Difficulty.HARD, "1/2 + 1/3"), prediction)

    def answer(
        self,
        correct: bool,
        seconds: float,
        prediction: Prediction = DEFAULT_PREDICTION,
        topic: str = "Fractions",
        user: str = ADA,
        at: datetime | None = None,
        subject: str = "Mathematics",
    ) -> PracticeTask:
        task = self.create(prediction, topic, user, subject)
        return self.tasks.complete(user, task.id, Result(correct, seconds, at), None, TrainingPolicy()).task


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.slow)])
def practice(request: pytest.FixtureRequest) -> Iterator[Practice]:
    if request.param == "memory":
        database = MemoryDatabase()
        yield Practice(MemoryTaskStore(database), MemoryAnalyticsStore(database))
        return
    engine = connect(request.getfixturevalue("database_url"), pool_size=2)
    yield Practice(PostgresTaskStore(engine, "default"), PostgresAnalyticsStore(engine, "default"))
    engine.dispose()


def predicted(chance: float, seconds: int = 40, version: str = "v1", source: Source = Source.EMBEDDING) -> Prediction:
    return Prediction(chance, seconds, 20, 80, source, version)


def test_nobody_has_no_figures(practice: Practice) -> None:
    assert practice.analytics.totals("nobody") == Totals(0, 0, 0, None, None, None, 0)
    assert practice.analytics.days("nobody", [datetime(2020, 1, 1, tzinfo=UTC)]) == []
    assert practice.analytics.topics("nobody", 8.0, 10) == []
    assert practice.analytics.calibration("nobody", 10) == []
    assert practice.analytics.calibration(None, 10) == []


def answer_item(practice: Practice, content: str, correct: bool, item_id: str | None = None) -> PracticeTask:
    new = NewTask("Mathematics", "Fractions", Difficulty.HARD, content, item_id=item_id)
    task = practice.tasks.insert(ADA, new, DEFAULT_PREDICTION)
    return practice.tasks.complete(ADA, task.id, Result(correct, 9), None, TrainingPolicy()).task


def test_items_are_listed_hardest_first(practice: Practice) -> None:
    assert practice.analytics.items(ADA, 9) == []
    practice.answer(False, 9, user="bob")
    for content, correct in (("once", False), ("often", False), ("often", False), ("often", False), ("easy", True)):
        answer_item(practice, content, correct)
    answer_item(practice, "x" * 300, True, "Q-1")
    last = answer_item(practice, "y" * 300, False, "q-1")
    answer_item(practice, " ", False)
    practice.tasks.insert(ADA, NewTask("Mathematics", "T", Difficulty.HARD, "open"), DEFAULT_PREDICTION)
    found = practice.analytics.items(ADA, 9)
    assert [(item.task_content[:5], item.attempts, item.correct) for item in found] == [
        ("often", 3, 0),
        ("once", 1, 0),
        ("yyyyy", 2, 1),
        ("easy", 1, 1),
    ]
    assert found[2] == ItemResult(
        "q-1", "Mathematics", "Fractions", Difficulty.HARD, "y" * 200, 2, 1, 0.5, last.completed_at
    )
    assert practice.analytics.items(ADA, 2, 1) == found[1:3]


def test_totals_count_open_and_completed_tasks_of_this_student_only(practice: Practice) -> None:
    practice.answer(True, 20, predicted(0.9))
    practice.answer(False, 50, predicted(0.5))
    practice.answer(True, 30)
    practice.create(predicted(0.1))
    practice.answer(False, 999, user="bob")
    totals = practice.analytics.totals(ADA)
    assert (totals.tasks, totals.completed, totals.correct) == (4, 3, 2)
    assert totals.predicted_accuracy == pytest.approx(0.7)  # neither the default's 0.5 nor the open task's 0.1
    assert totals.mean_time_seconds == pytest.approx(100 / 3)
    assert (totals.median_time_seconds, totals.total_time_seconds) == (30, 100)


def test_days_are_those_of_the_readers_clock(practice: Practice) -> None:
    moment = practice.answer(True, 20).completed_at
    assert moment is not None
    for zone in (UTC, ZoneInfo("America/New_York"), timezone(timedelta(hours=-14)), timezone(timedelta(hours=14))):
        today = moment.astimezone(zone).date()
        midnights = [datetime.combine(today + timedelta(days=n), datetime.min.time(), zone) for n in (-1, 0, 1)]
        assert practice.analytics.days(ADA, midnights) == [DayRow(today, 1, 1, 20)]
    second = timedelta(seconds=1)
    assert practice.analytics.days(ADA, [moment - second, moment]) == [DayRow(moment.date(), 1, 1, 20)]
    assert practice.analytics.days(ADA, [moment + second]) == []


def test_days_end_at_midnight_also_before_clocks_change(practice: Practice) -> None:
    """New York's clocks were an hour further ahead until 1 November 2026, so 30 October ended at 04:00 UTC."""
    for moment in ("2026-10-31T03:30Z", "2026-10-31T04:30Z", "2026-11-02T04:30Z"):
        practice.answer(True, 20, at=datetime.fromisoformat(moment))
    dates = [date(2026, 10, 30) + timedelta(days=n) for n in range(4)]
    midnights = [datetime.combine(each, datetime.min.time(), ZoneInfo("America/New_York")) for each in dates]
    assert [row.day for row in practice.analytics.days(ADA, midnights)] == [dates[2], dates[1], dates[0]]


def test_spellings_of_a_topic_are_one_topic_named_by_the_newest(practice: Practice) -> None:
    practice.answer(True, 10, topic="Fractions")
    practice.answer(True, 10, topic="Algebra")
    practice.answer(False, 30, topic=" FRACTIONS")
    topics = practice.analytics.topics(ADA, 8.0, 10)
    assert [(row.topic, row.completed, row.correct) for row in topics] == [(" FRACTIONS", 2, 1), ("Algebra", 1, 1)]
    assert topics[0].median_time_seconds == 20
    assert [row.topic for row in practice.analytics.topics(ADA, 8.0, 1)] == [" FRACTIONS"]


def test_older_answers_of_a_topic_weigh_less(practice: Practice) -> None:
    practice.answer(True, 10)
    practice.answer(False, 10, topic="Algebra")
    practice.answer(False, 10)
    (fractions, _) = practice.analytics.topics(ADA, 2.0, 10)
    assert fractions.weight == pytest.approx(1 + math.exp(-0.5))
    assert fractions.weighted_correct == pytest.approx(math.exp(-0.5))


def test_the_pace_of_a_topic_leaves_out_defaults_and_zero_seconds(practice: Practice) -> None:
    practice.answer(True, 80, predicted(0.5, seconds=40))
    practice.answer(True, 0, predicted(0.5, seconds=40))
    practice.answer(True, 5)
    (row,) = practice.analytics.topics(ADA, 8.0, 10)
    assert row.mean_log_time_ratio == pytest.approx(math.log(2))


def test_the_same_topic_of_two_subjects_has_two_rows(practice: Practice) -> None:
    practice.answer(True, 80, topic="Chapter 1", subject="History")
    practice.answer(True, 60, topic="Chapter 1", subject="Biology")
    practice.answer(False, 60, topic="chapter 1", subject="HISTORY")
    rows = practice.analytics.topics(ADA, 8.0, 10)
    assert [(row.subject, row.topic, row.completed, row.correct) for row in rows] == [
        ("HISTORY", "chapter 1", 2, 1),
        ("Biology", "Chapter 1", 1, 1),
    ]
    assert rows[0].weight == pytest.approx(1 + math.exp(-1 / 8))


def test_calibration_sums_by_version_and_bin(practice: Practice) -> None:
    practice.answer(True, 40, predicted(0.72))
    practice.answer(False, 100, predicted(0.78))
    practice.answer(True, 0, predicted(1.0))
    practice.answer(True, 40, predicted(0.72, version="v2", source=Source.LNIRT))
    practice.answer(True, 40)
    practice.create(predicted(0.72))
    first, last, other = practice.analytics.calibration(ADA, 10)
    assert (first.lnirt_model_version, first.bin, first.n, first.correct) == ("embedding_v1", 7, 2, 1)
    assert first.sum_predicted == pytest.approx(1.5)
    assert first.sum_squared_error == pytest.approx(0.28**2 + 0.78**2)
    assert (first.timed, first.with_interval, first.inside) == (2, 2, 1)
    assert first.sum_log_ratio == pytest.approx(math.log(2.5))
    assert first.sum_squared_log_ratio == pytest.approx(math.log(2.5) ** 2)
    assert (last.bin, last.n, last.timed) == (9, 1, 0)  # a chance of 1 belongs to the last bin
    assert (other.lnirt_model_version, other.bin, other.n) == ("lnirt_v2", 7, 1)


def test_calibration_over_all_takes_everybody(practice: Practice) -> None:
    practice.answer(True, 40, predicted(0.72))
    practice.answer(False, 40, predicted(0.72), user="bob")
    (row,) = practice.analytics.calibration(None, 10)
    assert (row.n, row.correct) == (2, 1)


def test_the_latest_predicted_answers_come_newest_first_without_defaults_and_open_tasks(practice: Practice) -> None:
    practice.answer(True, 30, predicted(0.9))
    practice.answer(False, 40, predicted(0.25, version="v2", source=Source.LNIRT), topic="Algebra")
    practice.answer(True, 30)
    practice.create(predicted(0.1))
    practice.answer(True, 30, predicted(0.2), user="bob")
    newest, older = practice.analytics.latest_predicted(ADA, 10)
    assert older.predicted_correct == 0.9
    assert newest.completed_at is not None
    assert replace(newest, completed_at=None) == PredictedAnswer(
        "Mathematics", "Algebra", Difficulty.HARD, "lnirt_v2", 0.25, False, 40, 20, 80, 40, None
    )
    # The limit counts answers that were looked at, the default's among them.
    assert practice.analytics.latest_predicted(ADA, 1) == []
    assert practice.analytics.latest_predicted(ADA, 2) == [newest]


def test_drift_sums_the_newest_completions_of_all_by_window_source_and_bin(practice: Practice) -> None:
    practice.answer(True, 40, predicted(0.99))  # the fifth from the end: beyond the limit
    practice.answer(True, 40, predicted(0.72))
    practice.answer(False, 80, predicted(0.78), user="bob")
    practice.answer(True, 0, predicted(0.75, source=Source.LNIRT))
    practice.answer(True, 60, user="bob")
    practice.create(predicted(0.1))
    default, lnirt, both = practice.analytics.drift(limit=4, window=2, n_bins=10)
    assert [(row.window, row.source, row.bin, row.n) for row in (default, lnirt, both)] == [
        (0, Source.DEFAULT, 5, 1),
        (0, Source.LNIRT, 7, 1),
        (1, Source.EMBEDDING, 7, 2),
    ]
    assert both.sum_predicted == pytest.approx(1.5)
    assert both.correct == 1
    assert both.sum_squared_error == pytest.approx(0.28**2 + 0.78**2)
    assert both.timed == 2
    assert both.sum_log_ratio == pytest.approx(math.log(2))
    assert (lnirt.timed, lnirt.sum_log_ratio) == (0, 0)
    assert both.first_at < both.last_at < lnirt.first_at
    assert practice.analytics.drift(limit=0, window=10, n_bins=10) == []


def test_newest_served_answers_have_their_place_and_the_pause_before_them(practice: Practice) -> None:
    first = practice.answer(True, 40, predicted(0.9))
    second = practice.answer(False, 80, predicted(0.78, source=Source.LNIRT))
    other = practice.answer(True, 40, user="bob", topic="Algebra")
    practice.create(predicted(0.1))
    bobs, later, earlier = practice.analytics.newest_served(10)
    assert bobs == ServedAnswer("bob", "Mathematics", "Algebra", Source.DEFAULT, None, 0.5, True, 0, 1, None)
    assert (other.completed, later.user_id, later.index, earlier.index) == (True, ADA, 1, 0)
    assert (later.source, later.model_version, later.predicted_correct) == (Source.LNIRT, "v1", 0.78)
    assert (later.is_correct, later.n_answers, earlier.n_answers) == (False, 2, 2)
    assert first.completed_at is not None
    assert later.hours_paused == pytest.approx((second.created_at - first.completed_at).total_seconds() / 3600)
    assert earlier.hours_paused is None
    assert practice.analytics.newest_served(1) == [bobs]
