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

from chalicelib.domain.lnirt import FloatArray, IntArray
from chalicelib.features.state import DECAY_ANSWERS

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
