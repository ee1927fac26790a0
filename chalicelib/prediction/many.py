"""Predictions of one student on many topics and difficulties at once: the serving arithmetic, with the state read once.

A test holds it equal to :func:`chalicelib.prediction.predictor.predict`, one by one.
"""

from __future__ import annotations

import logging
from datetime import datetime

import numpy as np

from chalicelib.domain.errors import ModelError
from chalicelib.domain.lnirt import FloatArray, SuccessPrior, TimePrior
from chalicelib.domain.predictions import DEFAULT_PREDICTION, Prediction, Source
from chalicelib.features.inputs import success_priors, time_priors
from chalicelib.features.state import UserState
from chalicelib.features.summary import Requested, StateView, Summary
from chalicelib.prediction.predictor import Predictor

_LOG = logging.getLogger("studysmart.prediction")


def predict_many(predictor: Predictor | None, state: UserState, wanted: Requested, now: datetime) -> list[Prediction]:
    """What :func:`chalicelib.prediction.predictor.predict` gives for each of ``wanted``, in that order."""
    if predictor is None or not wanted:
        return [DEFAULT_PREDICTION] * len(wanted)
    seen = StateView(state, predictor.constants)
    past = seen.summaries(wanted, now)
    success, time = success_priors(past, predictor.lnirt), time_priors(past, predictor.lnirt)
    topic_known, student_known = np.not_equal(past.topic_row, predictor.lnirt.average_row), state.n_answers > 0
    logit, embedded = success.logit, np.zeros_like(topic_known)
    log_seconds = None if time is None else time.log_seconds
    if student_known and topic_known.any():
        asked = _ask_networks(predictor, seen, past, success, time)
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
    seen: StateView,
    past: Summary,
    success: SuccessPrior,
    time: TimePrior | None,
) -> tuple[FloatArray, FloatArray]:
    """Logits and log seconds of the networks, (N,) each; not finite where they failed, log seconds 0 without times."""
    n = np.size(past.topic_row)
    try:
        logit, log_seconds = predictor.ask_networks(seen, past, success, time)
    except (ModelError, ArithmeticError, ValueError, IndexError) as error:
        _LOG.warning("Embedding model prediction failed, falling back to LNIRT: %s", error)
        return np.full(n, np.nan), np.zeros(n)
    failed = int((~(np.isfinite(logit) & np.isfinite(log_seconds))).sum())
    if failed:
        _LOG.warning("Embedding model prediction failed, falling back to LNIRT: %d of %d not finite", failed, n)
    return logit, log_seconds
