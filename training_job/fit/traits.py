"""Fits the traits behind students' results: factor analysis by EM over what LNIRT's topic means leave unexplained.

Rubin & Thayer (1982), "EM algorithms for ML factor analysis", with answers missing at random and repeated, and the
traits' spread brought back to one after each round (Liu, Rubin & Wu 1998, parameter expansion), which takes tens of
rounds where plain EM takes hundreds. Loadings and noise of a topic lean on those of all topics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import FloatArray, LnirtParameters
from chalicelib.features.traits import TraitModel, no_traits
from training_job.history.answers import AnswerTable
from training_job.history.summaries import topic_codes

N_TRAITS = 6
MIN_STUDENTS = 60
"""Students below which traits are not told apart: one ability and one speed say all that can be said."""

MAX_ANSWERS = 1_000_000
"""Answers used at most, of students drawn at random; more would not change the loadings."""

ROUNDS = 40
LOADING_ANSWERS = 30.0
NOISE_ANSWERS = 20.0
"""For how many answers a topic's lean on the mean loadings, and on the mean noise, counts."""

LEAST_NOISE = 1e-3
MAX_RESIDUAL_SD = 3.0
"""Residuals are pulled in to this many standard deviations."""


@dataclass(frozen=True, slots=True)
class _Sums:
    """Residuals summed by student (U) and item; items 0..T-1 are successes, T..2T-1 times.

    ``n`` and ``total`` (U, 2 T) sparse, answers and their residuals; ``answers`` and ``squares`` (2 T,) by item.
    """

    n: Any
    total: Any
    answers: FloatArray
    squares: FloatArray


def fit_traits(table: AnswerTable, model: LnirtParameters) -> TraitModel:
    """The traits of a history whose LNIRT is ``model``; without any where there are too few students."""
    n_topics = len(model.topics)
    n_traits = min(N_TRAITS, n_topics - 1)
    if len(np.unique(table.user)) < MIN_STUDENTS or n_traits < 1:
        return no_traits(n_topics)
    sums = _sums(_drawn(table), model)
    loadings, noise = _expectation_maximisation(sums, n_traits, n_topics)
    success, time = np.zeros((n_topics + 1, n_traits)), np.zeros((n_topics + 1, n_traits))
    success[:-1], time[:-1] = loadings[:n_topics], loadings[n_topics:]
    # In the precision in which they are published.
    rows = [np.append(part, part.mean()) for part in (noise[:n_topics], noise[n_topics:])]
    parts = [part.astype(np.float32).astype(np.float64) for part in (success, rows[0], time, rows[1])]
    return TraitModel(*parts)


def _drawn(table: AnswerTable) -> AnswerTable:
    if len(table) <= MAX_ANSWERS:
        return table
    share = MAX_ANSWERS / len(table)
    kept = np.random.default_rng(0).random(len(table.user_ids)) < share
    return table.select(kept[table.user])


def _sums(table: AnswerTable, model: LnirtParameters) -> _Sums:
    from scipy import sparse  # not loaded for the many trainings of small populations

    n_topics = len(model.topics)
    topic = topic_codes(table.topics, model)[table.topic]
    level = table.difficulty.astype(np.int64) - 1
    student = np.unique(table.user, return_inverse=True)[1].astype(np.int64)
    known = topic < n_topics
    parts = [(known, table.is_correct - model.expected_success[topic, level], 0)]
    if model.time is not None:
        slow = table.log_seconds - model.time.intensity[topic, level]
        parts.append((known & table.timed, _pulled_in(slow, known & table.timed), n_topics))
    users = np.concatenate([student[rows] for rows, _, _ in parts])
    items = np.concatenate([topic[rows] + shift for rows, _, shift in parts])
    values = np.concatenate([residual[rows] for rows, residual, _ in parts])
    shape = (int(student.max()) + 1, 2 * n_topics)
    return _Sums(
        n=sparse.csr_array((np.ones(len(values)), (users, items)), shape=shape),
        total=sparse.csr_array((values, (users, items)), shape=shape),
        answers=np.bincount(items, minlength=2 * n_topics).astype(np.float64),
        squares=np.bincount(items, weights=values**2, minlength=2 * n_topics),
    )


def _pulled_in(residual: FloatArray, known: npt.NDArray[np.bool_]) -> FloatArray:
    reach = MAX_RESIDUAL_SD * float(residual[known].std()) if known.any() else 0.0
    return np.clip(residual, -reach, reach)


def _expectation_maximisation(sums: _Sums, n_traits: int, n_topics: int) -> tuple[FloatArray, FloatArray]:
    """Loadings (2 T, K) and noise (2 T,) by item."""
    kind = np.repeat([0, 1], n_topics)
    n_by_item, total_by_item = sums.n.T.tocsr(), sums.total.T.tocsr()

    def mean_by_kind(values: FloatArray) -> FloatArray:
        """Sums over the items of a kind per answer, spread over its items."""
        answers = np.maximum(np.bincount(kind, weights=sums.answers), 1.0)
        means: FloatArray = (np.stack([values[kind == k].sum(axis=0) for k in (0, 1)]).T / answers).T[kind]
        return means

    mean_noise = np.maximum(mean_by_kind(sums.squares), LEAST_NOISE)
    noise = (sums.squares + NOISE_ANSWERS * mean_noise) / (sums.answers + NOISE_ANSWERS)
    start = np.random.default_rng(0).normal(0.0, 0.1, (2 * n_topics, n_traits))
    start[:, 0] = 0.4
    loadings = start * np.sqrt(noise)[:, None]
    identity = np.eye(n_traits)
    for _ in range(ROUNDS):
        weighted = loadings / noise[:, None]
        information = (loadings[:, :, None] * weighted[:, None, :]).reshape(len(loadings), -1)
        covariance = np.linalg.inv((sums.n @ information).reshape(-1, n_traits, n_traits) + identity)
        mean = np.einsum("ukl,ul->uk", covariance, sums.total @ weighted)
        moments = (covariance + mean[:, :, None] * mean[:, None, :]).reshape(len(mean), -1)
        crossed = total_by_item @ mean
        squares = (n_by_item @ moments).reshape(-1, n_traits, n_traits)
        centre = mean_by_kind(loadings * sums.answers[:, None])
        target = crossed + LOADING_ANSWERS * centre
        loadings = np.linalg.solve(squares + LOADING_ANSWERS * identity, target[:, :, None])[:, :, 0]
        left = sums.squares - 2 * (loadings * crossed).sum(axis=1)
        left = np.maximum(left + np.einsum("jk,jkl,jl->j", loadings, squares, loadings), 0.0)
        noise = (left + NOISE_ANSWERS * mean_by_kind(left)) / (sums.answers + NOISE_ANSWERS)
        noise = np.maximum(noise, LEAST_NOISE)
        loadings = loadings @ np.linalg.cholesky(moments.mean(axis=0).reshape(n_traits, n_traits))
    return loadings, noise
