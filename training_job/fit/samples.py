"""Training samples of the networks: one row per answer, made from the earlier answers of its student.

Pooled vectors are wide, so they are kept without their zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import FloatArray, IntArray, LnirtParameters
from chalicelib.features.constants import VersionConstants
from chalicelib.features.inputs import Float32Array, standardise
from chalicelib.features.pooled import BEYOND_INTENSITY, FAILURE, SUCCESS, PooledLayout
from chalicelib.prediction.vocabulary import OUT_OF_VOCABULARY, Vocabulary
from training_job.execution import INLINE, Execution
from training_job.fit.items import fit_items
from training_job.fit.population import Population
from training_job.fit.practice import NORMAL_INTERVAL
from training_job.fit.sequences import fit_sequences
from training_job.fit.traits import fit_traits
from training_job.history.answers import AnswerTable, Rows
from training_job.history.pooled import PooledSteps
from training_job.history.replay import History, both_pooled, joined, read_history
from training_job.history.summaries import user_chunks

MAX_TOPICS, MAX_USERS = 1024, 256
"""Maximum number of topics and of students with an embedding of their own: those with the most answers."""

MAX_POOLED_TOPICS = 200
"""Maximum number of topics with a pooled column of their own."""

CORRECTNESS_PAIRS = tuple((statistic, decay) for statistic in (SUCCESS, FAILURE) for decay in (0, 1, 2))
TIME_PAIRS = tuple((BEYOND_INTENSITY, decay) for decay in (1, 2, 3))
"""The pooled sums per topic: successes and failures, and log seconds beyond intensity, at three decays each."""

MIN_SPREAD = 0.05
"""Minimum scale of a dense column: one that did not vary in training stays harmless when it varies later."""

Inputs = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Samples:
    """Inputs and targets of one network for a table. ``target`` (N,) is 0 or 1, or log seconds."""

    prior: FloatArray
    target: FloatArray
    history: History
    dense: Float32Array
    pooled: PooledSteps

    def inputs(self, rows: IntArray, vectors: Float32Array) -> Inputs:
        """Return the network's inputs for n rows and their pooled vectors."""
        return self.history.inputs(rows, self.prior[rows], self.dense[rows], vectors)

    def blocks(self, requested: Rows) -> Iterator[tuple[IntArray, Float32Array]]:
        """Iterate over the ``requested`` (N,) rows with their pooled vectors, in blocks of whole users."""
        for block, vectors in self.pooled.blocks():
            kept = np.flatnonzero(requested[block])
            if len(kept):
                yield kept + block.start, vectors[kept]


def build_vocabulary(table: AnswerTable, trained: Rows, constants: VersionConstants) -> Vocabulary:
    """Return the vocabulary of the ``trained`` (N,) rows, still without mean and scale of the dense columns."""
    topics = _most_common(table.topic[trained], table.topics, MAX_TOPICS)
    columns = min(len(topics), MAX_POOLED_TOPICS) + 1
    return Vocabulary(
        topics=topics,
        users=_most_common(table.user[trained], table.user_ids, MAX_USERS),
        correctness_pooled=PooledLayout(CORRECTNESS_PAIRS, columns),
        time_pooled=PooledLayout(TIME_PAIRS, columns),
        mean=np.zeros(0, dtype=np.float32),
        scale=np.zeros(0, dtype=np.float32),
        traits=constants.traits,
        sequences=constants.sequences,
        items=constants.items,
        has_time=constants.lnirt.time is not None,
        time_interval=NORMAL_INTERVAL,
    )


def fit_constants(table: AnswerTable, lnirt: LnirtParameters) -> VersionConstants:
    """Fit the traits, topic sequences and item effects of a table whose LNIRT is given."""
    return VersionConstants(lnirt, fit_traits(table, lnirt), fit_sequences(table, lnirt), fit_items(table, lnirt))


def read_history_by_others(
    population: Population,
    older: Rows,
    lnirt: LnirtParameters,
    vocabulary: Vocabulary,
    seed: int,
    execution: Execution = INLINE,
) -> History:
    """Return the history of the sample: each student's own answers, with traits, sequences and items of other students.

    The sample is divided into parts (:meth:`Population.folds`). Traits, sequences and items for a part are fitted to
    the ``older`` (N,) answers of everybody outside of it, so each student looks like one who is new to the version, and
    the networks learn how far to trust these constants.
    """
    table, part = population.sample, population.folds(seed)
    numbers = np.unique(part[table.user])
    everything, sampled = population.everything, population.sampled
    others = [everything.select(older & ~(sampled & (part == n)[everything.user])) for n in numbers]
    constants = execution.map(fit_constants, others, [lnirt] * len(numbers))
    pieces: list[AnswerTable] = []
    known: list[Vocabulary] = []
    rows: list[IntArray] = []
    for n, found in zip(numbers, constants, strict=True):
        own = np.flatnonzero(part[table.user] == n)
        fitted = replace(vocabulary, traits=found.traits, sequences=found.sequences, items=found.items)
        for chunk in user_chunks(table.select(own)):
            pieces.append(table.of_students(own[chunk]))
            known.append(fitted)
            rows.append(own[chunk])
    return joined(execution.map(read_history, pieces, [lnirt] * len(pieces), known), rows)


def _most_common(codes: npt.NDArray[np.int32], names: tuple[str, ...], limit: int) -> tuple[str, ...]:
    found, counts = np.unique(codes, return_counts=True)
    return tuple(names[code] for code in found[np.argsort(-counts, kind="stable")[:limit]])


def spread_of(dense: Float32Array, rows: Rows) -> tuple[Float32Array, Float32Array]:
    """Return mean and scale of the dense columns (N, D) over the ``rows`` (N,). Shapes (D,)."""
    # Column by column, because a copy of all rows is as large as the columns themselves.
    found = np.array([(column[rows].mean(), column[rows].std()) for column in dense.T], dtype=np.float32)
    return found[:, 0], np.maximum(found[:, 1], np.float32(MIN_SPREAD))


def samples_of(
    table: AnswerTable, lnirt: LnirtParameters, vocabulary: Vocabulary, history: History
) -> tuple[Samples, Samples]:
    """Return the samples of the correctness network and of the time network.

    ``vocabulary`` holds mean and scale of the columns; ``history`` is the table as :func:`read_history` returns it.
    """
    dense = standardise(history.dense, vocabulary.mean, vocabulary.scale)
    # Half a million answers have 200 MB of dense columns. They are not kept twice.
    history = msgspec.structs.replace(history, dense=dense)
    correctness, time = both_pooled(table, lnirt, vocabulary)
    return (
        Samples(history.logit, table.is_correct.astype(np.float64), history, dense, correctness),
        Samples(history.log_seconds, table.log_seconds, history, dense, time),
    )


def with_dropped_users(inputs: Inputs, share: float, rng: np.random.Generator) -> Inputs:
    """Return inputs in which a random share of rows has the out-of-vocabulary user.

    Without it the network would never have seen a user without an embedding.
    """
    user = inputs["user"].copy()
    user[rng.random(len(user)) < share] = OUT_OF_VOCABULARY
    return {**inputs, "user": user}
