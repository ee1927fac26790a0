"""The pooled vector: the decayed sums of all topics side by side, so that one topic can inform another.

Column ``c * F + f`` holds sum ``f`` of topic column ``c``. The most practised topics have a topic column each; all
others share the last one, so thousands of topics do not make a larger model. The column of the target topic is set to
0: its sums are among the dense columns, which count the last answer on it as incorrect. The first layer of a network
turns the vector into a weighted sum of learnt vectors, one per topic and sum: a linear recurrence over the history.
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

SUCCESS, FAILURE, EXPECTED, BEYOND_INTENSITY, TIMED = range(5)
"""Positions of a summary's decayed sums, which a pooled vector may hold."""


@dataclass(frozen=True, slots=True)
class PooledLayout:
    """The decayed sums that a pooled vector holds for each of ``n_columns`` topic columns.

    ``pairs`` are F pairs of a sum and a position in DECAY_ANSWERS.
    """

    pairs: tuple[tuple[int, int], ...]
    n_columns: int

    positions: IntArray = field(init=False, repr=False, compare=False)
    """Positions of the pairs in flattened decayed sums (5, K). Shape (F,)."""

    def __post_init__(self) -> None:
        positions = [number * len(DECAY_ANSWERS) + decay for number, decay in self.pairs]
        object.__setattr__(self, "positions", np.array(positions, dtype=np.int64))

    @property
    def width(self) -> int:
        """Length of a pooled vector."""
        return len(self.pairs) * self.n_columns


class Pooling:
    """Pools a state by several layouts at once, with one call for all of their sums."""

    def __init__(self, layouts: Sequence[PooledLayout]) -> None:
        self._ends = list(accumulate((layout.width for layout in layouts), initial=0))
        pairs = [len(layout.pairs) for layout in layouts]
        self._positions = np.concatenate([layout.positions for layout in layouts])
        # Positions in the layouts' vectors, side by side, of each pair (rows) and topic column (columns).
        begins = np.concatenate([np.arange(n) for n in pairs]) + np.repeat(self._ends[:-1], pairs)
        self._places = np.repeat(pairs, pairs)[:, None] * np.arange(layouts[0].n_columns) + begins[:, None]

    def vectors(self, decayed: FloatArray, columns: IntArray, target: IntArray) -> list[Float32Array]:
        """Return the pooled vectors of one state for N target topics, by each layout. Shapes (N, width).

        ``decayed`` (5, K, R) are the state's decayed sums, ``columns`` (R,) each row's topic column, ``target`` (N,)
        the topic columns of the target topics.
        """
        selected = decayed.reshape(math.prod(decayed.shape[:2]), len(columns)).take(self._positions, axis=0)
        sums = np.bincount(self._places.take(columns, axis=1).ravel(), selected.ravel(), minlength=self._ends[-1])
        vectors = np.empty((len(target), len(sums)), dtype=np.float32)
        vectors[:] = compressed(sums)
        vectors[np.arange(len(target)), self._places.take(target, axis=1)] = 0.0
        return [vectors[:, begin:end] for begin, end in pairwise(self._ends)]


def compressed(sums: npt.NDArray[np.floating]) -> Float32Array:
    """Return signed square roots: information grows more slowly than counts."""
    single = sums.astype(np.float32)
    roots = np.abs(single)
    np.sqrt(roots, out=roots)
    return np.copysign(roots, single, out=roots)
