"""Traits: what a student's results on different topics have in common beyond one ability and one speed.

A Gaussian factor model with K traits per student, for success and time together:

    success     - expected success of the topic and difficulty = success loadings . traits + noise
    log seconds - intensity of the topic and difficulty        = time loadings . traits + noise

Traits are standard normal in the population. Their posterior mean needs only sums over a student's answers, so it is
the same from a stored state and from a whole history. Both outcomes of an answer use the same loadings of its topic,
so turning a failure on a topic into a success can only raise the success that the traits predict there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import mul

import numpy as np

from chalicelib.domain.lnirt import MAX_LOG_SHIFT, FloatArray, IntArray
from chalicelib.domain.numerics import Column, Columns, Row, columns_of, functions_for, table_columns


@dataclass(frozen=True)
class TraitModel:
    """Loadings and noise by row of the LNIRT parameters: T topics, then the average topic.

    A topic with zero loadings neither informs the traits nor is predicted from them.
    """

    success: FloatArray
    """Loadings of success. Shape (T+1, K)."""
    success_noise: FloatArray
    """Variance of one answer's success around the prediction. Shape (T+1,)."""
    time: FloatArray
    """Loadings of log seconds. Shape (T+1, K)."""
    time_noise: FloatArray
    """Variance of one answer's log seconds around the prediction. Shape (T+1,)."""
    steps: FloatArray = field(init=False, repr=False, compare=False)
    """Evidence of one answer per unit, for success and for time: precision, then weighted sum. (2, T+1, K*K + K)."""
    _per_success: FloatArray = field(init=False, repr=False, compare=False)
    """Weighted sum that one success adds. Shape (T+1, K)."""
    _identity: FloatArray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        width = self.n_traits**2 + self.n_traits
        steps = np.empty((2, len(self.success), width))
        for out, loadings, noise in zip(
            steps, (self.success, self.time), (self.success_noise, self.time_noise), strict=True
        ):
            weighted = loadings / noise[:, None]
            out[:, : self.n_traits**2] = (loadings[:, :, None] * weighted[:, None, :]).reshape(len(loadings), -1)
            out[:, self.n_traits**2 :] = weighted
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "_per_success", steps[0, :, self.n_traits**2 :].copy())
        object.__setattr__(self, "_identity", np.eye(self.n_traits))

    def extended(self, n_rows: int) -> TraitModel:
        """Return the model with further rows like that of the average topic, for all rows of the LNIRT parameters."""
        missing = n_rows - len(self.success)
        if missing == 0:
            return self
        parts = (self.success, self.success_noise, self.time, self.time_noise)
        return TraitModel(*(np.concatenate([part, part[-1:].repeat(missing, axis=0)]) for part in parts))

    @property
    def n_traits(self) -> int:
        """Number of traits, K; 0 for a population too small to distinguish any."""
        return int(self.success.shape[1])

    def evidence(
        self,
        topic_row: IntArray,
        attempts: FloatArray,
        success_residual: FloatArray,
        timed: FloatArray,
        time_residual: FloatArray,
    ) -> FloatArray:
        """Return the evidence of answers on topics, one row each, to be summed. All (n,); gives (n, K*K + K).

        ``success_residual`` and ``time_residual`` are sums of outcomes less their expectation, over ``attempts`` and
        ``timed`` answers.
        """
        square = self.n_traits**2
        success, time = self.steps[0, topic_row], self.steps[1, topic_row]
        evidence: FloatArray = np.empty_like(success)
        evidence[:, :square] = attempts[:, None] * success[:, :square] + timed[:, None] * time[:, :square]
        weighted = success_residual[:, None] * success[:, square:] + time_residual[:, None] * time[:, square:]
        evidence[:, square:] = weighted
        return evidence

    def scores(self, evidence: FloatArray) -> FloatArray:
        """Return the posterior means of the traits from summed evidence: (n, K*K + K) gives (n, K)."""
        k = self.n_traits
        precision = evidence[:, : k * k].reshape(len(evidence), k, k) + np.eye(k)
        means: FloatArray = np.linalg.solve(precision, evidence[:, k * k :, None])[:, :, 0]
        return means

    def expected_if_incorrect(
        self, evidence: FloatArray, topic_rows: Sequence[int], last_correct: Sequence[bool]
    ) -> list[tuple[float, float]]:
        """Return :meth:`expected` of each topic as if the last answer on it had been incorrect.

        ``evidence`` (K*K + K,) is summed over all answers as they were. ``last_correct`` is True for each topic whose
        last answer was correct. An outcome does not change the precision, so only the weighted sum is corrected.
        """
        k = self.n_traits
        weighted = evidence[k * k :] - np.array(last_correct)[:, None] * self._per_success.take(topic_rows, axis=0)
        scores = np.linalg.solve(evidence[: k * k].reshape(k, k) + self._identity, weighted.T)
        return [self.expected(row, means) for row, means in zip(topic_rows, scores.T.tolist(), strict=True)]

    def expected(self, topic_row: Row, scores: Columns) -> tuple[Column, Column]:
        """Return the success (a share) and the log seconds that K scores predict beyond the topic's means."""
        f, columns = functions_for(topic_row), columns_of(scores)
        success, time = (
            f.bounded(sum(map(mul, table_columns(loadings, topic_row), columns), 0.0 * topic_row), -bound, bound)
            for loadings, bound in ((self.success, 1.0), (self.time, MAX_LOG_SHIFT))
        )
        return success, time


def no_traits(n_topics: int) -> TraitModel:
    """Return a model without traits, which predicts 0 for every topic."""
    rows = n_topics + 1
    return TraitModel(np.zeros((rows, 0)), np.ones(rows), np.zeros((rows, 0)), np.ones(rows))
