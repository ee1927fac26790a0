"""The practice state: a summary of a student's answers that is independent of any model.

There is one row per student, topic and difficulty. A row holds sums for LNIRT and exponentially decayed sums for the
networks. Decay is counted in the student's own answers. It is applied lazily: a row stores its decayed sums as of its
last answer, with the index of that answer, so one completion changes one row, and a reader decays the rows it reads:

    sum as of the student's answer n  =  stored sum * exp(-(n - last_index) / DECAY_ANSWERS)

A row also stores the index of its first answer: the order in which a student met the topics shows which course they
follow. And it stores the outcome of its last answer: the networks get the record with the last answer on the target
topic counted as incorrect, so the sums must be able to give that answer back.

A time that is far from a student's other times on the same topic and difficulty counts as a less extreme one.

:func:`advance` is the only place where a state changes. The training job computes the same numbers for a whole history
at once; a property test compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

DECAY_ANSWERS: FloatArray = np.array([2.0, 8.0, 40.0, 400.0])
"""Decay constants, in answers of the student: with each answer a sum keeps exp(-1 / constant) of itself. Shape (K,)."""

LOG_SECONDS = 2
"""Position of the log seconds among the decayed sums: correct, incorrect, log seconds, timed answers."""

DECAYED_SHAPE = (4, len(DECAY_ANSWERS))
"""Shape of the decayed sums of a row: sum by decay constant."""

STATE_SCHEMA = 2
"""Raised whenever the meaning of a stored row changes."""

MIN_TIMES_TO_BOUND = 3
"""Times that a row needs before the next one is bounded by them."""

MIN_REACH = float(np.log(4.0))
"""Least distance, in log seconds, from the mean of a row's times at which another time is bounded."""


class Answer(msgspec.Struct, frozen=True):
    """One completed task, as the state learns from it."""

    topic: str
    """A topic key (:func:`chalicelib.domain.topics.topic_key`)."""
    difficulty: int
    """1..4."""
    is_correct: bool
    seconds: float | None = None
    """Time taken; None or 0 if it was not measured."""
    at: datetime | None = None
    """Time of the answer; None if it is unknown."""


@dataclass(frozen=True, slots=True)
class StateRow:
    """The sums over a student's answers on one topic and difficulty."""

    topic: str
    difficulty: int
    attempts: int
    correct: int
    timed: int
    """Answers that have a time."""
    sum_log_seconds: float
    sum_sq_log_seconds: float
    first_index: int
    """Index of the first answer, counted from 0 over all of the student's answers."""
    last_index: int
    last_correct: bool
    """Outcome of the last answer."""
    last_at: datetime | None
    decayed: FloatArray = field(compare=False)
    """Correct, incorrect, log seconds and timed answers by decay constant, as of the last answer. Shape (4, K)."""


@dataclass(frozen=True)
class UserState:
    """All rows of one student. ``n_answers`` is the index that the next answer will have."""

    user_id: str
    n_answers: int
    rows: Sequence[StateRow]


def advance(row: StateRow | None, answer: Answer, index: int) -> StateRow:
    """Return the row of a topic and difficulty after one more answer.

    ``row`` is None before the first answer on the topic and difficulty. ``index`` counts the student's answers from 0.
    Raises ``ValueError`` if it does not follow the row's last answer, since then the sums would grow instead of decay.
    """
    if row is not None and index <= row.last_index:
        raise ValueError(f"answer index {index} does not follow {row.last_index}")
    timed = answer.seconds is not None and answer.seconds > 0
    log_seconds = _bounded(math.log(answer.seconds), row) if timed and answer.seconds is not None else 0.0
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


def _bounded(log_seconds: float, row: StateRow | None) -> float:
    """Return the log seconds that count, within reach of the times that a student had on the topic and difficulty.

    One time that is far from all others says that something else happened, and would change the next predictions by
    a third. Times that differ widely themselves have a long reach, so an odd first time does not bound the next ones.
    """
    if row is None or row.timed < MIN_TIMES_TO_BOUND:
        return log_seconds
    mean = row.sum_log_seconds / row.timed
    variance = max(row.sum_sq_log_seconds / row.timed - mean**2, 0.0)
    reach = max(MIN_REACH, 2.0 * math.sqrt(variance))
    return min(max(log_seconds, mean - reach), mean + reach)


def replay(user_id: str, answers: Iterable[Answer]) -> UserState:
    """Return the state after a whole history, oldest answer first."""
    rows: dict[tuple[str, int], StateRow] = {}
    n = 0
    for answer in answers:
        key = (answer.topic, answer.difficulty)
        rows[key] = advance(rows.get(key), answer, n)
        n += 1
    return UserState(user_id, n, tuple(rows.values()))
