"""The practice state: what is remembered of a student's answers, independent of any model.

There is one row per student x topic x difficulty. A row holds undecayed sufficient statistics (for LNIRT) and
exponentially decayed sums (for the network). Decay is counted in the student's own answers and applied lazily: a
row stores its decayed sums as they were at its last answer, with the index of that answer, so that one completion
touches one row and a reader decays what it reads:

    sum as of the student's answer n  =  stored sum * exp(-(n - last_index) / DECAY_ANSWERS)

It also holds at which of the student's answers the topic and difficulty was first practised. The order in which a
student first met the topics tells which course they follow, and what students of the same course do is informative
before a student has many answers. And it holds the outcome of the last answer. The networks see a student's record
with the latest answer on the asked topic counted as a failure, and its real outcome as an input of its own in which
the prediction can only rise, so the sums have to be able to give that answer back.

:func:`advance` is the only place where a state changes. The training job runs the same arithmetic over all of
history at once; a property test holds the two equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import overload

import msgspec
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

DECAY_ANSWERS: FloatArray = np.array([2.0, 8.0, 40.0, 400.0])
"""Decay constants tau, in answers of the student: a sum keeps exp(-1/tau) of itself per answer."""

SUCCESSES, FAILURES, LOG_SECONDS, TIMED = range(4)
"""Rows of a decayed block: successes, failures, log seconds, and answers that had a time."""

DECAYED_SHAPE = (4, len(DECAY_ANSWERS))
STATE_SCHEMA = 2
"""Raised whenever the meaning of a stored row changes."""


class Answer(msgspec.Struct, frozen=True):
    """One completed task as the state sees it.

    ``topic`` is a key (:func:`chalicelib.domain.tasks.name_key`), ``difficulty`` 1..4. ``seconds`` of None or 0
    teaches nothing about time. ``at`` is when it was answered, or None where history does not say.
    """

    topic: str
    difficulty: int
    is_correct: bool
    seconds: float | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StateRow:
    """What is remembered of one topic x difficulty of one student.

    ``decayed`` has shape (4, K): successes, failures, log seconds, timed answers, by decay constant, each as of
    this row's last answer. ``first_index`` and ``last_index`` are the student's answers, counted from 0 over all
    topics, at which this topic x difficulty was practised first and last; ``last_correct`` is the outcome of the last.
    """

    topic: str
    difficulty: int
    attempts: int
    correct: int
    timed: int
    sum_log_seconds: float
    sum_sq_log_seconds: float
    first_index: int
    last_index: int
    last_correct: bool
    last_at: datetime | None
    decayed: FloatArray = field(compare=False)


NUMBERS = (
    "difficulty", "attempts", "correct", "timed", "sum_log_seconds", "sum_sq_log_seconds", "first_index", "last_index",
    "last_correct", "last_at",
)  # fmt: skip
"""The columns of :attr:`StateColumns.numbers`."""

STATISTICS = slice(1, 5)
"""Among them what LNIRT needs: attempts, correct, timed, sum of log seconds."""


@dataclass(frozen=True, eq=False)
class StateColumns:
    """The rows of a state as columns, which is how they are stored, read and predicted from.

    ``topics`` (R,) keys; ``numbers`` (R, 10) :data:`NUMBERS`, with ``last_at`` in seconds since the epoch and NaN for
    None; ``decayed`` (R, 4, K).
    """

    topics: Sequence[str]
    numbers: FloatArray
    decayed: FloatArray

    def __len__(self) -> int:
        """R."""
        return len(self.topics)

    @property
    def levels(self) -> npt.NDArray[np.int64]:
        """Difficulties as 0..3. Shape (R,)."""
        return self.numbers[:, 0].astype(np.int64) - 1

    @property
    def statistics(self) -> FloatArray:
        """Attempts, correct, timed and sum of log seconds. Shape (R, 4)."""
        return self.numbers[:, STATISTICS]

    @property
    def first_index(self) -> FloatArray:
        """Shape (R,)."""
        return self.numbers[:, 6]

    @property
    def last_index(self) -> FloatArray:
        """Shape (R,)."""
        return self.numbers[:, 7]

    @property
    def last_correct(self) -> FloatArray:
        """1 or 0. Shape (R,)."""
        return self.numbers[:, 8]

    @property
    def last_at(self) -> FloatArray:
        """Seconds since the epoch, NaN where no time is known. Shape (R,)."""
        return self.numbers[:, 9]

    def select(self, rows: npt.NDArray[np.int64]) -> StateColumns:
        """Some of the rows."""
        return StateColumns([self.topics[row] for row in rows], self.numbers[rows], self.decayed[rows])

    @classmethod
    def of_rows(cls, rows: Sequence[StateRow]) -> StateColumns:
        """The columns of rows."""
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
    """Rows that are kept as columns: each is made when it is asked for, so that a prediction makes none."""

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
        counts = {name: int(number[name]) for name in NUMBERS if name in _COUNTS}
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


_COUNTS = ("difficulty", "attempts", "correct", "timed", "first_index", "last_index")


@dataclass(frozen=True)
class UserState:
    """All rows of one student. ``n_answers`` is the index that the next answer will have.

    ``rows`` and ``columns`` are the same: rows to advance, columns to predict from.
    """

    user_id: str
    n_answers: int
    rows: Sequence[StateRow]

    @cached_property
    def columns(self) -> StateColumns:
        """The rows as columns."""
        return self.rows.columns if isinstance(self.rows, StoredRows) else StateColumns.of_rows(self.rows)

    def without(self, topic: str) -> UserState:
        """The state without the rows of a topic, its number of answers as it was."""
        others = [row for row, other in enumerate(self.columns.topics) if other != topic]
        return replace(self, rows=StoredRows(self.columns.select(np.array(others, dtype=np.int64))))


def advance(row: StateRow | None, answer: Answer, index: int) -> StateRow:
    """The state of the answer's topic x difficulty after the student's answer number ``index`` (from 0).

    ``row`` is None at the first answer on that topic and difficulty. Raises ``ValueError`` when ``index`` does not
    come after the row's last answer: history is then out of order, and the decay would grow instead of shrink.
    """
    if row is not None and index <= row.last_index:
        raise ValueError(f"answer index {index} does not follow {row.last_index}")
    timed = answer.seconds is not None and answer.seconds > 0
    log_seconds = float(np.log(answer.seconds)) if timed and answer.seconds is not None else 0.0
    step = np.array([answer.is_correct, not answer.is_correct, log_seconds, timed], dtype=np.float64)
    if row is None:
        decayed = np.repeat(step[:, None], len(DECAY_ANSWERS), axis=1)
    else:
        decayed = row.decayed * np.exp(-(index - row.last_index) / DECAY_ANSWERS) + step[:, None]
    return StateRow(
        topic=answer.topic,
        difficulty=answer.difficulty,
        attempts=(row.attempts if row else 0) + 1,
        correct=(row.correct if row else 0) + int(answer.is_correct),
        timed=(row.timed if row else 0) + int(timed),
        sum_log_seconds=(row.sum_log_seconds if row else 0.0) + log_seconds,
        sum_sq_log_seconds=(row.sum_sq_log_seconds if row else 0.0) + log_seconds**2,
        first_index=row.first_index if row else index,
        last_index=index,
        last_correct=answer.is_correct,
        last_at=answer.at,
        decayed=decayed,
    )


def replay(user_id: str, answers: Iterable[Answer]) -> UserState:
    """The state after a whole history, oldest answer first: what a rebuild stores."""
    rows: dict[tuple[str, int], StateRow] = {}
    n = 0
    for answer in answers:
        key = (answer.topic, answer.difficulty)
        rows[key] = advance(rows.get(key), answer, n)
        n += 1
    return UserState(user_id, n, tuple(rows.values()))


def rows_by_key(state: UserState) -> Mapping[tuple[str, int], StateRow]:
    """The rows of a state by (topic, difficulty)."""
    return {(row.topic, row.difficulty): row for row in state.rows}


def decayed_to_bytes(decayed: FloatArray) -> bytes:
    """The decayed block as the database stores it: little-endian float64, row by row."""
    return decayed.astype("<f8").tobytes()


def decayed_from_bytes(raw: bytes) -> FloatArray:
    """The inverse of :func:`decayed_to_bytes`; raises ``ValueError`` when the length is not that of a block."""
    return np.frombuffer(raw, dtype="<f8").reshape(DECAYED_SHAPE)
