"""Predictions of one student on many topics and difficulties at once: the serving arithmetic, with the state read once.

A test holds it equal to :func:`chalicelib.prediction.predictor.predict`, one by one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import datetime

import numpy as np

from chalicelib.domain.errors import ModelError
from chalicelib.domain.lnirt import N_LEVELS, FloatArray, IntArray, LnirtParameters, SuccessPrior, TimePrior
from chalicelib.domain.predictions import DEFAULT_PREDICTION, Prediction, Source
from chalicelib.features.inputs import dense_columns, standardise, success_priors, time_priors
from chalicelib.features.pooled import Float32Array, PooledLayout, pooled_state
from chalicelib.features.practice_state import StateRow, UserState
from chalicelib.features.summaries import Summaries, decayed_rows, summarise_state
from chalicelib.prediction.networks import network_inputs
from chalicelib.prediction.predictor import Predictor

Wanted = Sequence[tuple[str, int]]
"""Topic keys, each with a difficulty of 1..4."""

_LOG = logging.getLogger("studysmart.prediction")


def predict_many(predictor: Predictor | None, state: UserState, wanted: Wanted, now: datetime) -> list[Prediction]:
    """What :func:`chalicelib.prediction.predictor.predict` gives for each of ``wanted``, in that order."""
    if predictor is None or not wanted:
        return [DEFAULT_PREDICTION] * len(wanted)
    past = summarise_many(state, wanted, now, predictor.lnirt)
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


def summarise_many(state: UserState, wanted: Wanted, now: datetime, model: LnirtParameters) -> Summaries:
    """The summaries of all of ``wanted``: what is the same for all is computed once, the rest topic by topic."""
    rows = state.rows
    position = {topic: i for i, topic in enumerate(dict.fromkeys(topic for topic, _ in wanted))}
    at = np.array([position.get(row.topic, -1) for row in rows], dtype=np.int64)
    kept = at >= 0
    levels = np.array([row.difficulty - 1 for row in rows], dtype=np.int64)
    statistics = np.array(
        [(row.attempts, row.correct, row.timed, row.sum_log_seconds) for row in rows], dtype=np.float64
    ).reshape(-1, 4)
    by_level = np.zeros((len(position), N_LEVELS, 4))
    np.add.at(by_level, (at[kept], levels[kept]), statistics[kept])
    decayed = decayed_rows(state, model)
    same = np.zeros((len(position), *decayed.shape[1:]))
    np.add.at(same, at[kept], decayed[kept])
    topic = np.array([position[name] for name, _ in wanted])
    first = summarise_state(state, wanted[0][0], wanted[0][1], now, model)
    repeated = {field.name: np.repeat(getattr(first, field.name), len(wanted), axis=0) for field in fields(first)}
    return replace(
        Summaries(**repeated),
        topic=np.array([model.code(name) for name, _ in wanted]),
        level=np.array([difficulty - 1 for _, difficulty in wanted]),
        attempts=by_level[topic, :, 0],
        correct=by_level[topic, :, 1],
        timed=by_level[topic, :, 2],
        log_seconds=by_level[topic, :, 3],
        same=same[topic],
        hours_topic=_hours_since(rows, list(position), now)[topic],
    )


def _hours_since(rows: Sequence[StateRow], topics: Sequence[str], now: datetime) -> FloatArray:
    """Hours since the last answer on each topic, NaN where there is none or its time is not known."""
    last: dict[str, StateRow] = {}
    for row in rows:
        if row.topic not in last or row.last_index > last[row.topic].last_index:
            last[row.topic] = row
    moments = [last[topic].last_at if topic in last else None for topic in topics]
    return np.array([np.nan if at is None else max((now - at).total_seconds(), 0.0) / 3600.0 for at in moments])


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
    dense = standardise(dense_columns(past, model, success, time), vocabulary.mean, vocabulary.scale)
    user = np.full(len(wanted), vocabulary.user_row(state.user_id))
    topic = np.array([vocabulary.topic_row(name) for name, _ in wanted])
    columns = np.array([vocabulary.pooled_column(row.topic) for row in state.rows], dtype=np.int64)
    own = np.array([vocabulary.pooled_column(name) for name, _ in wanted])
    log_seconds = np.zeros(len(wanted))
    try:
        pooled = _pooled(state, columns, own, vocabulary.correctness_pooled, model)
        inputs = network_inputs(success.logit, user, topic, past.level, dense, pooled)
        logit = networks.correctness(inputs)[:, 0].astype(np.float64)
        if time is not None:
            pooled = _pooled(state, columns, own, vocabulary.time_pooled, model)
            inputs = network_inputs(time.log_seconds, user, topic, past.level, dense, pooled)
            log_seconds = networks.time(inputs)[:, 0].astype(np.float64)
    except (ModelError, ArithmeticError, ValueError, IndexError) as error:
        _LOG.warning("Embedding model prediction failed, falling back to LNIRT: %s", error)
        return np.full(len(wanted), np.nan), log_seconds
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
