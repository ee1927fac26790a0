"""Aggregates over practice tasks in PostgreSQL. Each is one statement that reads one student's tasks by an index.

Three statements, for admins only, read the answers that all students of a cohort gave in it, by an index of their own:
the calibration all of them, the drift and the served predictions the newest. Comparisons of predictions with results
skip predictions of source ``default`` (see :mod:`chalicelib.services.analytics`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, TextClause, text

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
from chalicelib.domain.tasks import Difficulty
from chalicelib.storage.database import statement

_MEASURED = "CASE WHEN actual_time_seconds >= 0.001 THEN actual_time_seconds END"
"""A time that was measured: 0 means that it was not. Rows from before the bound may have times that are too short."""

_LOG_RATIO = f"ln({_MEASURED} / greatest(predicted_time_seconds, 1))"

_SQUARED_ERROR = "greatest(abs(predicted_correct - CAST(is_correct AS integer)), 1e-9) ^ 2"
"""PostgreSQL raises an error for a result that underflows, so all arguments are bounded. So is that of exp() below."""

_WEIGHT = "exp(-least(since / CAST(:decay AS double precision), 50))"

_TOTALS = text(
    f"""
    SELECT count(*),
           count(*) FILTER (WHERE completed),
           count(*) FILTER (WHERE completed AND is_correct),
           avg(predicted_correct) FILTER (WHERE completed AND prediction_source <> 'default'),
           avg({_MEASURED}) FILTER (WHERE completed),
           percentile_cont(0.5) WITHIN GROUP (ORDER BY {_MEASURED}) FILTER (WHERE completed),
           coalesce(sum({_MEASURED}) FILTER (WHERE completed), 0)
    FROM practice_tasks WHERE user_id = :user_id
    """  # noqa: S608 - parts are constants, values are bound
)

_DAYS = text(
    f"""
    SELECT width_bucket(completed_at, CAST(:midnights AS timestamptz[])) AS day, count(*),
           count(*) FILTER (WHERE is_correct), percentile_cont(0.5) WITHIN GROUP (ORDER BY {_MEASURED})
    FROM practice_tasks WHERE user_id = :user_id AND completed AND completed_at >= :since
    GROUP BY day ORDER BY day DESC
    """  # noqa: S608 - parts are constants, values are bound
)
"""``day`` counts the midnights up to the completion. Python's time zones decide, and the database needs none."""

_TOPICS = text(
    f"""
    SELECT (array_agg(subject ORDER BY answer_index DESC))[1],
           (array_agg(topic ORDER BY answer_index DESC))[1],
           count(*),
           count(*) FILTER (WHERE is_correct),
           avg(predicted_correct) FILTER (WHERE prediction_source <> 'default'),
           percentile_cont(0.5) WITHIN GROUP (ORDER BY {_MEASURED}),
           avg({_LOG_RATIO})
               FILTER (WHERE prediction_source <> 'default'),
           sum({_WEIGHT}),
           coalesce(sum({_WEIGHT}) FILTER (WHERE is_correct), 0),
           max(completed_at)
    FROM (SELECT *, row_number() OVER (PARTITION BY subject_key, topic_key ORDER BY answer_index DESC) - 1 AS since
          FROM practice_tasks WHERE user_id = :user_id AND completed) AS answers
    GROUP BY subject_key, topic_key ORDER BY max(answer_index) DESC LIMIT :limit OFFSET :after
    """  # noqa: S608 - parts are constants, values are bound
)
"""``since`` is the number of later answers on the same topic."""


_ITEMS = text(
    """
    SELECT (array_agg(item_id ORDER BY answer_index DESC))[1],
           (array_agg(subject ORDER BY answer_index DESC))[1],
           (array_agg(topic ORDER BY answer_index DESC))[1],
           (array_agg(difficulty ORDER BY answer_index DESC))[1],
           (array_agg(left(task_content, 200) ORDER BY answer_index DESC))[1],
           count(*),
           count(*) FILTER (WHERE is_correct),
           avg(CAST(is_correct AS integer)),
           max(completed_at)
    FROM practice_tasks WHERE user_id = :user_id AND item_key IS NOT NULL AND answer_index >= 0
    GROUP BY item_key
    ORDER BY (count(*) FILTER (WHERE is_correct) + 1.0) / (count(*) + 2.0), max(answer_index) DESC
    LIMIT :limit OFFSET :after
    """
)


def _calibration_of(students: str) -> TextClause:
    return text(
        f"""
        SELECT lnirt_model_version,
               least(CAST(floor(predicted_correct * :n_bins) AS integer), :n_bins - 1) AS bin,
               count(*),
               sum(predicted_correct),
               count(*) FILTER (WHERE is_correct),
               sum({_SQUARED_ERROR}),
               count(log_ratio),
               coalesce(sum(log_ratio), 0),
               coalesce(sum(log_ratio ^ 2), 0),
               count(log_ratio) FILTER (WHERE predicted_time_low <= predicted_time_high),
               count(log_ratio)
                   FILTER (WHERE actual_time_seconds BETWEEN predicted_time_low AND predicted_time_high)
        FROM (SELECT *, {_LOG_RATIO} AS log_ratio
              FROM practice_tasks WHERE completed AND prediction_source <> 'default' {students}) AS answers
        GROUP BY lnirt_model_version, bin ORDER BY lnirt_model_version, bin
        """  # noqa: S608 - parts are constants, values are bound
    )


_PREDICTED = text(
    """
    SELECT subject, topic, difficulty, lnirt_model_version, predicted_correct, is_correct, predicted_time_seconds,
           predicted_time_low, predicted_time_high, actual_time_seconds, completed_at
    FROM (SELECT * FROM practice_tasks WHERE user_id = :user_id AND completed
          ORDER BY answer_index DESC LIMIT :limit) AS newest
    WHERE prediction_source <> 'default' ORDER BY answer_index DESC
    """
)

_DRIFT = text(
    f"""
    SELECT (place - 1) / CAST(:window AS integer) AS window_number, prediction_source,
           least(CAST(floor(predicted_correct * :n_bins) AS integer), :n_bins - 1) AS bin,
           count(*), sum(predicted_correct), count(*) FILTER (WHERE is_correct),
           sum({_SQUARED_ERROR}),
           count(log_ratio), coalesce(sum(log_ratio), 0), min(completed_at), max(completed_at)
    FROM (SELECT row_number() OVER (ORDER BY completed_at DESC) AS place, prediction_source, predicted_correct,
                 is_correct, completed_at, {_LOG_RATIO} AS log_ratio
          FROM practice_tasks WHERE cohort = :cohort AND completed AND completed_at > created_at
          ORDER BY completed_at DESC LIMIT :limit) AS newest
    GROUP BY window_number, prediction_source, bin ORDER BY window_number, prediction_source, bin
    """  # noqa: S608 - parts are constants, values are bound
)
"""The condition is that of ``ix_practice_tasks_recently_completed_of_cohort``, which skips imported answers."""

_SERVED = text(
    """
    SELECT n.user_id, n.subject, n.topic, n.prediction_source, n.model_version, n.predicted_correct, n.is_correct,
           n.answer_index, (SELECT u.n_answers FROM users u WHERE u.id = n.user_id),
           CAST(extract(epoch FROM n.created_at - before.completed_at) / 3600.0 AS double precision)
    FROM (SELECT * FROM practice_tasks WHERE cohort = :cohort AND completed AND completed_at > created_at
          ORDER BY completed_at DESC LIMIT :limit) AS n
    LEFT JOIN LATERAL (
        SELECT b.completed_at FROM practice_tasks b
        WHERE b.user_id = n.user_id AND b.completed AND b.answer_index = n.answer_index - 1 LIMIT 1
    ) AS before ON true
    ORDER BY n.completed_at DESC
    """
)
"""Its parts are written so that no plan joins whole tables, whatever the limit is."""

_CALIBRATION = _calibration_of("AND user_id = :user_id")
_CALIBRATION_OF_ALL = _calibration_of("AND cohort = :cohort AND completed_at > created_at")


class PostgresAnalyticsStore:
    """Implements :class:`chalicelib.ports.AnalyticsStore`."""

    def __init__(self, engine: Engine, cohort: str) -> None:
        self._engine = engine
        self._cohort = cohort

    def totals(self, user_id: str) -> Totals:
        """Return sums over all tasks of the student."""
        return Totals(*self._rows(_TOTALS, user_id=user_id)[0])

    def days(self, user_id: str, midnights: Sequence[datetime]) -> list[DayRow]:
        """Return the days with completions, newest first. Each day begins at a midnight; the last one has no end."""
        array = f"{{{','.join(midnight.isoformat() for midnight in midnights)}}}"
        rows = self._rows(_DAYS, user_id=user_id, since=midnights[0], midnights=array)
        return [DayRow(midnights[number - 1].date(), *figures) for number, *figures in rows]

    def topics(self, user_id: str, decay_answers: float, limit: int, after: int = 0) -> list[TopicRow]:
        """Return topics with completions, most recently practised first, without the first ``after``."""
        rows = self._rows(_TOPICS, user_id=user_id, decay=decay_answers, limit=limit, after=after)
        return [TopicRow(*row) for row in rows]

    def items(self, user_id: str, limit: int, after: int = 0) -> list[ItemResult]:
        """Return items with completions, hardest first, without the first ``after``."""
        rows = self._rows(_ITEMS, user_id=user_id, limit=limit, after=after)
        return [
            ItemResult(item, subject, topic, Difficulty(level), content, attempts, correct, float(share), at)
            for item, subject, topic, level, content, attempts, correct, share, at in rows
        ]

    def calibration(self, user_id: str | None, n_bins: int) -> list[CalibrationRow]:
        """Return sums of completed predictions by version and bin. None means all of the cohort."""
        if user_id is None:
            rows = self._rows(_CALIBRATION_OF_ALL, n_bins=n_bins, cohort=self._cohort)
        else:
            rows = self._rows(_CALIBRATION, n_bins=n_bins, user_id=user_id)
        return [CalibrationRow(*row) for row in rows]

    def latest_predicted(self, user_id: str, limit: int) -> list[PredictedAnswer]:
        """Return those of the student's ``limit`` newest answers that a model predicted, newest first."""
        rows = self._rows(_PREDICTED, user_id=user_id, limit=limit)
        return [PredictedAnswer(row[0], row[1], Difficulty(row[2]), *row[3:]) for row in rows]

    def drift(self, limit: int, window: int, n_bins: int) -> list[DriftRow]:
        """Return the ``limit`` newest completions of the cohort, in windows of ``window``; 0 is the newest."""
        rows = self._rows(_DRIFT, cohort=self._cohort, limit=limit, window=window, n_bins=n_bins)
        return [DriftRow(row[0], Source(row[1]), *row[2:]) for row in rows]

    def newest_served(self, limit: int) -> list[ServedAnswer]:
        """Return the ``limit`` newest completions of the cohort, newest first, with what was served for them."""
        rows = self._rows(_SERVED, cohort=self._cohort, limit=limit)
        return [ServedAnswer(row[0], row[1], row[2], Source(row[3]), *row[4:]) for row in rows]

    def _rows(self, query: TextClause, **values: Any) -> list[tuple[Any, ...]]:
        rows = statement(self._engine, lambda connection: connection.execute(query, values).all())
        return [tuple(row) for row in rows]
