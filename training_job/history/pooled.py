"""Pooled vectors of every answer of a whole history; :mod:`chalicelib.features.pooled` makes one student's."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import IntArray, LnirtParameters
from chalicelib.features.pooled import Float32Array, PooledLayout
from chalicelib.features.state import DECAY_ANSWERS
from training_job.history.answers import AnswerTable
from training_job.history.scan import group_starts
from training_job.history.steps import answer_steps


@dataclass(frozen=True, slots=True)
class PooledSteps:
    """What each answer of a table adds to its topic's column, from which pooled vectors are made chunk by chunk.

    ``steps`` (N, F) additions, ``column`` (N,) topic columns, ``user`` (N,) codes, sorted as the table.
    """

    steps: Float32Array
    column: IntArray
    user: npt.NDArray[np.int32]
    layout: PooledLayout

    def vectors(self, rows: npt.NDArray[np.int64], *, after: bool = False) -> Float32Array:
        """The pooled vectors of ``rows``, whole histories of some users in the table's order. Shape (n, width).

        With ``after`` those of a next question on the same topic, asked right after each answer.
        """
        user, column, steps = self.user[rows], self.column[rows], self.steps[rows]
        starts = group_starts(user)
        position = np.arange(len(rows)) - starts
        by_position = np.argsort(position, kind="stable")
        bounds = np.concatenate([[0], np.cumsum(np.bincount(position))])
        # A user's slot is its rank by length, so that the users still answering are always the first slots.
        first = np.flatnonzero(position == 0)
        lengths = np.diff(np.append(first, len(rows)))
        slot_of_start = np.empty(len(rows), dtype=np.int64)
        slot_of_start[first[np.argsort(-lengths, kind="stable")]] = np.arange(len(first))
        decay = np.exp(-1.0 / DECAY_ANSWERS[[pair[1] for pair in self.layout.pairs]]).astype(np.float32)
        state = np.zeros((len(first), self.layout.n_columns, len(decay)), dtype=np.float32)
        out = np.empty((len(rows), self.layout.n_columns, len(decay)), dtype=np.float32)
        for begin, end in pairwise(bounds):
            at = by_position[begin:end]
            slots = slot_of_start[starts[at]]
            at = at[np.argsort(slots)]
            active = state[: end - begin]
            active *= decay
            out[at] = active * decay if after else active
            out[at, column[at]] = 0.0
            active[np.arange(len(at)), column[at]] += steps[at]
        flat = out.reshape(len(rows), -1)
        return _compress_in_place(flat) if len(rows) else flat


def _compress_in_place(sums: Float32Array) -> Float32Array:
    negative = sums < 0 if sums.min() < 0 else None
    np.sqrt(np.abs(sums, out=sums), out=sums)
    if negative is not None:
        sums[negative] *= -1
    return sums


def pooled_steps(
    table: AnswerTable, codes: IntArray, column_of_topic: IntArray, layout: PooledLayout, model: LnirtParameters
) -> PooledSteps:
    """Additions of every answer; ``codes`` and ``column_of_topic`` map the table's topics."""
    topic, level = codes[table.topic], table.difficulty.astype(np.int64) - 1
    correct, timed = table.is_correct.astype(np.float64), table.timed.astype(np.float64)
    steps = answer_steps(topic, level, correct, timed, table.log_seconds, model)
    statistics = [pair[0] for pair in layout.pairs]
    return PooledSteps(steps[:, statistics].astype(np.float32), column_of_topic[table.topic], table.user, layout)
