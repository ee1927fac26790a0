"""Which answers the statistics of a version come from, and which ones its networks learn from.

Statistics (LNIRT, traits, sequences and items) come from all answers that a training reads. Networks take most of the
time and memory, and gain less from more answers, so they learn from a sample of the same students
(docs/decisions/0060).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from chalicelib.domain.lnirt import IntArray
from training_job.fit.split import newest_rows
from training_job.history.answers import AnswerTable, Rows

FOLDS = 5
"""Number of parts of the students if all are in the sample, fewer if not."""


@dataclass(frozen=True, slots=True)
class Population:
    """All N answers, and the n ones of the students whom the networks learn from, which ``sampled`` (N,) marks."""

    everything: AnswerTable
    sampled: Rows
    sample: AnswerTable

    @classmethod
    def of(cls, table: AnswerTable, max_answers: float = math.inf) -> Population:
        """Return the population whose sample has at most ``max_answers`` answers, but at least one student.

        The students are drawn by a hash of their ids, so hardly any of them changes from training to training. Those
        whose answers do not fit any more are left out.
        """
        if len(table) <= max_answers:
            return cls(table, np.ones(len(table), dtype=np.bool_), table)
        answers = np.bincount(table.user, minlength=len(table.user_ids))
        drawn = np.argsort([crc32(name.encode()) for name in table.user_ids], kind="stable")
        kept, left = np.zeros(len(answers), dtype=np.bool_), max_answers
        for user in drawn[answers[drawn] > 0]:
            if answers[user] <= left:
                kept[user], left = True, left - answers[user]
        if not kept.any():
            kept[min(np.flatnonzero(answers), key=answers.__getitem__)] = True
        sampled = kept[table.user]
        return cls(table, sampled, table.select(sampled))

    def older(self, known: Rows) -> Rows:
        """Return a mask (N,) of the answers for the statistics of a pass that learns from ``known`` (n,) of the sample.

        It is ``known`` for the sample. If that leaves out a tenth of the sample, the newest tenth of the answers of all
        other students is left out too (:func:`training_job.fit.split.newest_rows`).
        """
        rows = np.ones(len(self.everything), dtype=np.bool_)
        rows[self.sampled] = known
        if not known.all() and not self.sampled.all():
            others = self.everything.select(~self.sampled)
            rows[~self.sampled] = ~newest_rows(others, max(1, round(len(others) * float((~known).mean()))))
        return rows

    def folds(self, seed: int) -> IntArray:
        """Return the number (U,) of the part into which each student is put, at random.

        The statistics for a part are fitted without the answers of its students of the sample. There are as few parts
        as leave about four fifths of all answers to each fit. Numbers of students outside of the sample mean nothing.
        """
        n = max(1, math.ceil(FOLDS * len(self.sample) / max(len(self.everything), 1)))
        parts: IntArray = np.random.default_rng(seed).permutation(len(self.everything.user_ids)) % n
        return parts
