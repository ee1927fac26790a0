"""The times of answers as the practice state counts them, for whole histories at once."""

from __future__ import annotations

import numpy as np

from chalicelib.domain.lnirt import FloatArray, IntArray
from chalicelib.features.state import MIN_REACH, MIN_TIMES_TO_BOUND
from training_job.history.scan import BoolArray


def counted_log_seconds(log_seconds: FloatArray, timed: BoolArray, row: IntArray) -> FloatArray:
    """Return the log seconds that count, as :func:`chalicelib.features.state.advance` would bound them. Shape (N,).

    ``row`` (N,) numbers the practice state's row of each answer, its student, topic and difficulty. The answers of a
    row come oldest first; other answers may stand between them. Answers without a time, outside ``timed`` (N,), are
    returned as they are.
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
