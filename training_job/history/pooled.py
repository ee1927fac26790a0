"""Pooled vectors (decayed sums of all topics side by side), one for each answer of a whole history.

:mod:`chalicelib.features.pooled` defines these vectors, and makes one from a student's stored state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import FloatArray, IntArray
from chalicelib.features.pooled import Float32Array, PooledLayout
from chalicelib.features.state import DECAY_ANSWERS
from training_job.history.answers import AnswerTable
from training_job.history.scan import group_chunks, group_starts

NEGLIGIBLE = 0.03
"""Absolute value below which a number of a pooled vector is not kept: one answer of very long ago."""

BLOCK_ANSWERS = 8_000
"""Answers whose pooled vectors are made at once."""


@dataclass(frozen=True, slots=True)
class StoredVectors:
    """Pooled vectors of N answers in memory, without their zeros.

    Answer n has the ``values`` at the ``places`` from ``bounds[n]`` to ``bounds[n + 1]``. About one number in twenty is
    not zero, so this takes a fortieth of the memory of whole vectors.
    """

    bounds: IntArray
    places: npt.NDArray[np.uint16]
    values: npt.NDArray[np.float16]
    width: int

    def vectors(self, rows: IntArray, dropout: float = 0.0, rng: np.random.Generator | None = None) -> Float32Array:
        """Return the pooled vectors of ``rows`` (n,). Shape (n, width).

        With ``rng``, the ``dropout`` share of the numbers is left out at random, and the others are as much larger.
        A layer of Keras would draw a random number for each zero, too.
        """
        begins, sizes = self.bounds[rows], self.bounds[rows + 1] - self.bounds[rows]
        ends = np.cumsum(sizes)
        taken = np.arange(ends[-1] if len(ends) else 0) + np.repeat(begins - ends + sizes, sizes)
        place = np.repeat(np.arange(len(rows)) * self.width, sizes) + self.places[taken]
        values = self.values[taken].astype(np.float32)
        if rng is not None:
            values *= (rng.random(len(values), dtype=np.float32) >= dropout) / np.float32(1.0 - dropout)
        out = np.zeros(len(rows) * self.width, dtype=np.float32)
        out[place] = values
        return out.reshape(-1, self.width)


@dataclass(frozen=True, slots=True)
class PooledSteps:
    """The numbers that each answer of a table adds to the decayed sums of its topic.

    ``steps`` (N, F) are the additions, ``column`` (N,) topic columns, ``user`` (N,) codes, sorted as the table. The
    vectors of a large table do not fit into memory, so the caller asks for them in blocks of users.
    """

    steps: Float32Array
    column: IntArray
    user: npt.NDArray[np.int32]
    layout: PooledLayout

    @classmethod
    def of(cls, table: AnswerTable, steps: FloatArray, column: IntArray, layout: PooledLayout) -> PooledSteps:
        """Select the sums that a layout pools from :func:`~training_job.history.steps.answer_steps` (N, 5)."""
        selected = [number for number, _ in layout.pairs]
        return cls(steps[:, selected].astype(np.float32), column, table.user, layout)

    def blocks(self) -> Iterator[tuple[slice, Float32Array]]:
        """Iterate over all rows in blocks of whole users, with their pooled vectors."""
        for rows in group_chunks(self.user, BLOCK_ANSWERS):
            yield rows, self.vectors(np.arange(rows.start, rows.stop))

    def stored(self) -> StoredVectors:
        """Return the pooled vectors of all answers, to be read many times and in any order."""
        sizes, places, values = [np.zeros(1, dtype=np.int64)], [], []
        for _, vectors in self.blocks():
            row, place = np.nonzero(np.abs(vectors) >= NEGLIGIBLE)
            sizes.append(np.bincount(row, minlength=len(vectors)))
            places.append(place.astype(np.uint16))
            values.append(vectors[row, place].astype(np.float16))
        none = np.zeros(0, dtype=np.uint16)
        all_places = np.concatenate([none, *places])
        places.clear()  # the lists take as much memory as the arrays
        all_values = np.concatenate([none.astype(np.float16), *values])
        return StoredVectors(np.cumsum(np.concatenate(sizes)), all_places, all_values, self.layout.width)

    def vectors(self, rows: IntArray) -> Float32Array:
        """Return the pooled vectors of ``rows`` (n,), whole histories of users in the table's order. (n, width).

        ``state`` has a slot for each user, which holds the user's decayed sums. All users advance together, one answer
        at a time. The first slots belong to the users with the longest histories, so the users that still have answers
        are always the first slots.
        """
        user, column, steps = self.user[rows], self.column[rows], self.steps[rows]
        starts = group_starts(user)
        position = np.arange(len(rows)) - starts
        by_position = np.argsort(position, kind="stable")
        bounds = np.concatenate([[0], np.cumsum(np.bincount(position))])
        first = np.flatnonzero(position == 0)
        lengths = np.diff(np.append(first, len(rows)))
        slot_of_start = np.empty(len(rows), dtype=np.int64)
        slot_of_start[first[np.argsort(-lengths, kind="stable")]] = np.arange(len(first))
        decay = np.exp(-1.0 / DECAY_ANSWERS[[pair[1] for pair in self.layout.pairs]]).astype(np.float32)
        state = np.zeros((len(first), self.layout.n_columns, len(decay)), dtype=np.float32)
        out = np.empty((len(rows), self.layout.n_columns, len(decay)), dtype=np.float32)
        for begin, end in pairwise(bounds):
            at = by_position[begin:end]
            at = at[np.argsort(slot_of_start[starts[at]])]
            active = state[: end - begin]
            active *= decay
            out[at] = active
            # As in serving, the target topic's own sums are left out: they are among the dense columns.
            out[at, column[at]] = 0.0
            active[np.arange(len(at)), column[at]] += steps[at]
        flat = out.reshape(len(rows), -1)
        return _compress_in_place(flat) if len(rows) else flat


def _compress_in_place(sums: Float32Array) -> Float32Array:
    """Take signed square roots, as :func:`chalicelib.features.pooled.compressed` does, without a second array."""
    negative = sums < 0 if sums.min() < 0 else None
    np.sqrt(np.abs(sums, out=sums), out=sums)
    if negative is not None:
        sums[negative] *= -1
    return sums
