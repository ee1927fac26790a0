"""Fits the topic sequences: how students with the same sequence performed on a topic."""

from __future__ import annotations

import numpy as np

from chalicelib.domain.lnirt import FloatArray, IntArray, LnirtParameters
from chalicelib.features.sequences import (
    FIRST_TOPIC,
    N_FIRST,
    N_LATEST,
    N_SEQUENCES,
    NO_TOPIC,
    PARENTS,
    Keys,
    SequenceTable,
    no_sequences,
    sequence_keys,
)
from training_job.history.answers import AnswerTable
from training_job.history.scan import group_bounds
from training_job.history.sequences import keys_of_history

MIN_ANSWERS, MIN_STUDENTS = 10, 3
"""Minimum number of answers of a sequence that is kept, and of students who gave them."""

PSEUDO_ANSWERS = 10.0
"""Number of answers for which the value of the shorter sequence counts in that of the longer one."""

MAX_SEQUENCES = 40_000
"""Maximum number of sequences, those with the most answers. The artifact must not grow with the number of students."""


def fit_sequences(table: AnswerTable, lnirt: LnirtParameters) -> SequenceTable:
    """Return the topic sequences of a history whose LNIRT is given.

    The value of a sequence is the mean of correctness beyond LNIRT's expectation, shrunk towards the shorter sequence.
    """
    if not len(table):
        return no_sequences()
    topic_row = table.topic_rows(lnirt)
    keys = keys_of_history(table, topic_row)
    beyond = table.is_correct - lnirt.expected_success[topic_row, table.level]
    by_row, n_users = np.zeros((N_SEQUENCES, len(table))), len(table.user_ids)
    first_rows = group_bounds(table.user)[:-1]
    enough = len(first_rows) >= MIN_ANSWERS
    first_mean = _mean_of_topics(topic_row[first_rows], beyond[first_rows])
    of_beginners = _keys_of_beginners(len(lnirt.topics) if enough else 0)
    kept: list[tuple[Keys, FloatArray, FloatArray]] = []
    for column, parent in enumerate(PARENTS):
        found, first, group = np.unique(keys[:, column], return_index=True, return_inverse=True)
        answers = np.bincount(group).astype(np.float64)
        # Sorting is faster than np.unique, which hashes.
        pairs = np.sort(group * n_users + table.user)
        students = np.bincount(pairs[np.append(True, np.diff(pairs) != 0)] // n_users, minlength=len(found))
        # First answers are worse than others on most topics, so a topic of few beginners takes the mean of all of them.
        orphans = np.where(np.isin(found, of_beginners), first_mean, 0.0) if column == FIRST_TOPIC else 0.0
        shorter = by_row[parent][first] if parent is not None else np.broadcast_to(orphans, found.shape)
        value = (np.bincount(group, weights=beyond) + PSEUDO_ANSWERS * shorter) / (answers + PSEUDO_ANSWERS)
        common = (answers >= MIN_ANSWERS) & (students >= MIN_STUDENTS)
        by_row[column] = np.where(common, value, shorter)[group]
        kept.append((found[common], value[common], answers[common]))
    rare = np.setdiff1d(of_beginners, kept[FIRST_TOPIC][0])
    kept.append((rare, np.full(len(rare), first_mean), np.zeros(len(rare))))
    all_keys, values, counts = (np.concatenate(part) for part in zip(*kept, strict=True))
    most = np.argsort(-counts, kind="stable")[:MAX_SEQUENCES]
    unique, at = np.unique(all_keys[most], return_index=True)
    # Rounded to the precision in which they are published.
    return SequenceTable(unique, values[most][at].astype(np.float16).astype(np.float64))


def _mean_of_topics(topic_row: IntArray, beyond: FloatArray) -> float:
    """Return the weighted mean over topics of first answers' success beyond expectation.

    Both arrays (N,) hold first answers only. The weight of a topic rises from 0 towards 1 with its number of answers.
    One more topic with weight 1 and value 0 is added, because few topics say little about the others.
    """
    answers = np.bincount(topic_row).astype(np.float64)
    means = np.bincount(topic_row, weights=beyond) / np.maximum(answers, 1.0)
    weights = answers / (answers + PSEUDO_ANSWERS)
    return float((weights * means).sum() / (weights.sum() + 1.0))


def _keys_of_beginners(n_topics: int) -> Keys:
    """Return, for each topic, the key of a student's first answer of all if it is on that topic. Shape (T,)."""
    nothing = np.zeros(n_topics, dtype=np.int64)
    first, latest = (np.full((n_topics, length), NO_TOPIC) for length in (N_FIRST, N_LATEST))
    return sequence_keys(np.arange(n_topics), first, latest, nothing, nothing)[:, FIRST_TOPIC]
