"""Rows of the database to the domain's values and back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row

from chalicelib.domain.tasks import Difficulty, PracticeTask
from chalicelib.features.columns import NUMBERS, decayed_from_bytes, decayed_to_bytes
from chalicelib.features.state import StateRow

TASK_COLUMNS = (
    "id, user_id, subject, topic, difficulty, difficulty_numeric, task_content, solution_content, answer_content, "
    "estimated_time_minutes, actual_time_seconds, completed, completed_at, is_correct, study_session_id, "
    "predicted_correct, predicted_time_seconds, predicted_time_low, predicted_time_high, prediction_source, "
    "model_version, lnirt_model_version, created_at, updated_at"
)
"""What a task's row is read by, in the order of :class:`PracticeTask`."""

_NAMES = TASK_COLUMNS.split(", ")
N_TASK_COLUMNS = len(_NAMES)
_ID, _DIFFICULTY, _SESSION = (_NAMES.index(name) for name in ("id", "difficulty", "study_session_id"))


def task_columns(alias: str) -> str:
    """:data:`TASK_COLUMNS` qualified by a table's alias."""
    return ", ".join(f"{alias}.{name}" for name in _NAMES)


def task_from(row: Row[Any]) -> PracticeTask:
    """A task from a row whose first columns are :data:`TASK_COLUMNS`."""
    values = list(row[:N_TASK_COLUMNS])
    values[_ID] = str(values[_ID])
    values[_DIFFICULTY] = Difficulty(values[_DIFFICULTY])
    if values[_SESSION] is not None:
        values[_SESSION] = str(values[_SESSION])
    return PracticeTask(*values)


def state_row_from(
    topic: str,
    difficulty: int,
    attempts: int,
    correct: int,
    timed: int,
    sum_log_seconds: float,
    sum_sq_log_seconds: float,
    first_index: int,
    last_index: int,
    last_correct: bool,
    last_at: datetime | None,
    decayed: bytes,
) -> StateRow:
    """A state row from its columns."""
    return StateRow(
        topic,
        difficulty,
        attempts,
        correct,
        timed,
        sum_log_seconds,
        sum_sq_log_seconds,
        first_index,
        last_index,
        last_correct,
        last_at,
        decayed_from_bytes(decayed),
    )


_AS_NUMBER = {
    "last_correct": "CAST(last_correct AS integer)",
    "last_at": "coalesce(CAST(extract(epoch FROM last_at) AS double precision), 'NaN')",
}

STATE_AGGREGATES = f"""
    json_agg(topic ORDER BY first_index) AS topics,
    string_agg({" || ".join(f"float8send({_AS_NUMBER.get(name, name)})" for name in NUMBERS)} || decayed, ''
               ORDER BY first_index) AS packed
"""
"""A student's rows of ``practice_state`` as two values, the topics and all numbers as bytes, both NULL without rows:
what :func:`chalicelib.features.columns.rows_from_bytes` reads."""


def state_parameters(user_id: str, row: StateRow) -> dict[str, Any]:
    """A state row as the parameters of a statement that stores it."""
    return {
        "user_id": user_id,
        "topic": row.topic,
        "difficulty": row.difficulty,
        "attempts": row.attempts,
        "correct": row.correct,
        "timed": row.timed,
        "sum_log_seconds": row.sum_log_seconds,
        "sum_sq_log_seconds": row.sum_sq_log_seconds,
        "first_index": row.first_index,
        "last_index": row.last_index,
        "last_correct": row.last_correct,
        "last_at": row.last_at,
        "decayed": decayed_to_bytes(row.decayed),
    }
