"""The networks' inputs, computed from summaries: every non-linear transform lives here, shared by training and serving.

The graphs in the archives then need standard layers only.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import (
    FloatArray,
    IntArray,
    LnirtParameters,
    SuccessPrior,
    TimePrior,
    success_prior,
    time_prior,
)
from chalicelib.features.paths import BEGINNING, TRIES
from chalicelib.features.practice_state import DECAY_ANSWERS
from chalicelib.features.summaries import Summaries

Float32Array = npt.NDArray[np.float32]

FEATURE_SCHEMA = 2
"""Raised whenever the columns or their meaning change: a model of another schema is refused."""

LEAST_SHARE = 0.02
"""Foretold success is kept this far from 0 and 1."""

MAX_STANDARDISED = 5.0
"""Standardised columns are clipped to this, so that nothing far outside of training can blow up a prediction."""


def success_priors(past: Summaries, model: LnirtParameters) -> SuccessPrior:
    """LNIRT's prediction of correctness for each summary.

    For a student without any answer it is how those fared who began with the topic, where enough did: first answers
    are worse than the same students' ability lets expect.
    """
    prior = success_prior(model, past.topic, past.level, past.ability, past.ability_sd, past.attempts, past.correct)
    began = past.paths[:, BEGINNING]
    share = model.expected_success()[past.topic, past.level] + began
    return replace(prior, logit=np.where((past.n_answers == 0) & (began != 0.0), _logit(share), prior.logit))


def time_priors(past: Summaries, model: LnirtParameters) -> TimePrior | None:
    """LNIRT's prediction of the time for each summary; None for a model without times."""
    if model.time is None:
        return None
    return time_prior(
        model.time,
        past.topic,
        past.level,
        past.speed_precision,
        past.speed_weighted,
        past.attempts,
        past.timed,
        past.log_seconds,
    )


def dense_columns(past: Summaries, model: LnirtParameters, time: TimePrior | None) -> Float32Array:
    """The dense part of the inputs before standardisation. Shape (N, D).

    All of it takes the student's last answer on the asked topic for wrong. What it really was is an input of its own,
    in which a prediction of correctness can only rise. So the network may make of the columns what it likes, and yet
    no success ever counts against its student.
    """
    same, overall = _if_wrong(past.same, past), _if_wrong(past.overall, past)
    others = np.maximum(past.overall - past.same, 0.0)
    columns = [
        _topic_columns(past, model),
        _time_columns(past, time),
        _amounts(past),
        _if_foretold(past, model, time),
        np.log1p(np.concatenate([same[:, :2], overall[:, :2], others[:, :2]], axis=1)).reshape(len(past.topic), -1),
        _form(same),
        _form(overall),
        _form(others),
        _pace(past.same),
        _pace(past.overall),
        _since(past.hours_topic),
        _since(past.hours_any),
        np.stack([np.log1p(past.gap), past.gap == 0.0, past.gap == 1.0], axis=1),
        past.paths[:, :TRIES],
    ]
    return np.concatenate(columns, axis=1).astype(np.float32)


def _if_wrong(decayed: FloatArray, past: Summaries) -> FloatArray:
    """Decayed sums (N, 5, K) had the last answer on the topic been wrong."""
    weight = (past.last > 0)[:, None] * np.exp(-past.gap[:, None] / DECAY_ANSWERS)
    changed = decayed.copy()
    changed[:, 0] = np.maximum(changed[:, 0] - weight, 0.0)
    changed[:, 1] += weight
    return changed


def _if_foretold(past: Summaries, model: LnirtParameters, time: TimePrior | None) -> FloatArray:
    """What the student's ability, their traits, and others at the same try foretell. Shape (N, 4)."""
    share = model.expected_success()[past.topic, past.level][:, None]
    share = share + np.stack([past.trait_success, past.paths[:, TRIES]], axis=1)
    pace = _foretold_pace(past, model, time)
    return np.concatenate([past.ability_if_wrong[:, None], _logit(share), pace[:, None]], axis=1)


def _logit(share: FloatArray) -> FloatArray:
    """The logit of foretold success, which is kept away from 0 and 1."""
    bounded = np.clip(share, LEAST_SHARE, 1.0 - LEAST_SHARE)
    return np.asarray(np.log(bounded / (1.0 - bounded)))


def _foretold_pace(past: Summaries, model: LnirtParameters, time: TimePrior | None) -> FloatArray:
    """Log seconds that the traits foretell beyond LNIRT's. Shape (N,)."""
    if time is None or model.time is None:
        return np.zeros(len(past.topic))
    return model.time.intensity[past.topic, past.level] + past.trait_log_seconds - time.log_seconds


def standardise(dense: Float32Array, mean: Float32Array, scale: Float32Array) -> Float32Array:
    """Columns in units of their spread in training, clipped. Shapes (N, D), (D,), (D,)."""
    columns: Float32Array = np.clip((dense - mean) / scale, -MAX_STANDARDISED, MAX_STANDARDISED).astype(np.float32)
    return columns


def _topic_columns(past: Summaries, model: LnirtParameters) -> FloatArray:
    columns = [model.discrimination[past.topic], model.easiness[past.topic, past.level], model.practice[past.topic, 1]]
    if model.time is None:
        columns += [np.zeros(len(past.topic))] * 2
    else:
        columns += [model.time.intensity[past.topic, past.level], model.time.residual_variance[past.topic]]
    return np.stack(columns, axis=1)


def _time_columns(past: Summaries, time: TimePrior | None) -> FloatArray:
    if time is None:
        return np.zeros((len(past.topic), 3))
    return np.stack([time.speed, time.speed_sd, time.offset], axis=1)


def _amounts(past: Summaries) -> FloatArray:
    this_level: IntArray = past.level[:, None]
    attempts = np.take_along_axis(past.attempts, this_level, axis=1)[:, 0]
    tried = past.attempts.sum(axis=1)
    right = past.correct.sum(axis=1) - (past.last > 0)
    return np.log1p(np.stack([attempts, tried, past.n_answers, past.n_topics, right, tried - right], axis=1))


def _form(decayed: FloatArray) -> FloatArray:
    """Successes beyond those expected of an average student, in units of about one standard deviation."""
    answers = decayed[:, 0] + decayed[:, 1]
    return (decayed[:, 0] - decayed[:, 2]) / np.sqrt(1.0 + answers)


def _pace(decayed: FloatArray) -> FloatArray:
    """Mean log seconds beyond the tasks' intensities, shrunk towards 0 by one answer."""
    return decayed[:, 3] / (1.0 + decayed[:, 4])


def _since(hours: FloatArray) -> FloatArray:
    known = ~np.isnan(hours)
    return np.stack([np.log1p(np.where(known, hours, 0.0)), known], axis=1)
