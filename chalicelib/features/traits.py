"""Traits: what a student's results on different topics have in common beyond one ability and one speed.

A Gaussian factor model with K traits per student, of success and time together:

    success     - expected success of the topic and difficulty = success loadings . traits + noise
    log seconds - intensity of the topic and difficulty        = time loadings . traits + noise

Traits are standard normal in the population. Their posterior mean needs sums over a student's answers only, so it
is the same whether it comes from a stored state or from a whole history. With the loadings of one topic the same for
both outcomes of an answer, turning a failure on a topic into a success can only raise what the traits expect there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import mul

import numpy as np

from chalicelib.domain.lnirt import MAX_LOG_SHIFT, FloatArray, IntArray
from chalicelib.domain.numerics import Column, Columns, Row, columns_of, functions_for, picked


@dataclass(frozen=True)
class TraitModel:
    """Loadings and noise by row of the LNIRT parameters: T topics, the average topic last, K traits.

    ``success`` and ``time`` (T+1, K), ``success_noise`` and ``time_noise`` (T+1,) variances of one answer. A topic
    without loadings (zeros) neither tells of the traits nor is foretold by them.
    """

    success: FloatArray
    success_noise: FloatArray
    time: FloatArray
    time_noise: FloatArray
    steps: FloatArray = field(init=False, repr=False, compare=False)
    """What one answer on a topic tells per unit: (2, T+1, K * K + K), for success and for time."""
    _per_success: FloatArray = field(init=False, repr=False, compare=False)
    """What one success on a topic tells beside the precision, (T+1, K)."""
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

    @property
    def n_traits(self) -> int:
        """K; 0 for a population too small to tell traits apart."""
        return int(self.success.shape[1])

    def evidence(
        self,
        topic: IntArray,
        attempts: FloatArray,
        beyond_success: FloatArray,
        timed: FloatArray,
        beyond_log: FloatArray,
    ) -> FloatArray:
        """What answers on ``topic`` tell of the traits, one row each: add rows up. All (n,); gives (n, K * K + K).

        ``beyond_success`` and ``beyond_log`` are sums of what was left unexplained over ``attempts`` and ``timed``.
        """
        square = self.n_traits**2
        success, time = self.steps[0, topic], self.steps[1, topic]
        told: FloatArray = np.empty_like(success)
        told[:, :square] = attempts[:, None] * success[:, :square] + timed[:, None] * time[:, :square]
        told[:, square:] = beyond_success[:, None] * success[:, square:] + beyond_log[:, None] * time[:, square:]
        return told

    def scores(self, evidence: FloatArray) -> FloatArray:
        """Posterior means of the traits from summed evidence: (n, K * K + K) gives (n, K)."""
        k = self.n_traits
        precision = evidence[:, : k * k].reshape(len(evidence), k, k) + np.eye(k)
        means: FloatArray = np.linalg.solve(precision, evidence[:, k * k :, None])[:, :, 0]
        return means

    def foretold_if_wrong(
        self, total: FloatArray, topic: Sequence[int], right: Sequence[bool]
    ) -> list[tuple[float, float]]:
        """What the traits foretell (:meth:`expected`) on each topic had an answer on it that was ``right`` been wrong.

        ``total`` (K * K + K,) is the evidence of all answers as they were. Outcomes do not change the precision.
        """
        k = self.n_traits
        weighted = total[k * k :] - np.array(right)[:, None] * self._per_success.take(topic, axis=0)
        scores = np.linalg.solve(total[: k * k].reshape(k, k) + self._identity, weighted.T)
        return [self.expected(one, means) for one, means in zip(topic, scores.T.tolist(), strict=True)]

    def expected(self, topic: Row, scores: Columns) -> tuple[Column, Column]:
        """Success (a share) and log seconds beyond the topic's means that the K scores foretell."""
        f, columns = functions_for(topic), columns_of(scores)
        success, time = (
            f.bounded(sum(map(mul, picked(loadings, topic), columns), 0.0 * topic), -most, most)
            for loadings, most in ((self.success, 1.0), (self.time, MAX_LOG_SHIFT))
        )
        return success, time


def no_traits(n_topics: int) -> TraitModel:
    """The model of a population too small for traits: it foretells nothing."""
    rows = n_topics + 1
    return TraitModel(np.zeros((rows, 0)), np.ones(rows), np.zeros((rows, 0)), np.ones(rows))
