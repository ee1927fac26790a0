"""The networks' inputs, computed from summaries: every non-linear transform lives here, shared by training and serving.

The graphs in the archives then need standard layers only.
"""

from __future__ import annotations

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
from chalicelib.features.practice_state import DECAY_ANSWERS
from chalicelib.features.summaries import Summaries

Float32Array = npt.NDArray[np.float32]

FEATURE_SCHEMA = 1
"""Raised whenever the columns or their meaning change: a model of another schema is refused."""

N_OUTCOMES = 2 + 4 * len(DECAY_ANSWERS)
"""The last of the dense columns: those in which the correctness model may only rise."""

MAX_STANDARDISED = 5.0
"""Standardised columns are clipped to this, so that nothing far outside of training can blow up a prediction."""


def success_priors(past: Summaries, model: LnirtParameters) -> SuccessPrior:
    """LNIRT's prediction of correctness for each summary."""
    return success_prior(model, past.topic, past.level, past.ability, past.ability_sd, past.attempts, past.correct)


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


def dense_columns(
    past: Summaries, model: LnirtParameters, success: SuccessPrior, time: TimePrior | None
) -> Float32Array:
    """The dense part of the inputs before standardisation: context, then outcomes. Shape (N, D)."""
    return np.concatenate([_context(past, model, time), _outcomes(past, success)], axis=1).astype(np.float32)


def _context(past: Summaries, model: LnirtParameters, time: TimePrior | None) -> FloatArray:
    """Columns that do not change when the latest answer, on the same topic, turns from wrong to right.

    The topic's parameters, speed, amounts of practice, successes and failures and form on the *other* topics, how
    earlier outcomes are spread in time, pace against intensity, and time since last practice.
    """
    others = np.maximum(past.overall - past.same, 0.0)
    columns = [
        _topic_columns(past, model),
        _time_columns(past, time),
        _amounts(past),
        np.log1p(past.same[:, 0] + past.same[:, 1]),
        np.log1p(others[:, :2]).reshape(len(past.topic), -1),
        _form(others),
        _before_latest(past.same),
        _before_latest(past.overall),
        _pace(past.same),
        _pace(past.overall),
        _since(past.hours_topic),
        _since(past.hours_any),
    ]
    return np.concatenate(columns, axis=1)


def _outcomes(past: Summaries, success: SuccessPrior) -> FloatArray:
    """Columns that only grow when the latest answer, on the same topic, turns right. Shape (N, N_OUTCOMES)."""
    same, overall = np.log1p(past.same[:, :2]), np.log1p(past.overall[:, :2])
    columns = [np.stack([success.logit, past.ability], axis=1), same[:, 0], -same[:, 1], overall[:, 0], -overall[:, 1]]
    return np.concatenate(columns, axis=1)


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
    return np.log1p(np.stack([attempts, past.attempts.sum(axis=1), past.n_answers], axis=1))


def _before_latest(decayed: FloatArray) -> FloatArray:
    """Differences between neighbouring decays that the latest answer's outcome does not touch. Shape (N, 2 (K - 1)).

    An answer just given adds the same 1 to a sum of every decay, one answer old by now; lifted back by that one
    answer, the sums' differences tell how older successes and failures are spread in time, whatever came last. So
    the network may use them freely, without a success ever counting against its student.
    """
    lifted = decayed[:, :2] * np.exp(1.0 / DECAY_ANSWERS)
    return np.log1p(np.maximum(np.diff(lifted, axis=2), 0.0)).reshape(len(decayed), -1)


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
