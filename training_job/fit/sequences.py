"""Fits the topic sequences: how students with the same sequence performed on a topic."""

from __future__ import annotations

import numpy as np

from chalicelib.domain.lnirt import FloatArray, LnirtParameters
from chalicelib.features.sequences import N_SEQUENCES, PARENTS, Keys, SequenceTable, no_sequences
from training_job.history.answers import AnswerTable
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
    kept: list[tuple[Keys, FloatArray, FloatArray]] = []
    for column, parent in enumerate(PARENTS):
        found, first, group = np.unique(keys[:, column], return_index=True, return_inverse=True)
        answers = np.bincount(group).astype(np.float64)
        pairs = np.unique(group * n_users + table.user)
        students = np.bincount(pairs // n_users, minlength=len(found))
        shorter = by_row[parent][first] if parent is not None else np.zeros(len(found))
        value = (np.bincount(group, weights=beyond) + PSEUDO_ANSWERS * shorter) / (answers + PSEUDO_ANSWERS)
        common = (answers >= MIN_ANSWERS) & (students >= MIN_STUDENTS)
        by_row[column] = np.where(common, value, shorter)[group]
        kept.append((found[common], value[common], answers[common]))
    all_keys, values, counts = (np.concatenate(part) for part in zip(*kept, strict=True))
    most = np.argsort(-counts, kind="stable")[:MAX_SEQUENCES]
    unique, at = np.unique(all_keys[most], return_index=True)
    # Rounded to the precision in which they are published.
    return SequenceTable(unique, values[most][at].astype(np.float16).astype(np.float64))
