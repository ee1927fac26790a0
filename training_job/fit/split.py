"""The hold-out: the newest answers, on topics of which there are older answers to learn from."""

from __future__ import annotations

import numpy as np

from training_job.history.answers import AnswerTable, Rows

VALIDATION_SHARE = 0.2
MAX_VALIDATION = 40_000
"""Share of the answers that validates, and maximum number of them."""

MIN_OLDER = 5
"""Number of older answers without which the newest answers on a topic say nothing about a network."""

MAX_OF_STUDENT, MIN_OF_STUDENT = 0.02, 100
"""Share of the hold-out that one student's answers may be, and number of answers that they may be in any case.

With few students, they may be twice the share of the average student.
"""


def validation_rows(table: AnswerTable) -> Rows:
    """Return a mask (N,) of the hold-out: :func:`newest_rows` of a fifth of the answers, up to MAX_VALIDATION."""
    return newest_rows(table, min(max(int(len(table) * VALIDATION_SHARE), 1), MAX_VALIDATION))


def newest_rows(table: AnswerTable, count: int) -> Rows:
    """Return a mask (N,) of the ``count`` newest answers, by ``order``, without the older ones of busy students.

    A single account could own the hold-out otherwise. It validates the networks, and the gate compares versions on it.

    Where students go through the topics in one order (a course, an exam), most of the newest answers are on topics
    with hardly any older answers. Such answers cannot judge a network, because LNIRT predicts unknown topics in
    serving. In this case the mask has the newest answers on each topic, in proportion.
    """
    newest = np.zeros(len(table), dtype=np.bool_)
    by_order = np.argsort(table.order, kind="stable")
    newest[by_order[_newest_of_student(table, count)[by_order]][-count:]] = True
    older = np.bincount(table.topic[~newest], minlength=len(table.topics))
    if (older[table.topic[newest]] >= MIN_OLDER).mean() >= 0.5:
        return newest
    by_topic = np.lexsort((table.order, table.topic))
    topic = table.topic[by_topic]
    position = np.arange(len(table)) - np.searchsorted(topic, topic)
    size = np.bincount(table.topic, minlength=len(table.topics))[topic]
    late = np.zeros(len(table), dtype=np.bool_)
    late[by_topic] = position >= np.ceil(size * (1 - count / len(table)))
    return late if late.any() else newest


def _newest_of_student(table: AnswerTable, count: int) -> Rows:
    """Return a mask (N,) of the newest answers of each student that a hold-out of ``count`` answers may contain."""
    size = np.bincount(table.user, minlength=len(table.user_ids))
    share = max(MAX_OF_STUDENT, 2.0 / max(int((size > 0).sum()), 1))
    limit = max(MIN_OF_STUDENT, int(share * count))
    position = np.arange(len(table)) - np.searchsorted(table.user, table.user)
    newest: Rows = position >= size[table.user] - limit
    return newest
