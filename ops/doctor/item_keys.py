"""Compares the keys of items with the texts of their tasks, and stores the keys that are missing or wrong.

Tasks from before there were items have no key, and neither have those that an earlier release creates next to this one.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, text

from chalicelib.domain.items import IMPORTED_CONTENT, item_key
from chalicelib.domain.tasks import Difficulty
from chalicelib.storage import completion
from chalicelib.storage.database import transaction

SAMPLED = 1_000
"""Number of tasks with a key, and of tasks without one, that are examined."""

TASKS_AT_ONCE = 500

_COLUMNS = "id, item_key, subject, topic, difficulty, task_content, item_id, updated_at, created_at"

_SAMPLE = text(
    f"""
    SELECT * FROM (
        SELECT {_COLUMNS} FROM practice_tasks WHERE item_key IS NOT NULL AND id >= CAST(:start AS uuid)
        ORDER BY id LIMIT {SAMPLED}
    ) AS with_key
    UNION ALL
    SELECT * FROM (
        SELECT {_COLUMNS} FROM practice_tasks
        WHERE item_key IS NULL AND (item_id IS NOT NULL OR (task_content ~ '\\S' AND task_content <> :imported))
        LIMIT {SAMPLED}
    ) AS without_key
    """  # noqa: S608 - parts are constants, values are bound
)
"""Ids are random, so the ids after a random one are a random sample. Nearly all tasks without a key must have none."""

_USERS = text("SELECT id FROM users ORDER BY id")

_PAGE = text(
    f"""
    SELECT {_COLUMNS} FROM practice_tasks
    WHERE user_id = :user_id
        AND (created_at, id) > (CAST(:created_at AS timestamptz), CAST(:id AS uuid))
    ORDER BY created_at, id LIMIT {TASKS_AT_ONCE}
    """  # noqa: S608 - parts are constants, values are bound
)

_STORE = text(
    """
    UPDATE practice_tasks t SET item_key = CAST(:key AS bigint)
    WHERE id = CAST(:id AS uuid) AND updated_at = CAST(:seen AS timestamptz)
    """
)
"""A task that was edited after it was read has its key from the edit."""


def sample(engine: Engine) -> tuple[int, int]:
    """Return the number of wrong keys in a sample of all tasks, and the size of the sample."""
    values = {"start": str(uuid.uuid4()), "imported": IMPORTED_CONTENT}
    rows = transaction(engine, lambda c: c.execute(_SAMPLE, values).all())
    return sum(row.item_key != _key(row) for row in rows), len(rows)


def compute(engine: Engine) -> int:
    """Store the keys of all tasks that have another one, and return their number.

    It can run while students practise, and be repeated. A transaction holds the row of one student at most.
    """
    users = transaction(engine, lambda c: c.execute(_USERS).scalars().all())
    return sum(_compute_for(engine, user) for user in users)


def _compute_for(engine: Engine, user: str) -> int:
    stored = 0
    after = {"created_at": "-infinity", "id": str(uuid.UUID(int=0))}
    while True:
        page, n = transaction(engine, partial(_compute_page, place={"user_id": user, **after}))
        stored += n
        if len(page) < TASKS_AT_ONCE:
            return stored
        after = {"created_at": page[-1].created_at, "id": page[-1].id}


def _compute_page(connection: Connection, place: dict[str, Any]) -> tuple[Sequence[Any], int]:
    page = connection.execute(_PAGE, place).all()
    wrong = [{"id": row.id, "key": key, "seen": row.updated_at} for row in page if (key := _key(row)) != row.item_key]
    if wrong:
        # All that change several tasks of a student lock the student first, and so never wait for each other.
        completion.take_user(connection, place["user_id"])
        connection.execute(_STORE, wrong)
    return page, len(wrong)


def _key(row: Any) -> int | None:
    return item_key(row.subject, row.topic, Difficulty(row.difficulty), row.task_content, row.item_id)
