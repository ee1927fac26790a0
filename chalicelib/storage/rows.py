"""Conversion between rows of the database and values of the domain.

The columns of a statement are named after the fields of the value, in the order of the fields.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from chalicelib.domain.predictions import Source
from chalicelib.domain.tasks import Difficulty, PracticeTask
from chalicelib.domain.topics import MAX_PART_LENGTH, SEPARATOR
from chalicelib.features.columns import NUMBERS, decayed_from_bytes, decayed_to_bytes
from chalicelib.features.state import StateRow

_TASK_NAMES = PracticeTask.__struct_fields__
_STATE_NAMES = [field.name for field in dataclasses.fields(StateRow)]

TOPIC_KEY = f"(left(subject_key, {MAX_PART_LENGTH}) || chr({ord(SEPARATOR)}) || left(topic_key, {MAX_PART_LENGTH}))"
"""The topic's key of a row of ``practice_tasks``, as :func:`chalicelib.domain.topics.joined_key` makes it.

It is the ``topic`` of ``practice_state``. The column ``topic_key`` holds the key of the topic's name only.
"""

N_TASK_COLUMNS = len(_TASK_NAMES)

TASK_COLUMNS = ", ".join(_TASK_NAMES)
"""The columns of ``practice_tasks`` that :func:`task_from` reads."""

STATE_COLUMNS = ", ".join(_STATE_NAMES)
"""The columns of ``practice_state`` that :func:`state_row_from` reads."""

STATE_VALUES = ", ".join(f":{name}" for name in _STATE_NAMES)
"""The parameters of :func:`state_parameters`, in the order of :data:`STATE_COLUMNS`."""

_ID, _DIFFICULTY, _SOURCE = (_TASK_NAMES.index(name) for name in ("id", "difficulty", "prediction_source"))


def qualified(columns: str, alias: str) -> str:
    """Return a list of columns with a table's alias before each."""
    return ", ".join(f"{alias}.{name}" for name in columns.split(", "))


def task_from(row: Any) -> PracticeTask:
    """Return the task of a row that begins with :data:`TASK_COLUMNS`."""
    values = list(row[:N_TASK_COLUMNS])
    values[_ID] = str(values[_ID])
    values[_DIFFICULTY] = Difficulty(values[_DIFFICULTY])
    values[_SOURCE] = Source(values[_SOURCE])
    return PracticeTask(*values)


def state_row_from(*columns: Any) -> StateRow:
    """Return the state row of the values of :data:`STATE_COLUMNS`. Raises ValueError for damaged decayed sums."""
    values = [*columns[:-1], decayed_from_bytes(columns[-1])]
    return StateRow(*values)


def state_parameters(user_id: str, row: StateRow) -> dict[str, Any]:
    """Return the parameters of a statement that stores a state row."""
    values = {name: getattr(row, name) for name in _STATE_NAMES}
    return {"user_id": user_id, **values, "decayed": decayed_to_bytes(row.decayed)}


_AS_NUMBER = {
    "last_correct": "CAST(last_correct AS integer)",
    "last_at": "coalesce(CAST(extract(epoch FROM last_at) AS double precision), 'NaN')",
}

STATE_AGGREGATES = f"""
    json_agg(topic ORDER BY first_index) AS topics,
    string_agg({" || ".join(f"float8send({_AS_NUMBER.get(name, name)})" for name in NUMBERS)} || decayed, ''
               ORDER BY first_index) AS packed
"""
"""A student's rows of ``practice_state`` as two values: the topics, and all numbers as bytes.

Both are NULL without rows. :func:`chalicelib.features.columns.rows_from_bytes` reads them. One row of two values is
much faster than many rows, because the driver decodes each value in Python.
"""
