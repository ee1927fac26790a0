"""Predictions for all answers of a history, each from the earlier answers of its student, as serving makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import FloatArray, IntArray, LnirtParameters
from chalicelib.domain.predictions import DEFAULT_CORRECT, DEFAULT_SECONDS, Source
from chalicelib.domain.tasks import MAX_SECONDS
from chalicelib.features.inputs import (
    N_MONOTONE,
    Float32Array,
    dense_columns,
    monotone_columns,
    standardise,
    success_priors,
    time_priors,
)
from chalicelib.prediction.chain import MAX_LOG_SECONDS, bounded_probability, choose_each
from chalicelib.prediction.network import network_inputs
from chalicelib.prediction.predictor import Predictor
from chalicelib.prediction.vocabulary import Vocabulary
from training_job.history.answers import AnswerTable, Rows
from training_job.history.pooled import PooledSteps
from training_job.history.steps import answer_steps
from training_job.history.summaries import summarise_history, user_chunks

PREDICTED_CHUNK = 20_000
"""Answers that are predicted at once."""


class History(msgspec.Struct, frozen=True):
    """The inputs of all answers of a table for given parameters and vocabulary. All (N,) but the columns."""

    dense: Float32Array
    """Dense columns before standardisation. Shape (N, D)."""
    logit: FloatArray
    """LNIRT's logit."""
    log_seconds: FloatArray
    """LNIRT's log seconds, those of the default without a model of time."""
    log_seconds_variance: FloatArray
    user: IntArray
    """Embedding rows of the users."""
    topic: IntArray
    """Embedding rows of the topics."""
    level: IntArray
    monotone: Float32Array
    """The monotone columns, of which the first is the outcome of the previous answer on the topic. Shape (N, M)."""
    n_answers: IntArray
    """Number of the student's earlier answers."""
    topic_known: Rows
    """Mask of the answers whose topic LNIRT knows."""

    def inputs(
        self, rows: IntArray, prior: FloatArray, dense: Float32Array, vectors: Float32Array
    ) -> dict[str, npt.NDArray[Any]]:
        """Return a network's inputs for n rows, from their priors (n,), standardised columns and pooled vectors."""
        codes = (self.user[rows], self.topic[rows], self.level[rows])
        return network_inputs(prior, *codes, self.monotone[rows], dense, vectors)


class HistoryPredictions(msgspec.Struct, frozen=True):
    """Served predictions, (n,) each: probability, log seconds, and the interval of the log seconds.

    The times are logarithms of whole seconds. The interval is NaN where a served prediction has none. ``lnirt_logit``
    and ``lnirt_log_seconds`` are LNIRT's own predictions.
    """

    correct: FloatArray
    log_seconds: FloatArray
    low: FloatArray
    high: FloatArray
    lnirt_logit: FloatArray
    lnirt_log_seconds: FloatArray


def read_history(table: AnswerTable, lnirt: LnirtParameters, vocabulary: Vocabulary) -> History:
    """Return LNIRT's predictions and the dense columns of every answer, computed chunk by chunk."""
    constants, n = vocabulary.constants(lnirt), len(table)
    dense: list[Float32Array] = []
    monotone: list[Float32Array] = []
    schema = vocabulary.feature_schema
    logit, log_seconds, variance = np.zeros(n), np.full(n, np.log(DEFAULT_SECONDS)), np.ones(n)
    n_answers = np.zeros(n, dtype=np.int64)
    for rows in user_chunks(table):
        past = summarise_history(table, rows, constants)
        success, time = success_priors(past, lnirt), time_priors(past, lnirt)
        dense.append(dense_columns(past, lnirt, time, schema))
        monotone.append(monotone_columns(past, schema))
        logit[rows], n_answers[rows] = success.logit, past.n_answers
        if time is not None:
            log_seconds[rows], variance[rows] = time.log_seconds, time.variance
    users = np.zeros(len(table.user_ids), dtype=np.int64)
    present = np.unique(table.user)
    users[present] = [vocabulary.user_embedding(table.user_ids[user]) for user in present]
    topics = np.array([vocabulary.topic_embedding(name) for name in table.topics], dtype=np.int64)
    return History(
        dense=np.concatenate(dense) if dense else np.zeros((0, len(vocabulary.mean)), dtype=np.float32),
        logit=logit,
        log_seconds=log_seconds,
        log_seconds_variance=variance,
        user=users[table.user],
        topic=topics[table.topic],
        level=table.level,
        monotone=np.concatenate(monotone) if monotone else np.zeros((0, N_MONOTONE), dtype=np.float32),
        n_answers=n_answers,
        topic_known=lnirt.knows(table.topic_rows(lnirt)),
    )


def joined(parts: Sequence[History], rows: Sequence[IntArray]) -> History:
    """Join parts to one history. ``rows`` are, for each part, the rows of the whole that its rows become."""
    n, columns = sum(map(len, rows)), dict[str, Any]()
    for name in History.__struct_fields__:
        first = getattr(parts[0], name)
        columns[name] = np.empty((n, *first.shape[1:]), dtype=first.dtype)
        for part, place in zip(parts, rows, strict=True):
            columns[name][place] = getattr(part, name)
    return History(**columns)


def both_pooled(table: AnswerTable, lnirt: LnirtParameters, vocabulary: Vocabulary) -> tuple[PooledSteps, PooledSteps]:
    """Return what pooled vectors are made from, for the correctness network and for the time network."""
    steps = answer_steps(table, lnirt)
    columns = np.array([vocabulary.pooled_column(name) for name in table.topics], dtype=np.int64)[table.topic]
    layouts = (vocabulary.correctness_pooled, vocabulary.time_pooled)
    correctness, time = (PooledSteps.of(table, steps, columns, layout) for layout in layouts)
    return correctness, time


def predict_history(predictor: Predictor, table: AnswerTable, requested: Rows) -> HistoryPredictions:
    """Return what would have been served for the ``requested`` (N,) answers, in the table's order.

    The other answers are history only. Students are read in chunks, so memory does not grow with the table.
    """
    parts = [
        _predict_chunk(predictor, table.select(np.arange(rows.start, rows.stop)), requested[rows])
        for rows in user_chunks(table, PREDICTED_CHUNK)
        if requested[rows].any()
    ]
    names = HistoryPredictions.__struct_fields__
    none = [np.zeros(0)]
    return HistoryPredictions(*(np.concatenate([getattr(part, name) for part in parts] or none) for name in names))


def _predict_chunk(predictor: Predictor, table: AnswerTable, requested: Rows) -> HistoryPredictions:
    lnirt, vocabulary, networks = predictor.lnirt, predictor.vocabulary, predictor.networks
    history = read_history(table, lnirt, vocabulary)
    chosen = choose_each(history.topic_known, history.n_answers)
    embedded = requested & chosen[Source.EMBEDDING]
    logit, log_seconds = history.logit.copy(), history.log_seconds.copy()
    correctness, time = both_pooled(table, lnirt, vocabulary)
    outputs = [(correctness, networks.correctness, logit)]
    if lnirt.time is not None:
        outputs.append((time, networks.time, log_seconds))
    rows = np.flatnonzero(embedded)
    dense = standardise(history.dense[rows], vocabulary.mean, vocabulary.scale)
    for pooled, network, output in outputs if len(rows) else []:
        vectors = pooled.vectors(np.arange(len(table)))[rows]
        # Until here the output is LNIRT's prediction, which the network corrects.
        output[rows] = network(history.inputs(rows, output[rows], dense, vectors))
    correct = np.where(chosen[Source.DEFAULT], DEFAULT_CORRECT, bounded_probability(logit))[requested]
    seconds = np.where(chosen[Source.DEFAULT], np.log(DEFAULT_SECONDS), log_seconds)[requested]
    low, high = _interval(predictor, history, log_seconds, embedded, chosen[Source.DEFAULT])
    return HistoryPredictions(
        correct=correct,
        log_seconds=served_log_seconds(seconds),
        low=served_log_seconds(seconds + low[requested]),
        high=served_log_seconds(seconds + high[requested]),
        lnirt_logit=history.logit[requested],
        lnirt_log_seconds=history.log_seconds[requested],
    )


def served_log_seconds(log_seconds: FloatArray) -> FloatArray:
    """Return the logarithms of the whole seconds that are served, 1..86,400, for log seconds (N,). NaN stays NaN."""
    shown: FloatArray = np.log(np.clip(np.rint(np.exp(np.minimum(log_seconds, MAX_LOG_SECONDS))), 1.0, MAX_SECONDS))
    return shown


def _interval(
    predictor: Predictor, history: History, log_seconds: FloatArray, embedded: Rows, default: Rows
) -> tuple[FloatArray, FloatArray]:
    """Return the distances of the interval's bounds from the log seconds, (N,) each, NaN where there is no interval."""
    vocabulary, time = predictor.vocabulary, predictor.lnirt.time
    if time is None:
        return np.full(len(default), np.nan), np.full(len(default), np.nan)
    spread = np.where(default, np.nan, np.sqrt(history.log_seconds_variance))
    low, high = vocabulary.time_interval.bounds(log_seconds)
    return np.where(embedded, low, time.low) * spread, np.where(embedded, high, time.high) * spread
