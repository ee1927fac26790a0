"""A history of answers as numpy columns, one row per answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import N_LEVELS, FloatArray, IntArray, LnirtParameters
from training_job.history.times import counted_log_seconds

Rows = npt.NDArray[np.bool_]
"""A mask of the answers of a table. Shape (N,)."""

COLUMN_TYPES = {
    "user": np.int32,
    "topic": np.int32,
    "difficulty": np.int8,
    "is_correct": np.bool_,
    "seconds": np.float64,
    "at": np.float64,
    "order": np.int64,
    "item": np.int64,
}
"""The columns of an :class:`AnswerTable` with their types."""


@dataclass(frozen=True, slots=True)
class AnswerTable:
    """Answers sorted by user, and within a user oldest first. All columns have shape (N,).

    ``user`` and ``topic`` are codes into ``user_ids`` and ``topics`` (topic keys). ``difficulty`` is 1..4. ``seconds``
    is NaN where the time is unknown or 0, because such an answer says nothing about time. ``at`` is in seconds since
    the epoch, NaN where unknown. ``order`` is the order in time over all users, smaller is older. ``item`` is the key
    of the item, 0 where unknown.
    """

    user: npt.NDArray[np.int32]
    user_ids: tuple[str, ...]
    topic: npt.NDArray[np.int32]
    topics: tuple[str, ...]
    difficulty: npt.NDArray[np.int8]
    is_correct: npt.NDArray[np.bool_]
    seconds: FloatArray
    at: FloatArray
    order: npt.NDArray[np.int64]
    item: IntArray

    @classmethod
    def from_columns(
        cls,
        *,
        user: Any,
        user_ids: Sequence[str],
        topic: Any,
        topics: Sequence[str],
        difficulty: Any,
        is_correct: Any,
        seconds: Any = None,
        at: Any = None,
        order: Any = None,
        item: Any = None,
    ) -> AnswerTable:
        """Return a table of columns whose rows may come in any order.

        ``seconds``, ``at`` and ``item`` are unknown unless given, ``order`` is the order of the rows. Seconds that are
        not positive and finite become NaN. Raises ValueError for columns of different length, codes without a name, and
        difficulties outside 1..4.
        """
        n = len(np.asarray(user))
        unknown = np.full(n, np.nan)
        given = {
            "user": user,
            "topic": topic,
            "difficulty": difficulty,
            "is_correct": is_correct,
            "seconds": unknown if seconds is None else seconds,
            "at": unknown if at is None else at,
            "order": np.arange(n) if order is None else order,
            "item": np.zeros(n, dtype=np.int64) if item is None else item,
        }
        columns: dict[str, npt.NDArray[Any]] = {
            name: np.array(given[name], dtype=kind) for name, kind in COLUMN_TYPES.items()
        }
        _check(columns, n, len(user_ids), len(topics))
        seconds_column = columns["seconds"]
        seconds_column[~(np.isfinite(seconds_column) & (seconds_column > 0))] = np.nan
        columns["at"][~np.isfinite(columns["at"])] = np.nan
        sorting = np.lexsort((columns["order"], columns["user"]))
        sorted_columns: dict[str, Any] = {name: column[sorting] for name, column in columns.items()}
        return cls(user_ids=tuple(user_ids), topics=tuple(topics), **sorted_columns)

    def __len__(self) -> int:
        return len(self.user)

    def select(self, rows: npt.NDArray[Any]) -> AnswerTable:
        """Return the answers of a mask (N,) or of indices, sorted as before and with the same names and codes."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else np.sort(rows)
        columns: dict[str, Any] = {name: getattr(self, name)[index] for name in COLUMN_TYPES}
        return AnswerTable(user_ids=self.user_ids, topics=self.topics, **columns)

    def of_students(self, rows: IntArray) -> AnswerTable:
        """Return the answers of some rows, which are whole histories, with the names of their students only."""
        part = self.select(rows)
        seen, codes = np.unique(part.user, return_inverse=True)
        names = tuple(self.user_ids[user] for user in seen)
        return replace(part, user=codes.ravel().astype(np.int32), user_ids=names)

    def sample(self, max_answers: int) -> AnswerTable:
        """Return about ``max_answers`` answers, those of students drawn at random, or the table if it is shorter."""
        if len(self) <= max_answers:
            return self
        kept = np.random.default_rng(0).random(len(self.user_ids)) < max_answers / len(self)
        kept[self.user[0]] |= not kept[self.user].any()
        return self.select(kept[self.user])

    def topic_rows(self, lnirt: LnirtParameters) -> IntArray:
        """Return the rows of the answers' topics in the LNIRT parameters. Shape (N,)."""
        return lnirt.topic_rows(self.topics)[self.topic]

    @property
    def level(self) -> IntArray:
        """Difficulties counted from 0. Shape (N,)."""
        return self.difficulty.astype(np.int64) - 1

    @property
    def log_seconds(self) -> FloatArray:
        """Natural logarithm of the seconds, 0 where the time is unknown. Shape (N,)."""
        return np.log(np.where(self.timed, self.seconds, 1.0))

    @property
    def counted_log_seconds(self) -> FloatArray:
        """The log seconds as they count in the practice state, for whole histories of students. Shape (N,)."""
        cell = self.user.astype(np.int64) * len(self.topics) + self.topic
        return counted_log_seconds(self.log_seconds, self.timed, cell * N_LEVELS + self.level)

    @property
    def begun_at(self) -> FloatArray:
        """Moments at which answers were begun: completion less seconds. Shape (N,).

        Without seconds it is the completion. A prediction is made before the answer, so it must not see how long the
        answer takes.
        """
        return self.at - np.where(self.timed, self.seconds, 0.0)

    @property
    def timed(self) -> npt.NDArray[np.bool_]:
        """Mask of the answers that have a time. Shape (N,)."""
        return ~np.isnan(self.seconds)


def _check(columns: dict[str, npt.NDArray[Any]], n: int, n_users: int, n_topics: int) -> None:
    for name, column in columns.items():
        if column.shape != (n,):
            raise ValueError(f"column {name} has shape {column.shape}, expected ({n},)")
    if n == 0:
        return
    for name, size in (("user", n_users), ("topic", n_topics)):
        low, high = int(columns[name].min()), int(columns[name].max())
        if low < 0 or high >= size:
            raise ValueError(f"column {name} has codes {low}..{high}, expected 0..{size - 1}")
    low, high = int(columns["difficulty"].min()), int(columns["difficulty"].max())
    if low < 1 or high > 4:
        raise ValueError(f"difficulty must be 1 to 4, found {low}..{high}")


def time_order(user: npt.NDArray[Any], index: npt.NDArray[Any], at: npt.NDArray[Any]) -> IntArray:
    """Return the position of each answer in the order of time over all students, 0 for the oldest. All (N,).

    The order within one student (``index``) always holds. Answers without a time come before all answers with a time,
    unless they follow one of the same student. They are placed as if students had joined at equal intervals and all had
    answered at the same pace. If all students began together instead, the newest answers would be the ends of long
    histories only, and such answers differ from the rest.
    """
    by_student = np.lexsort((index, user))
    u, i = user[by_student], index[by_student]
    moment = np.where(np.isnan(at), -np.inf, at)[by_student]
    starts = np.flatnonzero(np.r_[True, u[1:] != u[:-1]]) if len(u) else np.empty(0, np.int64)
    sizes = np.diff(np.r_[starts, len(u)])
    for start, size in zip(starts, sizes, strict=True):
        # No answer is earlier than the student's answer before it, even where clocks disagree or the time is missing.
        moment[start : start + size] = np.maximum.accumulate(moment[start : start + size])
    # Times in answers: students join during the longest history, and each student's next answer comes 1 later.
    joined = np.arange(len(starts)) / max(len(starts), 1) * sizes.max(initial=0)
    assumed = np.arange(len(u)) + np.repeat(joined - starts, sizes)
    order = np.empty(len(u), np.int64)
    order[by_student[np.lexsort((u, i, assumed, moment))]] = np.arange(len(u))
    return order
