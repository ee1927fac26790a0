"""The times of answers as the practice state counts them, for whole histories at once."""

from __future__ import annotations

import numpy as np

from chalicelib.domain.lnirt import FloatArray, IntArray
from chalicelib.features.state import MIN_REACH, MIN_TIMES_TO_BOUND
from training_job.history.scan import BoolArray


def counted_log_seconds(log_seconds: FloatArray, timed: BoolArray, row: IntArray) -> FloatArray:
    """Return the log seconds with extreme values bounded. Shape (N,).

    The result is the same as that of calling :func:`chalicelib.features.state.advance` for each answer. ``row`` (N,)
    is the number of the practice state row to which an answer belongs: one student, topic and difficulty. The answers
    of one row must be in order, oldest first; answers of other rows may be between them. ``timed`` (N,) is False for
    answers without a time, whose values are returned unchanged.
    """
    counted = log_seconds.copy()
    answers = np.flatnonzero(timed)
    answers = answers[np.argsort(row[answers], kind="stable")]
    _, starts, sizes = np.unique(row[answers], return_index=True, return_counts=True)
    longest_first = np.argsort(-sizes, kind="stable")
    starts, sizes = starts[longest_first], sizes[longest_first]
    total, squares = np.zeros(len(starts)), np.zeros(len(starts))
    # A time's bounds depend on the earlier times as they were counted, so all rows go through their times in step.
    for n in range(int(sizes.max(initial=0))):
        rows = slice(0, int(np.searchsorted(-sizes, -n)))
        place = answers[starts[rows] + n]
        if n >= MIN_TIMES_TO_BOUND:
            mean = total[rows] / n
            reach = np.maximum(MIN_REACH, 2.0 * np.sqrt(np.maximum(squares[rows] / n - mean**2, 0.0)))
            counted[place] = np.clip(counted[place], mean - reach, mean + reach)
        total[rows] += counted[place]
        squares[rows] += counted[place] ** 2
    return counted
