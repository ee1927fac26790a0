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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

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


@dataclass(frozen=True, slots=True)
class Answer:
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


@dataclass(frozen=True, slots=True)
class UserState:
    """All rows of one student. ``n_answers`` is the index that the next answer will have."""

    user_id: str
    n_answers: int
    rows: tuple[StateRow, ...]


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
