"""Prefix sums within groups, over a whole history at once.

Everything here is exclusive: the value at a row is what was there *before* that row's answer. Rows are given in an
order in which each group's rows are consecutive and oldest first.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def group_starts(*keys: npt.NDArray[np.integer]) -> IntArray:
    """For each row the position of its group's first row. Groups are runs of equal keys. Shape (N,)."""
    n = len(keys[0])
    change = np.zeros(n, dtype=np.bool_)
    if n == 0:
        return np.zeros(0, dtype=np.int64)
    change[0] = True
    for key in keys:
        change[1:] |= key[1:] != key[:-1]
    return np.maximum.accumulate(np.where(change, np.arange(n), 0))


def exclusive_sums(steps: FloatArray, starts: IntArray) -> FloatArray:
    """Sum of the steps of the group's earlier rows. ``steps`` (N, F) gives (N, F)."""
    total = np.zeros((len(steps) + 1, *steps.shape[1:]))
    np.cumsum(steps, axis=0, out=total[1:])
    return total[:-1] - total[starts]


def exclusive_decayed(steps: FloatArray, index: IntArray, starts: IntArray, decay_answers: FloatArray) -> FloatArray:
    """Decayed sums of the group's earlier rows, as of this row's index.

    ``steps`` (N, F), ``index`` (N,) the user's answer numbers, ``decay_answers`` (K,); the result is (N, F, K) with
    sum over earlier rows j of ``steps[j] * exp(-(index[i] - index[j]) / decay)``. Doubling scan: log2 of the longest
    group passes, and no growing exponentials, so that a history of any length stays exact.
    """
    n = len(steps)
    position = np.arange(n) - starts
    sums = np.repeat(steps[:, :, None], len(decay_answers), axis=2)
    longest = int(position.max(initial=0)) + 1
    reach = 1
    while reach < longest:
        rows = np.flatnonzero(position >= reach)
        gap = (index[rows] - index[rows - reach])[:, None]
        sums[rows] += sums[rows - reach] * np.exp(-gap / decay_answers)[:, None, :]
        reach *= 2
    before = np.zeros_like(sums)
    rows = np.flatnonzero(position > 0)
    gap = (index[rows] - index[rows - 1])[:, None]
    before[rows] = sums[rows - 1] * np.exp(-gap / decay_answers)[:, None, :]
    return before
