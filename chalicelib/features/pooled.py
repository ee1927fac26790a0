"""The whole state as one flat vector: decayed sums by topic, what was learnt on one topic informing the others.

Column ``c * F + f`` holds statistic ``f`` of topic column ``c``. The most practised topics have a column each, all
others share the last one, so that thousands of topics do not make a larger model. The column of the topic that is
asked for is blank: what was done on it comes in as dense columns, which take the last answer on it for wrong.
The network's first layer turns the vector into a weighted sum of learnt vectors, one per topic and statistic: a
linear recurrence over the history.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import FloatArray, IntArray, LnirtParameters
from chalicelib.features.answers import AnswerTable
from chalicelib.features.practice_state import DECAY_ANSWERS
from chalicelib.features.scan import group_starts
from chalicelib.features.summaries import answer_steps

Float32Array = npt.NDArray[np.float32]

SUCCESS, FAILURE, EXPECTED, BEYOND, TIMED = range(5)
"""Statistics of a summary's decayed sums that a pooled vector may hold."""


@dataclass(frozen=True, slots=True)
class PooledLayout:
    """Which decayed sums are pooled: pairs (statistic, position in DECAY_ANSWERS), over ``n_columns`` topics."""

    pairs: tuple[tuple[int, int], ...]
    n_columns: int

    positions: IntArray = field(init=False, repr=False, compare=False)
    """Of the pairs in decayed sums (5, K) laid out in a line. Shape (F,)."""

    def __post_init__(self) -> None:
        lines = [statistic * len(DECAY_ANSWERS) + decay for statistic, decay in self.pairs]
        object.__setattr__(self, "positions", np.array(lines, dtype=np.int64))

    @property
    def width(self) -> int:
        """Length of a pooled vector."""
        return len(self.pairs) * self.n_columns


class Pooling:
    """Pools a state by several layouts at once: their sums are made in one line, one layout's after the other's."""

    def __init__(self, layouts: Sequence[PooledLayout]) -> None:
        widths = [layout.width for layout in layouts]
        self._ends = list(accumulate(widths, initial=0))
        pairs = [len(layout.pairs) for layout in layouts]
        # Where pairs are in decayed sums, and where those of each topic column go.
        self._positions = np.concatenate([layout.positions for layout in layouts])
        begins = np.concatenate([np.arange(n) for n in pairs]) + np.repeat(self._ends[:-1], pairs)
        self._places = np.repeat(pairs, pairs)[:, None] * np.arange(layouts[0].n_columns) + begins[:, None]

    def vectors(self, decayed: FloatArray, columns: IntArray, own: IntArray) -> list[Float32Array]:
        """The pooled vectors of one state for N asked topics, by each layout. Shapes (N, width).

        ``decayed`` (5, K, R) are the state's decayed sums, ``columns`` (R,) each row's topic column, ``own`` (N,) the
        asked topics' columns.
        """
        picked = decayed.reshape(math.prod(decayed.shape[:2]), len(columns)).take(self._positions, axis=0)
        sums = np.bincount(self._places.take(columns, axis=1).ravel(), picked.ravel(), minlength=self._ends[-1])
        vectors = np.empty((len(own), len(sums)), dtype=np.float32)
        vectors[:] = compressed(sums)
        vectors[np.arange(len(own)), self._places.take(own, axis=1)] = 0.0
        return [vectors[:, begin:end] for begin, end in pairwise(self._ends)]


def compressed(sums: npt.NDArray[np.floating]) -> Float32Array:
    """Signed square root: counts grow, their information grows more slowly."""
    single = sums.astype(np.float32)
    roots = np.abs(single)
    np.sqrt(roots, out=roots)
    return np.copysign(roots, single, out=roots)


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
