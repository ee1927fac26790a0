"""Topic sequences of a whole history at once; :mod:`chalicelib.features.sequences` makes those of one student."""

from __future__ import annotations

import numpy as np

from chalicelib.domain.lnirt import IntArray
from chalicelib.features.sequences import N_FIRST, N_LATEST, NO_TOPIC, Keys, sequence_keys
from training_job.history.answers import AnswerTable
from training_job.history.scan import BoolArray, group_starts


def keys_of_history(table: AnswerTable, topic_row: IntArray) -> Keys:
    """Return the keys of the topic sequences before each answer. Shape (N, N_SEQUENCES).

    The table holds whole histories of students. ``topic_row`` (N,) are the rows of the answers' topics in the LNIRT
    parameters.
    """
    user, topic = table.user.astype(np.int64), table.topic.astype(np.int64)
    attempts, correct = _records(user, topic, table.is_correct)
    first, latest = _first_topics(user, topic, topic_row + 1), _latest_topics(user, topic, topic_row + 1)
    return sequence_keys(topic_row, first, latest, attempts, correct)


def _records(user: IntArray, topic: IntArray, is_correct: BoolArray) -> tuple[IntArray, IntArray]:
    """Return the numbers of earlier answers on the topic, and of successes among all but the last. (N,) each."""
    rows = np.arange(len(user))
    order = np.lexsort((rows, topic, user))
    starts = group_starts(user[order], topic[order])
    total = np.append(0, np.cumsum(is_correct[order], dtype=np.int64))
    attempts, successes = np.empty_like(rows), np.empty_like(rows)
    attempts[order] = rows - starts
    successes[order] = total[np.maximum(rows - 1, starts)] - total[starts]
    return attempts, successes


def _first_topics(user: IntArray, topic: IntArray, number: IntArray) -> IntArray:
    """Return the numbers of the topics with which each answer's student began, as known before it. (N, N_FIRST)."""
    n = len(user)
    first = np.zeros((n, N_FIRST), dtype=np.int64)
    if not n:
        return first
    starts = group_starts(user)
    order = np.lexsort((np.arange(n), topic, user))
    is_new = np.zeros(n, dtype=np.bool_)
    is_new[order] = group_starts(user[order], topic[order]) == np.arange(n)
    met = np.cumsum(is_new) - is_new
    met_before = met - met[starts]
    for position in range(N_FIRST):
        rows = np.flatnonzero(is_new & (met_before == position))
        by_start = np.zeros(n, dtype=np.int64)
        by_start[starts[rows]] = number[rows]
        first[:, position] = np.where(met_before > position, by_start[starts], NO_TOPIC)
    return first


def _latest_topics(user: IntArray, topic: IntArray, number: IntArray) -> IntArray:
    """Return the numbers of the last topics before each answer other than its own. (N, N_LATEST).

    They come from runs of answers on one topic: the run before, and the run before that.
    """
    n = len(user)
    latest = np.zeros((n, N_LATEST), dtype=np.int64)
    if not n:
        return latest
    run_start = group_starts(user, topic)
    run_rows = np.flatnonzero(run_start == np.arange(n))
    run_user, run_topic, run_number = user[run_rows], topic[run_rows], number[run_rows]
    run = np.arange(len(run_rows))
    of_user = run - group_starts(run_user)
    before = np.where(of_user >= 1, run_number[np.maximum(run - 1, 0)], NO_TOPIC)
    # Two runs back may be the target topic again (A B A). Then it is the topic before the students began to alternate.
    fresh = (of_user < 2) | (run_topic[np.maximum(run - 2, 0)] != run_topic)
    source = np.maximum.accumulate(np.where(fresh, run, 0))
    two_back = np.where(of_user[source] >= 2, run_number[np.maximum(source - 2, 0)], NO_TOPIC)
    of_row = np.searchsorted(run_rows, run_start)
    latest[:, 0], latest[:, 1] = before[of_row], two_back[of_row]
    return latest
