"""A practice state as columns: the form in which a state is read from the database and predicted from.

A state of 1,000 rows arrives as two values, the topics and all numbers as bytes, so a prediction makes no object per
row. Code that needs rows gets each one when it reads it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import overload

import numpy as np
import numpy.typing as npt

from chalicelib.features.state import DECAYED_SHAPE, FloatArray, StateRow, UserState

NUMBERS = (
    "difficulty", "attempts", "correct", "timed", "sum_log_seconds", "sum_sq_log_seconds", "first_index", "last_index",
    "last_correct", "last_at",
)  # fmt: skip
"""Names of the columns of :attr:`StateColumns.numbers`."""

_COUNTS = ("difficulty", "attempts", "correct", "timed", "first_index", "last_index")

_PACKED = np.dtype([("numbers", ">f8", (len(NUMBERS),)), ("decayed", "<f8", DECAYED_SHAPE)])
"""One row in bytes: PostgreSQL sends numbers big-endian, and decayed sums as :func:`decayed_to_bytes` stored them."""


@dataclass(frozen=True, eq=False)
class StateColumns:
    """The R rows of a state as columns."""

    topics: Sequence[str]
    """Topic keys."""
    numbers: FloatArray
    """:data:`NUMBERS` side by side; ``last_at`` in seconds since the epoch, NaN for None. Shape (R, 10)."""
    decayed: FloatArray
    """The decayed sums of each row (:attr:`StateRow.decayed`). Shape (R, 4, K)."""

    def __len__(self) -> int:
        """Return R."""
        return len(self.topics)

    @property
    def levels(self) -> npt.NDArray[np.int64]:
        """Levels 0..3. Shape (R,)."""
        return self.numbers[:, 0].astype(np.int64) - 1

    @property
    def statistics(self) -> FloatArray:
        """Attempts, correct, timed and sum of log seconds: what LNIRT needs. Shape (R, 4)."""
        return self.numbers[:, 1:5]

    @property
    def first_index(self) -> FloatArray:
        """Indices of the first answers, over all topics. Shape (R,)."""
        return self.numbers[:, 6]

    @property
    def last_index(self) -> FloatArray:
        """Indices of the last answers, over all topics. Shape (R,)."""
        return self.numbers[:, 7]

    @property
    def last_at(self) -> FloatArray:
        """Times of the last answers in seconds since the epoch, NaN if unknown. Shape (R,)."""
        return self.numbers[:, 9]

    @classmethod
    def of_rows(cls, rows: Sequence[StateRow]) -> StateColumns:
        """Return the columns of rows, without a copy if the rows are kept as columns."""
        if isinstance(rows, StoredRows):
            return rows.columns
        numbers = [[_as_number(getattr(row, name)) for name in NUMBERS] for row in rows]
        return cls(
            [row.topic for row in rows],
            np.array(numbers, dtype=np.float64).reshape(len(rows), len(NUMBERS)),
            np.array([row.decayed for row in rows], dtype=np.float64).reshape(len(rows), *DECAYED_SHAPE),
        )


def _as_number(value: float | datetime | None) -> float:
    if value is None:
        return math.nan
    return value.timestamp() if isinstance(value, datetime) else float(value)


class StoredRows(Sequence[StateRow]):
    """Rows that are kept as columns; each row is made when it is read."""

    def __init__(self, columns: StateColumns) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns)

    @overload
    def __getitem__(self, index: int) -> StateRow: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[StateRow]: ...
    def __getitem__(self, index: int | slice) -> StateRow | Sequence[StateRow]:
        if isinstance(index, slice):
            return tuple(self)[index]
        number = dict(zip(NUMBERS, self.columns.numbers[index].tolist(), strict=True))
        counts = {name: int(number[name]) for name in _COUNTS}
        return StateRow(
            topic=self.columns.topics[index],
            sum_log_seconds=number["sum_log_seconds"],
            sum_sq_log_seconds=number["sum_sq_log_seconds"],
            last_correct=bool(number["last_correct"]),
            last_at=None if math.isnan(number["last_at"]) else datetime.fromtimestamp(number["last_at"], UTC),
            decayed=self.columns.decayed[index],
            **counts,
        )

    def __iter__(self) -> Iterator[StateRow]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))


def without_topic(state: UserState, topic: str) -> UserState:
    """Return the state without the rows of a topic key; the number of answers stays."""
    columns = StateColumns.of_rows(state.rows)
    kept = [row for row, other in enumerate(columns.topics) if other != topic]
    others = StateColumns([columns.topics[row] for row in kept], columns.numbers[kept], columns.decayed[kept])
    return replace(state, rows=StoredRows(others))


def rows_from_bytes(topics: Sequence[str], packed: bytes) -> StoredRows:
    """Return a state's rows from its topic keys and from its numbers as PostgreSQL sends them.

    Raises ``ValueError`` if the length of ``packed`` is not that of whole rows.
    """
    rows = np.frombuffer(packed, dtype=_PACKED)
    return StoredRows(StateColumns(topics, rows["numbers"].astype(np.float64), rows["decayed"].astype(np.float64)))


def decayed_to_bytes(decayed: FloatArray) -> bytes:
    """Return decayed sums (4, K) as the database stores them: little-endian float64, row by row."""
    return decayed.astype("<f8").tobytes()


def decayed_from_bytes(raw: bytes) -> FloatArray:
    """Return the decayed sums (4, K) of stored bytes. Raises ``ValueError`` for another length."""
    return np.frombuffer(raw, dtype="<f8").reshape(DECAYED_SHAPE)
