"""Fits the traits: a factor analysis by EM of what LNIRT's topic means leave unexplained in students' results.

Rubin & Thayer (1982), "EM algorithms for ML factor analysis", with answers that are missing at random and repeated.
After each round the traits are scaled back to unit variance (Liu, Rubin & Wu 1998, parameter expansion). That takes
tens of rounds where plain EM takes hundreds. Loadings and noise of a topic are shrunk towards those of all topics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import FloatArray, LnirtParameters
from chalicelib.features.traits import TraitModel, no_traits
from training_job.history.answers import AnswerTable

N_TRAITS = 6
MIN_STUDENTS = 60
"""Number of students below which there are no traits: ability and speed describe so few students well enough."""

MAX_ANSWERS = 1_000_000
"""Maximum number of answers that are used. More would not change the loadings."""

ROUNDS = 40
LOADING_PSEUDO_ANSWERS, NOISE_PSEUDO_ANSWERS = 30.0, 20.0
"""Numbers of answers for which the mean loadings and the mean noise of all topics count in those of one topic."""

MIN_NOISE = 1e-3
MAX_RESIDUAL_SD = 3.0
"""Number of standard deviations to which residuals of time are clipped."""


@dataclass(frozen=True, slots=True)
class _Sums:
    """Residuals summed by student (U) and variable. Variables 0..T-1 are successes of topics, T..2T-1 their times.

    ``n`` and ``total`` (U, 2T) are sparse: answers, and their residuals. ``answers`` and ``squares`` (2T,) are numbers
    of answers and sums of squared residuals by variable.
    """

    n: Any
    total: Any
    answers: FloatArray
    squares: FloatArray


def fit_traits(table: AnswerTable, lnirt: LnirtParameters) -> TraitModel:
    """Return the traits of a history whose LNIRT is given. There are none where students or topics are too few."""
    n_topics = len(lnirt.topics)
    n_traits = min(N_TRAITS, n_topics - 1)
    if len(np.unique(table.user)) < MIN_STUDENTS or n_traits < 1:
        return no_traits(n_topics)
    sums = _sums(table.sample(MAX_ANSWERS), lnirt)
    loadings, noise = _expectation_maximisation(sums, n_traits, n_topics)
    parts = []
    for rows in (slice(n_topics), slice(n_topics, None)):
        # The average topic, in the last row, has no loadings.
        parts += [np.vstack([loadings[rows], np.zeros(n_traits)]), np.append(noise[rows], noise[rows].mean())]
    # Rounded to the precision in which they are published.
    return TraitModel(*(part.astype(np.float32).astype(np.float64) for part in parts))


def _sums(table: AnswerTable, lnirt: LnirtParameters) -> _Sums:
    from scipy import sparse

    n_topics = len(lnirt.topics)
    topic, level = table.topic_rows(lnirt), table.level
    student = np.unique(table.user, return_inverse=True)[1].astype(np.int64)
    known = topic < n_topics
    parts = [(known, table.is_correct - lnirt.expected_success[topic, level], 0)]
    if lnirt.time is not None:
        known = known & table.timed
        parts.append((known, _clipped(table.log_seconds - lnirt.time.intensity[topic, level], known), n_topics))
    users = np.concatenate([student[rows] for rows, _, _ in parts])
    variables = np.concatenate([topic[rows] + shift for rows, _, shift in parts])
    values = np.concatenate([residual[rows] for rows, residual, _ in parts])
    shape = (int(student.max()) + 1, 2 * n_topics)
    return _Sums(
        n=sparse.csr_array((np.ones(len(values)), (users, variables)), shape=shape),
        total=sparse.csr_array((values, (users, variables)), shape=shape),
        answers=np.bincount(variables, minlength=2 * n_topics).astype(np.float64),
        squares=np.bincount(variables, weights=values**2, minlength=2 * n_topics),
    )


def _clipped(residual: FloatArray, known: npt.NDArray[np.bool_]) -> FloatArray:
    reach = MAX_RESIDUAL_SD * float(residual[known].std()) if known.any() else 0.0
    return np.clip(residual, -reach, reach)


def _expectation_maximisation(sums: _Sums, n_traits: int, n_topics: int) -> tuple[FloatArray, FloatArray]:
    """Return loadings (2T, K) and noise (2T,) by variable."""
    kind = np.repeat([0, 1], n_topics)
    n_by_variable, total_by_variable = sums.n.T.tocsr(), sums.total.T.tocsr()

    def mean_by_kind(values: FloatArray) -> FloatArray:
        """Return the sum of values (2T, ...) per answer over the successes and over the times, for each variable."""
        answers = np.maximum(np.bincount(kind, weights=sums.answers), 1.0)
        means: FloatArray = (np.stack([values[kind == k].sum(axis=0) for k in (0, 1)]).T / answers).T[kind]
        return means

    def shrunk_noise(squares: FloatArray) -> FloatArray:
        mean = np.maximum(mean_by_kind(squares), MIN_NOISE)
        return np.maximum((squares + NOISE_PSEUDO_ANSWERS * mean) / (sums.answers + NOISE_PSEUDO_ANSWERS), MIN_NOISE)

    noise = shrunk_noise(sums.squares)
    start = np.random.default_rng(0).normal(0.0, 0.1, (2 * n_topics, n_traits))
    start[:, 0] = 0.4
    loadings = start * np.sqrt(noise)[:, None]
    identity = np.eye(n_traits)
    for _ in range(ROUNDS):
        # E step: posterior moments of the students' traits.
        weighted = loadings / noise[:, None]
        information = (loadings[:, :, None] * weighted[:, None, :]).reshape(len(loadings), -1)
        covariance = np.linalg.inv((sums.n @ information).reshape(-1, n_traits, n_traits) + identity)
        mean = np.einsum("ukl,ul->uk", covariance, sums.total @ weighted)
        moments = (covariance + mean[:, :, None] * mean[:, None, :]).reshape(len(mean), -1)
        # M step: a ridge regression of each variable's residuals on the traits.
        crossed = total_by_variable @ mean
        squares = (n_by_variable @ moments).reshape(-1, n_traits, n_traits)
        target = crossed + LOADING_PSEUDO_ANSWERS * mean_by_kind(loadings * sums.answers[:, None])
        loadings = np.linalg.solve(squares + LOADING_PSEUDO_ANSWERS * identity, target[:, :, None])[:, :, 0]
        left = sums.squares - 2 * (loadings * crossed).sum(axis=1)
        noise = shrunk_noise(np.maximum(left + np.einsum("jk,jkl,jl->j", loadings, squares, loadings), 0.0))
        loadings = loadings @ np.linalg.cholesky(moments.mean(axis=0).reshape(n_traits, n_traits))
    return loadings, noise
