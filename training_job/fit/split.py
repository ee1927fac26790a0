"""Which answers validate: the newest ones, on topics that the older ones can teach."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training_job.history.answers import AnswerTable

VALIDATION_SHARE = 0.2
MAX_VALIDATION = 40_000
"""The newest fifth of the answers validates, at most this many."""

MIN_OLDER = 5
"""Older answers that a topic needs for its newest ones to say anything about a network."""

Rows = npt.NDArray[np.bool_]


def validation_rows(table: AnswerTable) -> Rows:
    """The newest fifth by ``order``, a mask (N,).

    Where most of these are on topics that are hardly among the older answers (a course or an exam that all students
    go through in the same order), they would judge guesses about unseen topics, which LNIRT answers when serving.
    Then it is the newest fifth of each topic.
    """
    count = min(max(int(len(table) * VALIDATION_SHARE), 1), MAX_VALIDATION)
    newest = _last(np.argsort(table.order, kind="stable"), count)
    older = np.bincount(table.topic[~newest], minlength=len(table.topics))
    if (older[table.topic[newest]] >= MIN_OLDER).mean() >= 0.5:
        return newest
    by_topic = np.lexsort((table.order, table.topic))
    size = np.bincount(table.topic, minlength=len(table.topics))[table.topic[by_topic]]
    first = np.searchsorted(table.topic[by_topic], table.topic[by_topic])
    share = count / len(table)
    late = np.zeros(len(table), dtype=np.bool_)
    late[by_topic] = np.arange(len(table)) - first >= np.ceil(size * (1 - share))
    return late if late.any() else newest


def _last(sorting: npt.NDArray[np.int64], count: int) -> Rows:
    mask = np.zeros(len(sorting), dtype=np.bool_)
    mask[sorting[len(sorting) - count :]] = True
    return mask
