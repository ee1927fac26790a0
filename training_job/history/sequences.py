"""The paths to every answer of a whole history at once; :mod:`chalicelib.features.sequences` serves one student's."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import IntArray
from chalicelib.features.sequences import N_FIRST, N_LATEST, NO_TOPIC, Keys, sequence_keys
from training_job.history.scan import group_starts


def keys_of_history(
    user: IntArray, topic: IntArray, code: IntArray, attempts: IntArray, right: IntArray, *, after: bool = False
) -> Keys:
    """Paths to every answer of some students' whole histories, each from the answers before it.

    ``user`` and ``topic`` (N,) sorted by student, oldest first; ``code`` (N,) the topics' rows; ``attempts`` and
    ``right`` (N,) earlier answers on the topic, and successes among all but the last of them. With ``after`` the paths
    to a next question on the same topic, asked right after each answer, which is then the last.
    """
    first, latest = _first_topics(user, topic, code + 1, after), _latest_topics(user, topic, code + 1)
    return sequence_keys(code, first, latest, attempts + after, right)


def records_of_history(user: IntArray, topic: IntArray, correct: npt.NDArray[Any]) -> tuple[IntArray, IntArray]:
    """Each answer's number of earlier ones of that student on the topic, and of successes among all but their last.

    All (N,), sorted by student, oldest first.
    """
    rows = np.arange(len(user))
    order = np.lexsort((rows, topic, user))
    starts = group_starts(user[order], topic[order])
    right = np.append(0, np.cumsum(correct[order], dtype=np.int64))
    attempts, successes = np.empty_like(rows), np.empty_like(rows)
    attempts[order] = rows - starts
    successes[order] = right[np.maximum(rows - 1, starts)] - right[starts]
    return attempts, successes


def _first_topics(user: IntArray, topic: IntArray, token: IntArray, after: bool) -> IntArray:
    n = len(user)
    first = np.zeros((n, N_FIRST), dtype=np.int64)
    if not n:
        return first
    starts = group_starts(user)
    order = np.lexsort((np.arange(n), topic, user))
    new = np.zeros(n, dtype=np.bool_)
    new[order] = group_starts(user[order], topic[order]) == np.arange(n)
    met = np.cumsum(new) - new
    met_before = met - met[starts]
    known = met_before + new if after else met_before
    for number in range(N_FIRST):
        rows = np.flatnonzero(new & (met_before == number))
        by_start = np.zeros(n, dtype=np.int64)
        by_start[starts[rows]] = token[rows]
        first[:, number] = np.where(known > number, by_start[starts], NO_TOPIC)
    return first


def _latest_topics(user: IntArray, topic: IntArray, token: IntArray) -> IntArray:
    """The topics practised last other than the asked one, from runs of answers on one topic."""
    n = len(user)
    latest = np.zeros((n, N_LATEST), dtype=np.int64)
    if not n:
        return latest
    run_start = group_starts(user, topic)
    run_rows = np.flatnonzero(run_start == np.arange(n))
    run_user, run_topic, run_token = user[run_rows], topic[run_rows], token[run_rows]
    run = np.arange(len(run_rows))
    number = run - group_starts(run_user)
    before = np.where(number >= 1, run_token[np.maximum(run - 1, 0)], NO_TOPIC)
    # Two runs back, unless that is the asked topic again: then whatever stood there for the run before.
    fresh = (number < 2) | (run_topic[np.maximum(run - 2, 0)] != run_topic)
    source = np.maximum.accumulate(np.where(fresh, run, 0))
    two_back = np.where(number[source] >= 2, run_token[np.maximum(source - 2, 0)], NO_TOPIC)
    of_row = np.searchsorted(run_rows, run_start)
    latest[:, 0], latest[:, 1] = before[of_row], two_back[of_row]
    return latest
