"""A student's own record on the item of a task.

It is read from the student's completed tasks, so there is no table of it that a correction or a deletion would have to
follow. Training computes the same numbers from whole histories.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

ANSWERS_COUNTED = 100
"""Maximum number of answers in a record: the newest on the item. It bounds what a prediction reads."""


class ItemRecord(msgspec.Struct, frozen=True):
    """A student's record on the item of the task to predict; the key is None for a task without a known item."""

    key: int | None = None
    attempts: int = 0
    """Number of answers on the item, at most :data:`ANSWERS_COUNTED`."""
    correct: int = 0
    """Number of correct ones among them."""
    last_correct: bool = False
    last_index: int = 0
    """Index of the last answer on the item, counted from 0 over all of the student's answers."""
    last_at: datetime | None = None
    """Time of the last answer on the item; None if it is unknown, or without answers."""


NO_RECORD = ItemRecord()
"""The record of a task without an item."""
