"""The training samples of one network: one row per answer, made from that student's earlier answers.

Pooled vectors are wide, so they are made block by block of whole students, and dropped after use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import FloatArray, LnirtParameters
from chalicelib.features.constants import VersionConstants
from chalicelib.features.inputs import Float32Array, standardise
from chalicelib.features.pooled import BEYOND_INTENSITY, FAILURE, SUCCESS, PooledLayout
from chalicelib.prediction.network import network_inputs
from chalicelib.prediction.vocabulary import OUT_OF_VOCABULARY, Vocabulary
from training_job.fit.sequences import fit_sequences
from training_job.fit.traits import fit_traits
from training_job.history.answers import AnswerTable
from training_job.history.pooled import PooledSteps
from training_job.history.replay import History, both_pooled, joined, read_history

MAX_TOPICS = 1024
"""Topics with an embedding of their own, most practised first."""

MAX_USERS = 256
"""Students with an embedding of their own, most active first."""

MAX_POOLED_TOPICS = 200
"""Topics with pooled columns of their own."""

CORRECTNESS_PAIRS = tuple((statistic, decay) for statistic in (SUCCESS, FAILURE) for decay in (0, 1, 2))
TIME_PAIRS = tuple((BEYOND_INTENSITY, decay) for decay in (1, 2, 3))
"""What is pooled per topic: successes and failures, log seconds beyond intensity, at three decays each."""

MIN_SPREAD = 0.05
"""Least scale of a dense column: one that never varied in training stays harmless when it varies later."""

BLOCK_ANSWERS = 60_000

FOLDS = 5
"""Parts of the students whose knowledge of the population comes from the other parts."""

Inputs = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Samples:
    """Inputs and targets of one network over a table: ``target`` (N,) is 0/1 or log seconds."""

    prior: FloatArray
    target: FloatArray
    history: History
    state: Float32Array
    pooled: PooledSteps
    user_first: npt.NDArray[np.int64]
    """Row of each user's first answer, and the number of rows at the end."""

    def inputs(self, rows: npt.NDArray[np.int64], vectors: Float32Array) -> Inputs:
        """The network's inputs for some rows and their pooled vectors."""
        history = self.history
        return network_inputs(
            self.prior[rows], history.user[rows], history.topic[rows], history.level[rows], history.last[rows],
            self.state[rows], vectors,
        )  # fmt: skip

    def blocks(
        self, wanted: npt.NDArray[np.bool_], rng: np.random.Generator | None = None
    ) -> Iterator[tuple[npt.NDArray[np.int64], Float32Array]]:
        """Rows that are ``wanted`` with their pooled vectors, in blocks of whole students, shuffled by ``rng``."""
        counts = np.add.reduceat(wanted, self.user_first[:-1]) if len(wanted) else np.zeros(0, dtype=np.int64)
        users = np.flatnonzero(counts)
        if rng is not None:
            rng.shuffle(users)
        sizes = self.user_first[users + 1] - self.user_first[users]
        block = np.cumsum(sizes) // BLOCK_ANSWERS
        for number in np.unique(block):
            mine = users[block == number]
            rows = np.concatenate([np.arange(self.user_first[user], self.user_first[user + 1]) for user in mine])
            vectors = self.pooled.vectors(rows)
            kept = np.flatnonzero(wanted[rows])
            if rng is not None:
                rng.shuffle(kept)
            yield rows[kept], vectors[kept]


def build_vocabulary(table: AnswerTable, trained: npt.NDArray[np.bool_], lnirt: LnirtParameters) -> Vocabulary:
    """Names by how often they occur among the ``trained`` rows; the columns' spread is filled in by the samples."""
    topics = _most_common(table.topic[trained], table.topics, MAX_TOPICS)
    users = _most_common(table.user[trained], table.user_ids, MAX_USERS)
    columns = min(len(topics), MAX_POOLED_TOPICS) + 1
    constants = fit_constants(table.select(trained), lnirt)
    return Vocabulary(
        topics=topics,
        users=users,
        correctness_pooled=PooledLayout(CORRECTNESS_PAIRS, columns),
        time_pooled=PooledLayout(TIME_PAIRS, columns),
        mean=np.zeros(0, dtype=np.float32),
        scale=np.zeros(0, dtype=np.float32),
        traits=constants.traits,
        sequences=constants.sequences,
        has_time=lnirt.time is not None,
        time_low=-1.2816,
        time_high=1.2816,
    )


def fit_constants(table: AnswerTable, lnirt: LnirtParameters) -> VersionConstants:
    """Fit the traits and the topic sequences of a table whose LNIRT is given."""
    return VersionConstants(lnirt, fit_traits(table, lnirt), fit_sequences(table, lnirt))


def read_history_by_others(
    table: AnswerTable, trained: npt.NDArray[np.bool_], lnirt: LnirtParameters, vocabulary: Vocabulary, seed: int
) -> History:
    """The table's history in which what is known of the population comes from other students' answers only.

    Students are dealt into ``FOLDS`` parts; each part sees the population of the ``trained`` answers of the others,
    as a student who is new to the version does. So the networks learn how far such knowledge carries.
    """
    fold = np.random.default_rng(seed).permutation(len(table.user_ids))[table.user] % FOLDS
    parts: list[History] = []
    rows: list[npt.NDArray[np.int64]] = []
    for number in np.unique(fold):
        mine = fold == number
        others = fit_constants(table.select(trained & ~mine), lnirt)
        known = replace(vocabulary, traits=others.traits, sequences=others.sequences)
        parts.append(read_history(table.select(mine), lnirt, known))
        rows.append(np.flatnonzero(mine))
    return joined(parts, np.concatenate(rows))


def _most_common(codes: npt.NDArray[np.int32], names: tuple[str, ...], limit: int) -> tuple[str, ...]:
    counts = Counter(dict(zip(*(part.tolist() for part in np.unique(codes, return_counts=True)), strict=True)))
    return tuple(names[code] for code, _ in counts.most_common(limit))


def spread_of(dense: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Mean and scale of the dense columns, (D,) each."""
    return dense.mean(axis=0), np.maximum(dense.std(axis=0), np.float32(MIN_SPREAD))


def samples_of(
    table: AnswerTable, lnirt: LnirtParameters, vocabulary: Vocabulary, history: History
) -> tuple[Samples, Samples]:
    """Return the samples of the correctness and of the time network.

    ``vocabulary`` holds the columns' mean and scale; ``history`` is the table as :func:`read_history` gives it.
    """
    state = standardise(history.dense, vocabulary.mean, vocabulary.scale)
    first = np.append(np.flatnonzero(np.diff(table.user, prepend=-1)), len(table))
    correctness, time = both_pooled(table, lnirt, vocabulary)
    right = table.is_correct.astype(np.float64)
    return (
        Samples(history.logit, right, history, state, correctness, first),
        Samples(history.log_seconds, table.log_seconds, history, state, time, first),
    )


def with_dropped_users(inputs: Inputs, share: float, rng: np.random.Generator) -> Inputs:
    """Inputs in which a random share of rows has the out-of-vocabulary user, so that a newcomer is no stranger."""
    user = inputs["user"].copy()
    user[rng.random(len(user)) < share] = OUT_OF_VOCABULARY
    return {**inputs, "user": user}
