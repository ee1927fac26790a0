"""Prefix sums within groups, over a whole history at once.

All sums are exclusive: the value of a row covers the rows *before* it. The rows of a group are consecutive and come
oldest first.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import FloatArray, IntArray

BoolArray = npt.NDArray[np.bool_]


def group_starts(*keys: npt.NDArray[np.integer]) -> IntArray:
    """Return the position of the first row of each row's group, a run of equal keys. All (N,)."""
    n = len(keys[0])
    change = np.zeros(n, dtype=np.bool_)
    if n == 0:
        return np.zeros(0, dtype=np.int64)
    change[0] = True
    for key in keys:
        change[1:] |= key[1:] != key[:-1]
    return np.maximum.accumulate(np.where(change, np.arange(n), 0))


def group_bounds(key: npt.NDArray[np.integer]) -> IntArray:
    """Return the first row of each of G groups, and the number of rows. Shape (G+1,)."""
    return np.append(np.flatnonzero(np.diff(key, prepend=-1)), len(key))


def group_chunks(key: npt.NDArray[np.integer], size: int) -> Iterator[slice]:
    """Cut the rows into slices of at least ``size`` rows, except the last, that keep each group together."""
    bounds = group_bounds(key)
    begin = 0
    while begin < len(key):
        end = int(bounds[min(int(np.searchsorted(bounds, begin + size)), len(bounds) - 1)])
        yield slice(begin, end)
        begin = end


def exclusive_sums(steps: FloatArray, starts: IntArray) -> FloatArray:
    """Return the sums of the steps (N, F) over the earlier rows of each row's group. Shape (N, F)."""
    total = np.zeros((len(steps) + 1, *steps.shape[1:]))
    np.cumsum(steps, axis=0, out=total[1:])
    return total[:-1] - total[starts]


def exclusive_decayed(steps: FloatArray, index: IntArray, starts: IntArray, decay_answers: FloatArray) -> FloatArray:
    """Return decayed sums of the steps (N, F) over the earlier rows of each row's group. Shape (N, F, K).

    The step of row j counts ``exp(-(index[i] - index[j]) / decay)`` in row i. ``index`` (N,) numbers the user's
    answers, ``decay_answers`` (K,) are in answers. The sums double their reach in each pass, so the longest group
    takes log2 of its length passes. No growing exponential is needed, so the result is exact for any length.
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
