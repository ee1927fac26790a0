"""Reads the answers that a training learns from, in one snapshot of the database.

They are all completed tasks, except those of accounts that an operator excluded.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, text

from chalicelib.storage.database import transaction
from chalicelib.storage.rows import TOPIC_KEY
from chalicelib.storage.shards import uncounted_sql
from training_job.history.answers import AnswerTable, time_order

_CODES = f"""
    WITH students AS (
        SELECT user_id, row_number() OVER (ORDER BY user_id) - 1 AS code
        FROM (
            SELECT DISTINCT user_id FROM practice_tasks p JOIN users u ON u.id = user_id
            WHERE completed AND u.excluded_at IS NULL
        ) AS named
    ), topics AS (
        SELECT subject_key, topic_key, {TOPIC_KEY} AS key, dense_rank() OVER (ORDER BY {TOPIC_KEY}) - 1 AS code
        FROM (SELECT DISTINCT subject_key, topic_key FROM practice_tasks WHERE completed) AS named
    )
"""  # noqa: S608 - parts are constants, values are bound

_ANSWERS = f"""
    COPY ({_CODES}
        SELECT s.code, t.code, p.answer_index, p.difficulty_numeric, p.is_correct::int,
               coalesce(p.actual_time_seconds, 'NaN'), coalesce(extract(epoch FROM p.completed_at)::float8, 'NaN'),
               coalesce(p.item_key, 0)
        FROM practice_tasks p JOIN students s USING (user_id) JOIN topics t USING (subject_key, topic_key)
        WHERE p.completed
    ) TO STDOUT (FORMAT csv)
"""  # noqa: S608 - parts are constants, values are bound

_COLUMNS = [
    ("user", np.int32), ("topic", np.int32), ("index", np.int64), ("difficulty", np.int8), ("is_correct", np.int8),
    ("seconds", np.float64), ("at", np.float64), ("item", np.int64),
]  # fmt: skip
"""The columns of :data:`_ANSWERS`. Keys of items need all of their 64 bits."""

_USER_NAMES = f"{_CODES} SELECT user_id FROM students ORDER BY code"  # noqa: S608 - parts are constants, values are bound
_TOPIC_NAMES = f"{_CODES} SELECT DISTINCT key, code FROM topics ORDER BY code"  # noqa: S608 - parts are constants, values are bound

_COUNTER = text(
    f"SELECT n_samples_since_training + {uncounted_sql('k')} FROM embedding_model_tracker k WHERE cohort = :cohort"  # noqa: S608 - parts are constants, values are bound
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All answers at one moment, and the counter towards the next training at the same moment."""

    table: AnswerTable
    counter: int


def read_snapshot(engine: Engine, cohort: str) -> Snapshot:
    """Read the answers and the counter of a cohort in one read-only transaction."""
    # The text is parsed after the transaction, which would keep old rows from being removed.
    counter, users, topics, answers = transaction(engine, lambda connection: _read(connection, cohort))
    has_answers = answers.getbuffer().nbytes > 0
    rows = np.loadtxt(answers, _COLUMNS, delimiter=",", ndmin=1) if has_answers else np.empty(0, _COLUMNS)
    columns = {name: rows[name] for name, _ in _COLUMNS}
    order = time_order(columns["user"], columns.pop("index"), columns["at"])
    table = AnswerTable.from_columns(user_ids=users, topics=topics, order=order, **columns)
    return Snapshot(table, counter)


def _read(connection: Connection, cohort: str) -> tuple[int, list[str], list[str], io.BytesIO]:
    """Return the counter, the names of users and topics by code, and the answers as CSV."""
    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    counter = connection.execute(_COUNTER, {"cohort": cohort}).scalar_one_or_none() or 0
    users = [name for (name,) in connection.exec_driver_sql(_USER_NAMES)]
    topics = [key for key, _ in connection.exec_driver_sql(_TOPIC_NAMES)]
    answers = io.BytesIO()
    driver: Any = connection.connection.dbapi_connection
    driver.cursor().execute(_ANSWERS, stream=answers)
    answers.seek(0)
    return counter, users, topics, answers
