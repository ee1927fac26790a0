"""An in-memory stand-in for the aggregates that PostgreSQL computes."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime

from chalicelib.domain.items import item_of
from chalicelib.domain.predictions import Source
from chalicelib.domain.results import (
    CalibrationRow,
    DayRow,
    DriftRow,
    ItemResult,
    PredictedAnswer,
    ServedAnswer,
    TopicRow,
    Totals,
)
from chalicelib.domain.tasks import PracticeTask
from chalicelib.domain.topics import topic_key
from tests.support.fakes.database import MemoryStore


class MemoryAnalyticsStore(MemoryStore):
    """Implements :class:`chalicelib.ports.AnalyticsStore`."""

    def totals(self, user_id: str) -> Totals:
        with self._db as db:
            n_tasks = sum(task.user_id == user_id for task in db.tasks.values())
        done = self._done(user_id)
        times = _times(done)
        return Totals(
            n_tasks,
            len(done),
            _correct(done),
            _mean(task.predicted_correct for task in done if task.prediction_source != "default"),
            _mean(times),
            statistics.median(times) if times else None,
            sum(times),
        )

    def days(self, user_id: str, midnights: Sequence[datetime]) -> list[DayRow]:
        by_day: dict[date, list[PracticeTask]] = defaultdict(list)
        starts = [each.astimezone(UTC) for each in midnights]
        for task in self._done(user_id):
            if task.completed_at is not None and task.completed_at >= starts[0]:
                by_day[midnights[bisect_right(starts, task.completed_at) - 1].date()].append(task)
        return [
            DayRow(day, len(done), _correct(done), statistics.median(_times(done)) if _times(done) else None)
            for day, done in sorted(by_day.items(), reverse=True)
        ]

    def topics(self, user_id: str, decay_answers: float, limit: int, after: int = 0) -> list[TopicRow]:
        by_topic: dict[str, list[PracticeTask]] = {}
        for task in reversed(self._done(user_id)):
            by_topic.setdefault(topic_key(task.subject, task.topic), []).append(task)
        return [
            _topic_row(newest_first, decay_answers) for newest_first in list(by_topic.values())[after : after + limit]
        ]

    def items(self, user_id: str, limit: int, after: int = 0) -> list[ItemResult]:
        by_item: dict[int, list[PracticeTask]] = {}
        for task in reversed(self._done(user_id)):
            if (key := item_of(task)) is not None:
                by_item.setdefault(key, []).append(task)
        found = [_item_result(newest_first) for newest_first in by_item.values()]
        return sorted(found, key=lambda item: (item.correct + 1) / (item.attempts + 2))[after : after + limit]

    def calibration(self, user_id: str | None, n_bins: int) -> list[CalibrationRow]:
        groups: dict[tuple[str, int], list[PracticeTask]] = defaultdict(list)
        with self._db as db:
            users = list(db.users) if user_id is None else [user_id]
        for task in (task for user in users for task in self._done(user) if task.prediction_source != "default"):
            number = min(math.floor(task.predicted_correct * n_bins), n_bins - 1)
            groups[task.lnirt_model_version, number].append(task)
        return [_calibration_row(version, number, done) for (version, number), done in sorted(groups.items())]

    def latest_predicted(self, user_id: str, limit: int) -> list[PredictedAnswer]:
        newest = self._done(user_id)[: -limit - 1 : -1]
        return [_predicted_answer(task) for task in newest if task.prediction_source != "default"]

    def drift(self, limit: int, window: int, n_bins: int) -> list[DriftRow]:
        with self._db as db:
            done = [(task.completed_at, task) for task in db.tasks.values() if task.completed_at is not None]
        newest = sorted((each for each in done if each[0] > each[1].created_at), key=lambda each: each[0], reverse=True)
        groups: dict[tuple[int, Source, int], list[tuple[datetime, PracticeTask]]] = defaultdict(list)
        for place, (at, task) in enumerate(newest[:limit]):
            number = min(math.floor(task.predicted_correct * n_bins), n_bins - 1)
            groups[place // window, Source(task.prediction_source), number].append((at, task))
        return [_drift_row(*key, groups[key]) for key in sorted(groups)]

    def newest_served(self, limit: int) -> list[ServedAnswer]:
        with self._db as db:
            users = list(db.users)
        served: list[tuple[datetime, ServedAnswer]] = []
        for user in users:
            before: datetime | None = None
            done = self._done(user)
            for index, task in enumerate(done):
                if task.completed_at is not None and task.completed_at > task.created_at:
                    paused = None if before is None else (task.created_at - before).total_seconds() / 3600
                    served.append((task.completed_at, _served_answer(task, index, len(done), paused)))
                before = task.completed_at
        return [answer for _, answer in sorted(served, key=lambda each: each[0], reverse=True)[:limit]]

    def _done(self, user_id: str) -> list[PracticeTask]:
        """The student's completed tasks in the order of their completion."""
        with self._db as db:
            return [db.tasks[task_id] for task_id in db.users[user_id].answers] if user_id in db.users else []


def _times(done: Iterable[PracticeTask]) -> list[float]:
    return [task.actual_time_seconds for task in done if task.actual_time_seconds]


def _correct(done: Iterable[PracticeTask]) -> int:
    return sum(bool(task.is_correct) for task in done)


def _mean(values: Iterable[float]) -> float | None:
    kept = list(values)
    return statistics.fmean(kept) if kept else None


def _log_ratios(done: Iterable[PracticeTask]) -> list[float]:
    return [
        math.log(task.actual_time_seconds / task.predicted_time_seconds) for task in done if task.actual_time_seconds
    ]


def _topic_row(newest_first: list[PracticeTask], decay_answers: float) -> TopicRow:
    weights = [math.exp(-later / decay_answers) for later in range(len(newest_first))]
    by_model = [task for task in newest_first if task.prediction_source != "default"]
    times = _times(newest_first)
    return TopicRow(
        newest_first[0].subject,
        newest_first[0].topic,
        len(newest_first),
        _correct(newest_first),
        _mean(task.predicted_correct for task in by_model),
        statistics.median(times) if times else None,
        _mean(_log_ratios(by_model)),
        sum(weights),
        sum(weight for weight, task in zip(weights, newest_first, strict=True) if task.is_correct),
        max((task.completed_at for task in newest_first if task.completed_at is not None), default=None),
    )


def _item_result(newest_first: list[PracticeTask]) -> ItemResult:
    newest, correct = newest_first[0], _correct(newest_first)
    return ItemResult(
        newest.item_id,
        newest.subject,
        newest.topic,
        newest.difficulty,
        newest.task_content[:200],
        len(newest_first),
        correct,
        correct / len(newest_first),
        max((task.completed_at for task in newest_first if task.completed_at is not None), default=None),
    )


def _predicted_answer(task: PracticeTask) -> PredictedAnswer:
    return PredictedAnswer(
        task.subject,
        task.topic,
        task.difficulty,
        task.lnirt_model_version,
        task.predicted_correct,
        bool(task.is_correct),
        task.predicted_time_seconds,
        task.predicted_time_low,
        task.predicted_time_high,
        task.actual_time_seconds,
        task.completed_at,
    )


def _served_answer(task: PracticeTask, index: int, n_answers: int, paused: float | None) -> ServedAnswer:
    return ServedAnswer(
        task.user_id,
        task.subject,
        task.topic,
        Source(task.prediction_source),
        task.model_version,
        task.predicted_correct,
        bool(task.is_correct),
        index,
        n_answers,
        paused,
    )


def _drift_row(window: int, source: Source, number: int, done: list[tuple[datetime, PracticeTask]]) -> DriftRow:
    tasks = [task for _, task in done]
    ratios = _log_ratios(tasks)
    return DriftRow(
        window,
        source,
        number,
        len(tasks),
        sum(task.predicted_correct for task in tasks),
        _correct(tasks),
        sum((task.predicted_correct - bool(task.is_correct)) ** 2 for task in tasks),
        len(ratios),
        sum(ratios),
        min(at for at, _ in done),
        max(at for at, _ in done),
    )


def _calibration_row(version: str, number: int, done: list[PracticeTask]) -> CalibrationRow:
    ratios = _log_ratios(done)
    bounded = [
        (task.actual_time_seconds, task.predicted_time_low, task.predicted_time_high)
        for task in done
        if task.actual_time_seconds and task.predicted_time_low is not None and task.predicted_time_high is not None
    ]
    return CalibrationRow(
        version,
        number,
        len(done),
        sum(task.predicted_correct for task in done),
        _correct(done),
        sum((task.predicted_correct - bool(task.is_correct)) ** 2 for task in done),
        len(ratios),
        sum(ratios),
        sum(ratio**2 for ratio in ratios),
        len(bounded),
        sum(low <= seconds <= high for seconds, low, high in bounded),
    )
