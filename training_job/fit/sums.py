"""Answers summed by student, topic and difficulty: all that the abilities and easinesses of LNIRT depend on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chalicelib.domain.lnirt import N_LEVELS, FloatArray, IntArray
from training_job.history.answers import AnswerTable
from training_job.history.scan import group_bounds, group_chunks

CHUNK_ROWS = 8_000
"""Number of rows of a part. The arrays of a part fit into a processor's cache."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Numbers of attempts and of correct answers by student and cell, sorted by student. (n,) each, for n pairs.

    A cell is topic * 4 + level. ``user`` counts the students from 0, without those who have no answers.
    """

    user: IntArray
    cell: IntArray
    attempts: FloatArray
    correct: FloatArray

    def chunks(self) -> list[Sums]:
        """Return the sums in parts of about :data:`CHUNK_ROWS` rows that keep each student's rows together."""
        return [
            Sums(self.user[rows] - self.user[rows.start], self.cell[rows], self.attempts[rows], self.correct[rows])
            for rows in group_chunks(self.user, CHUNK_ROWS)
        ]

    def matrices(self) -> Matrices:
        """Return the sums as sparse matrices, one row for each student."""
        from scipy import sparse

        cells, code = np.unique(self.cell, return_inverse=True)
        place = code.ravel().astype(np.int32), group_bounds(self.user).astype(np.int32)
        shape = len(place[1]) - 1, len(cells)
        return Matrices(cells, *(sparse.csr_array((n, *place), shape=shape) for n in (self.attempts, self.correct)))


@dataclass(frozen=True, slots=True)
class Matrices:
    """Numbers of ``attempts`` and of ``correct`` answers as sparse matrices (U, k), with a row for each student.

    Their columns are the ``cells`` (k,) in which at least one of these students has an answer.
    """

    cells: IntArray
    attempts: Any
    correct: Any

    def log_likelihoods(self, log_correct: FloatArray, log_incorrect: FloatArray) -> FloatArray:
        """Return the log-likelihood of each student's answers at each of G abilities. Shape (U, G).

        The arguments are the log-probabilities of a correct and of an incorrect answer in each cell, (k, G) each. If
        they are exchanged, each outcome counts as its opposite.
        """
        found: FloatArray = self.attempts @ log_incorrect + self.correct @ (log_correct - log_incorrect)
        return found


def cells_of(table: AnswerTable) -> IntArray:
    """Return the answers' cells: topic * 4 + level. Shape (N,)."""
    return table.topic * N_LEVELS + table.level


def sums_of(table: AnswerTable) -> Sums:
    """Sum a table's answers."""
    n_cells = len(table.topics) * N_LEVELS
    users = np.unique(table.user, return_inverse=True)[1].astype(np.int64)
    keys, group = np.unique(users * n_cells + cells_of(table), return_inverse=True)
    attempts = np.bincount(group).astype(np.float64)
    return Sums(keys // n_cells, keys % n_cells, attempts, np.bincount(group, weights=table.is_correct))
