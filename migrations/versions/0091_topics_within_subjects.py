"""Topics within their subjects: the topic of a state is the keys of subject and topic, with U+001F between them.

The states of a student whose topics have one subject each are renamed. The states of the other students are summed up
anew from their answers. The table of tasks is not changed, so the release before can use it. That release begins a new
state for a topic that it finds under its old key only; ``studysmart doctor --repair`` removes such states.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import sqlalchemy as sa
from alembic import op

revision = "0091"
down_revision = "0100"

_DECAY_ANSWERS = np.array([2.0, 8.0, 40.0, 400.0])
_MIN_REACH = math.log(4.0)

_NAME = "topic_key"
_WITHIN_SUBJECT = "left(subject_key, 250) || chr(31) || left(topic_key, 250)"

_LOCK = "LOCK TABLE practice_state IN SHARE ROW EXCLUSIVE MODE"
"""Completions wait; predictions go on."""

_TOPICS = """
    CREATE TEMPORARY TABLE topics ON COMMIT DROP AS
    SELECT user_id, topic_key, min(subject_key) AS subject_key,
           min(subject_key) <> max(subject_key) OR max(length(subject_key)) > 250 OR length(topic_key) > 250 AS several
    FROM practice_tasks WHERE completed GROUP BY user_id, topic_key
"""
"""``several``: the topic has several keys, or its key may be that of another topic too."""

_AMBIGUOUS = "SELECT DISTINCT user_id FROM topics WHERE several ORDER BY user_id"


def upgrade() -> None:
    _change_keys(_NAME, _WITHIN_SUBJECT)


def downgrade() -> None:
    _change_keys(_WITHIN_SUBJECT, _NAME)


def _change_keys(old: str, new: str) -> None:
    """Give states another key, an expression over the columns of ``practice_tasks``."""
    connection = op.get_bind()
    for statement in (_LOCK, _TOPICS, "ANALYZE topics"):
        op.execute(statement)
    op.execute(
        f"""
        UPDATE practice_state s SET topic = t.new
        FROM (SELECT user_id, {old} AS old, {new} AS new FROM topics WHERE user_id NOT IN ({_AMBIGUOUS})) AS t
        WHERE s.user_id = t.user_id AND s.topic = t.old
        """  # noqa: S608 - parts are constants
    )
    answers = sa.text(
        f"""
        SELECT {new}, difficulty_numeric, is_correct, coalesce(actual_time_seconds, 0), completed_at
        FROM practice_tasks WHERE user_id = :user_id AND completed ORDER BY answer_index
        """  # noqa: S608 - parts are constants
    )
    for user_id in connection.execute(sa.text(_AMBIGUOUS)).scalars().all():
        connection.execute(sa.text("DELETE FROM practice_state WHERE user_id = :user_id"), {"user_id": user_id})
        connection.execute(_INSERT, _states(user_id, connection.execute(answers, {"user_id": user_id})))
    op.execute("DROP TABLE topics")


_INSERT = sa.text(
    """
    INSERT INTO practice_state (user_id, topic, difficulty, attempts, correct, timed, sum_log_seconds,
        sum_sq_log_seconds, first_index, last_index, last_correct, last_at, decayed)
    VALUES (:user_id, :topic, :difficulty, :attempts, :correct, :timed, :sum_log_seconds, :sum_sq_log_seconds,
        :first_index, :last_index, :last_correct, :last_at, :decayed)
    """
)


def _states(user_id: str, answers: Any) -> list[dict[str, Any]]:
    """Return a student's states as the release of this revision sums them up."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for n, (topic, difficulty, correct, seconds, at) in enumerate(answers):
        row = rows.setdefault(
            (topic, difficulty),
            {"user_id": user_id, "topic": topic, "difficulty": difficulty, "attempts": 0, "correct": 0, "timed": 0,
             "sum_log_seconds": 0.0, "sum_sq_log_seconds": 0.0, "first_index": n, "last_index": n, "sums": 0.0},
        )  # fmt: skip
        log = _bounded(math.log(seconds), row) if seconds > 0 else 0.0
        step = np.array([[correct], [not correct], [log], [seconds > 0]], dtype=np.float64)
        row["sums"] = row["sums"] * np.exp(-(n - row["last_index"]) / _DECAY_ANSWERS) + step
        for column, value in (("attempts", 1), ("correct", int(correct)), ("timed", int(seconds > 0))):
            row[column] += value
        row["sum_log_seconds"] += log
        row["sum_sq_log_seconds"] += log**2
        row |= {"last_index": n, "last_correct": correct, "last_at": at}
    return [row | {"decayed": row["sums"].astype("<f8").tobytes()} for row in rows.values()]


def _bounded(log_seconds: float, row: dict[str, Any]) -> float:
    if row["timed"] < 3:
        return log_seconds
    mean: float = row["sum_log_seconds"] / row["timed"]
    variance = max(row["sum_sq_log_seconds"] / row["timed"] - mean**2, 0.0)
    reach = max(_MIN_REACH, 2.0 * math.sqrt(variance))
    return min(max(log_seconds, mean - reach), mean + reach)
