"""Keys of names by NFKC, single spaces and lower case, without invisible characters.

Two spellings of a topic that were two topics can become one, and two that were one ("Maße", "Masse") become two. So the
state of each student with such a topic is summed up anew from the answers. A downgrade leaves the keys: the release
before finds nearly all names by them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sqlalchemy as sa
from alembic import op

from chalicelib.domain.tasks import name_key

revision = "0007"
down_revision = "0006"

_DECAY_ANSWERS = np.array([2.0, 8.0, 40.0, 400.0])

_ANSWERS = sa.text(
    """
    SELECT topic_key, difficulty_numeric, is_correct, coalesce(actual_time_seconds, 0), completed_at
    FROM practice_tasks WHERE user_id = :user_id AND completed ORDER BY answer_index
    """
)
_INSERT = sa.text(
    """
    INSERT INTO practice_state (user_id, topic, difficulty, attempts, correct, timed, sum_log_seconds,
        sum_sq_log_seconds, first_index, last_index, last_correct, last_at, decayed)
    VALUES (:user_id, :topic, :difficulty, :attempts, :correct, :timed, :sum_log_seconds, :sum_sq_log_seconds,
        :first_index, :last_index, :last_correct, :last_at, :decayed)
    """
)


def upgrade() -> None:
    connection = op.get_bind()
    users: set[str] = set()
    for name in ("subject", "topic"):
        found = connection.execute(sa.text(f"SELECT DISTINCT {name}, {name}_key FROM practice_tasks"))  # noqa: S608 - parts are constants, values are bound
        # A name of invisible characters only could be stored before; it keeps its key.
        changed = [(text, key, name_key(text) or key) for text, key in found]
        update = sa.text(
            f"UPDATE practice_tasks SET {name}_key = :new WHERE {name} = :text AND {name}_key = :old RETURNING user_id"  # noqa: S608 - parts are constants, values are bound
        )
        for text, old, new in changed:
            if old != new:
                owners = connection.execute(update, {"text": text, "old": old, "new": new}).scalars().all()
                users |= set(owners) if name == "topic" else set()
    for user_id in sorted(users):
        connection.execute(sa.text("DELETE FROM practice_state WHERE user_id = :user_id"), {"user_id": user_id})
        if states := _states(user_id, connection.execute(_ANSWERS, {"user_id": user_id})):
            connection.execute(_INSERT, states)


def _states(user_id: str, answers: Any) -> list[dict[str, Any]]:
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for n, (topic, difficulty, correct, seconds, at) in enumerate(answers):
        log = float(np.log(seconds)) if seconds > 0 else 0.0
        row = rows.setdefault(
            (topic, difficulty),
            {"user_id": user_id, "topic": topic, "difficulty": difficulty, "attempts": 0, "correct": 0, "timed": 0,
             "sum_log_seconds": 0.0, "sum_sq_log_seconds": 0.0, "first_index": n, "last_index": n, "sums": 0.0},
        )  # fmt: skip
        step = np.array([[correct], [not correct], [log], [seconds > 0]], dtype=np.float64)
        row["sums"] = row["sums"] * np.exp(-(n - row["last_index"]) / _DECAY_ANSWERS) + step
        for column, value in (("attempts", 1), ("correct", int(correct)), ("timed", int(seconds > 0))):
            row[column] += value
        row["sum_log_seconds"] += log
        row["sum_sq_log_seconds"] += log**2
        row |= {"last_index": n, "last_correct": correct, "last_at": at}
    return [row | {"decayed": row["sums"].astype("<f8").tobytes()} for row in rows.values()]


def downgrade() -> None:
    """Leave the keys."""
