"""Learns how those fared who came to a topic along a path of other topics."""

from __future__ import annotations

import numpy as np

from chalicelib.domain.lnirt import FloatArray, LnirtParameters
from chalicelib.features.sequences import N_SEQUENCES, PARENTS, Keys, SequenceTable, no_sequences
from training_job.history.answers import AnswerTable
from training_job.history.sequences import keys_of_history, records_of_history
from training_job.history.summaries import topic_codes

MIN_ANSWERS, MIN_STUDENTS = 10, 3
"""Answers, and students who gave them, that a path needs to be kept."""

LEAN_ANSWERS = 10.0
"""For how many answers a path's lean on the shorter path counts."""

MAX_SEQUENCES = 40_000
"""Paths kept at most, those with most answers, so that the artifact does not grow with the number of students."""


def fit_sequences(table: AnswerTable, model: LnirtParameters) -> SequenceTable:
    """The paths of a history whose LNIRT is ``model``."""
    if not len(table):
        return no_sequences()
    code = topic_codes(table.topics, model)[table.topic]
    user = table.user.astype(np.int64)
    topic = table.topic.astype(np.int64)
    keys = keys_of_history(user, topic, code, *records_of_history(user, topic, table.is_correct))
    beyond = table.is_correct - model.expected_success[code, table.difficulty.astype(np.int64) - 1]
    by_row = np.zeros((N_SEQUENCES, len(table)))
    kept: list[tuple[Keys, FloatArray, FloatArray]] = []
    for column, parent in enumerate(PARENTS):
        paths, first, group = np.unique(keys[:, column], return_index=True, return_inverse=True)
        answers = np.bincount(group).astype(np.float64)
        students = np.bincount(np.unique(np.stack([group, user]), axis=1)[0], minlength=len(paths))
        lean = by_row[parent][first] if parent is not None else np.zeros(len(paths))
        value = (np.bincount(group, weights=beyond) + LEAN_ANSWERS * lean) / (answers + LEAN_ANSWERS)
        common = (answers >= MIN_ANSWERS) & (students >= MIN_STUDENTS)
        by_row[column] = np.where(common, value, lean)[group]
        kept.append((paths[common], value[common], answers[common]))
    found, values, counts = (np.concatenate(part) for part in zip(*kept, strict=True))
    most = np.argsort(-counts, kind="stable")[:MAX_SEQUENCES]
    unique, at = np.unique(found[most], return_index=True)
    # In the precision in which they are published.
    return SequenceTable(unique, values[most][at].astype(np.float16).astype(np.float64))
