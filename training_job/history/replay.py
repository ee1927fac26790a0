"""Predictions for every answer of a history from that student's earlier answers: the serving arithmetic, vectorised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import FloatArray, IntArray, LnirtParameters
from chalicelib.domain.predictions import DEFAULT_CORRECT, DEFAULT_SECONDS, Source
from chalicelib.features.inputs import Float32Array, dense_columns, standardise, success_priors, time_priors
from chalicelib.prediction.chain import bounded_probability, choose_each
from chalicelib.prediction.network import network_inputs
from chalicelib.prediction.predictor import Predictor
from chalicelib.prediction.vocabulary import Vocabulary
from training_job.history.answers import AnswerTable
from training_job.history.pooled import PooledSteps, pooled_steps
from training_job.history.summaries import summarise_history, topic_codes, user_chunks

POOLED_CHUNK = 20_000
"""Answers whose pooled vectors are in memory at once."""


class History(msgspec.Struct, frozen=True):
    """A table's inputs under given parameters and vocabulary, row by row of the table.

    ``dense`` (N, D) before standardisation; priors (N,); ``log_seconds_variance`` (N,); embedding rows (N,).
    """

    dense: Float32Array
    logit: FloatArray
    log_seconds: FloatArray
    log_seconds_variance: FloatArray
    user: IntArray
    topic: IntArray
    level: IntArray
    last: FloatArray
    n_answers: IntArray
    topic_known: npt.NDArray[np.bool_]


class HistoryPredictions(msgspec.Struct, frozen=True):
    """What the whole chain would have served, (N,) each: probability, log seconds, and its interval (log seconds).

    Intervals are NaN where a served prediction would have none.
    """

    correct: FloatArray
    log_seconds: FloatArray
    low: FloatArray
    high: FloatArray


def read_history(table: AnswerTable, lnirt: LnirtParameters, vocabulary: Vocabulary) -> History:
    """Priors and dense columns of every answer, chunk by chunk."""
    codes, constants = topic_codes(table.topics, lnirt), vocabulary.constants(lnirt)
    n = len(table)
    dense: list[Float32Array] = []
    logit, log_seconds, variance = np.zeros(n), np.full(n, np.log(DEFAULT_SECONDS)), np.ones(n)
    n_answers, last = np.zeros(n, dtype=np.int64), np.zeros(n)
    for rows in user_chunks(table):
        past = summarise_history(table, rows, constants, codes)
        success, time = success_priors(past, lnirt), time_priors(past, lnirt)
        dense.append(dense_columns(past, lnirt, time))
        logit[rows], last[rows], n_answers[rows] = success.logit, past.last_outcome, past.n_answers.astype(np.int64)
        if time is not None:
            log_seconds[rows], variance[rows] = time.log_seconds, time.variance
    users = np.array([vocabulary.user_embedding(name) for name in table.user_ids], dtype=np.int64)
    topics = np.array([vocabulary.topic_embedding(name) for name in table.topics], dtype=np.int64)
    return History(
        dense=np.concatenate(dense) if dense else np.zeros((0, len(vocabulary.mean)), dtype=np.float32),
        logit=logit,
        log_seconds=log_seconds,
        log_seconds_variance=variance,
        user=users[table.user],
        topic=topics[table.topic],
        level=table.difficulty.astype(np.int64) - 1,
        last=last,
        n_answers=n_answers,
        topic_known=(codes != lnirt.average_row)[table.topic],
    )


def joined(parts: Sequence[History], rows: IntArray) -> History:
    """One history of several; ``rows`` (N,) says which row of the whole each of the parts' rows is, part by part."""
    columns: dict[str, Any] = {}
    for name in History.__struct_fields__:
        values = np.concatenate([getattr(part, name) for part in parts])
        columns[name] = np.empty_like(values)
        columns[name][rows] = values
    return History(**columns)


def both_pooled(table: AnswerTable, lnirt: LnirtParameters, vocabulary: Vocabulary) -> tuple[PooledSteps, PooledSteps]:
    """The makers of pooled vectors for the correctness model and the time model."""
    codes = topic_codes(table.topics, lnirt)
    columns = np.array([vocabulary.pooled_column(name) for name in table.topics], dtype=np.int64)
    layouts = (vocabulary.correctness_pooled, vocabulary.time_pooled)
    correctness, time = (pooled_steps(table, codes, columns, layout, lnirt) for layout in layouts)
    return correctness, time


def predict_history(predictor: Predictor, table: AnswerTable, wanted: npt.NDArray[np.bool_]) -> HistoryPredictions:
    """Served predictions for the ``wanted`` (N,) rows, in the table's order; the other rows only give history."""
    lnirt, vocabulary = predictor.lnirt, predictor.vocabulary
    history = read_history(table, lnirt, vocabulary)
    chosen = choose_each(history.topic_known, history.n_answers)
    embedded, unknown = wanted & chosen[Source.EMBEDDING], chosen[Source.DEFAULT]
    logit, log_seconds = history.logit.copy(), history.log_seconds.copy()
    for pooled, prior, network, out in zip(
        both_pooled(table, lnirt, vocabulary),
        (history.logit, history.log_seconds),
        (predictor.networks.correctness, predictor.networks.time),
        (logit, log_seconds),
        strict=True,
    ):
        if prior is history.log_seconds and lnirt.time is None:
            continue
        for rows in user_chunks(table, POOLED_CHUNK):
            at = np.flatnonzero(embedded[rows])
            if len(at):
                vectors = pooled.vectors(np.arange(rows.start, rows.stop))[at]
                at += rows.start
                state = standardise(history.dense[at], vocabulary.mean, vocabulary.scale)
                values = network_inputs(
                    prior[at], history.user[at], history.topic[at], history.level[at], history.last[at], state, vectors
                )
                out[at] = network(values)
    return _served(predictor, history, embedded, unknown, logit, log_seconds, wanted)


def _served(
    predictor: Predictor,
    history: History,
    embedded: npt.NDArray[np.bool_],
    unknown: npt.NDArray[np.bool_],
    logit: FloatArray,
    log_seconds: FloatArray,
    wanted: npt.NDArray[np.bool_],
) -> HistoryPredictions:
    correct = np.where(unknown, DEFAULT_CORRECT, bounded_probability(logit))
    time = predictor.lnirt.time
    if time is None:
        nothing = np.full(int(wanted.sum()), np.nan)
        return HistoryPredictions(correct[wanted], np.full(len(nothing), np.log(DEFAULT_SECONDS)), nothing, nothing)
    spread = np.where(unknown, np.nan, np.sqrt(history.log_seconds_variance))
    low = np.where(embedded, predictor.vocabulary.time_low, time.low) * spread
    high = np.where(embedded, predictor.vocabulary.time_high, time.high) * spread
    seconds = np.where(unknown, np.log(DEFAULT_SECONDS), log_seconds)
    return HistoryPredictions(correct[wanted], seconds[wanted], (seconds + low)[wanted], (seconds + high)[wanted])
