"""Predictions of one student on many topics and difficulties at once: the serving arithmetic, with the state read once.

A test holds it equal to :func:`chalicelib.prediction.predictor.predict`, one by one.
"""

from __future__ import annotations

import logging
from datetime import datetime

import numpy as np

from chalicelib.domain.errors import ModelError
from chalicelib.domain.lnirt import FloatArray, IntArray, LnirtParameters, SuccessPrior, TimePrior
from chalicelib.domain.predictions import DEFAULT_PREDICTION, Prediction, Source
from chalicelib.features.inputs import dense_columns, standardise, success_priors, time_priors
from chalicelib.features.pooled import Float32Array, PooledLayout, pooled_state
from chalicelib.features.practice_state import UserState
from chalicelib.features.summaries import Summaries, Wanted, summarise_many
from chalicelib.prediction.networks import network_inputs, time_column
from chalicelib.prediction.predictor import Predictor

_LOG = logging.getLogger("studysmart.prediction")


def predict_many(predictor: Predictor | None, state: UserState, wanted: Wanted, now: datetime) -> list[Prediction]:
    """What :func:`chalicelib.prediction.predictor.predict` gives for each of ``wanted``, in that order."""
    if predictor is None or not wanted:
        return [DEFAULT_PREDICTION] * len(wanted)
    past = summarise_many(state, wanted, now, predictor.lnirt, predictor.vocabulary.population)
    success, time = success_priors(past, predictor.lnirt), time_priors(past, predictor.lnirt)
    topic_known, student_known = past.topic != predictor.lnirt.unknown, state.n_answers > 0
    logit, embedded = success.logit, np.zeros_like(topic_known)
    log_seconds = None if time is None else time.log_seconds
    if student_known and topic_known.any():
        asked = _ask_networks(predictor, state, wanted, past, success, time)
        embedded = topic_known & np.isfinite(asked[0]) & np.isfinite(asked[1])
        logit = np.where(embedded, asked[0], logit)
        log_seconds = None if log_seconds is None else np.where(embedded, asked[1], log_seconds)
    predictions = []
    for i in range(len(wanted)):
        if not topic_known[i] and not student_known:
            predictions.append(DEFAULT_PREDICTION)
            continue
        source = Source.EMBEDDING if embedded[i] else Source.LNIRT
        seconds = None if log_seconds is None else float(log_seconds[i])
        variance = None if time is None else float(time.variance[i])
        predictions.append(predictor.served(source, float(logit[i]), seconds, variance))
    return predictions


def _ask_networks(
    predictor: Predictor,
    state: UserState,
    wanted: Wanted,
    past: Summaries,
    success: SuccessPrior,
    time: TimePrior | None,
) -> tuple[FloatArray, FloatArray]:
    """Logits and log seconds of the networks, (N,) each; not finite where they failed, log seconds 0 without times."""
    model, vocabulary, networks = predictor.lnirt, predictor.vocabulary, predictor.networks
    dense = standardise(dense_columns(past, model, time), vocabulary.mean, vocabulary.scale)
    user = np.full(len(wanted), vocabulary.user_row(state.user_id))
    topic = np.array([vocabulary.topic_row(name) for name, _ in wanted])
    columns = np.array([vocabulary.pooled_column(row.topic) for row in state.rows], dtype=np.int64)
    own = np.array([vocabulary.pooled_column(name) for name, _ in wanted])
    try:
        correctness, timing = (
            _pooled(state, columns, own, layout, model)
            for layout in (vocabulary.correctness_pooled, vocabulary.time_pooled)
        )
        inputs = network_inputs(success.logit, user, topic, past.level, past.last, dense, correctness)
        logit, log_seconds = networks(inputs, time_column(time, len(wanted)), timing)
    except (ModelError, ArithmeticError, ValueError, IndexError) as error:
        _LOG.warning("Embedding model prediction failed, falling back to LNIRT: %s", error)
        return np.full(len(wanted), np.nan), np.zeros(len(wanted))
    if time is None:
        log_seconds = np.zeros(len(wanted))
    failed = int((~(np.isfinite(logit) & np.isfinite(log_seconds))).sum())
    if failed:
        _LOG.warning(
            "Embedding model prediction failed, falling back to LNIRT: %d of %d not finite", failed, len(wanted)
        )
    return logit, log_seconds


def _pooled(
    state: UserState, columns: IntArray, own: IntArray, layout: PooledLayout, model: LnirtParameters
) -> Float32Array:
    """Pooled vectors (N, width) of one state, each with its own topic's column blank.

    Columns do not depend on each other, so two vectors that blank different ones make up the whole.
    """
    whole = pooled_state(state, columns, 0, layout, model).reshape(layout.n_columns, -1)
    if layout.n_columns > 1:
        whole[0] = pooled_state(state, columns, 1, layout, model).reshape(layout.n_columns, -1)[0]
    vectors: Float32Array = np.repeat(whole[None], len(own), axis=0)
    vectors[np.arange(len(own)), own] = 0.0
    return vectors.reshape(len(own), -1)
