"""The networks' inputs, computed from summaries: every non-linear transform lives here, shared by training and serving.

The graphs in the archives then need standard layers only.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import (
    N_LEVELS,
    LnirtParameters,
    SuccessPrior,
    TimePrior,
    success_prior,
    time_prior,
)
from chalicelib.domain.numerics import Column, Functions, columns_of, functions_for, picked, side_by_side
from chalicelib.features.sequences import BEGINNING, RECORD, TRIES
from chalicelib.features.state import DECAY_ANSWERS
from chalicelib.features.summary import Summaries

Float32Array = npt.NDArray[np.float32]
Sums = list[list[Column]]
"""Decayed sums: a column for each statistic and decay constant."""

FEATURE_SCHEMA = 3
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
    f, beginning = functions_for(past.topic), columns_of(past.paths)[BEGINNING]
    first = (past.n_answers == 0) & (beginning != 0.0)
    if not f.some(first):
        return prior
    _, expected, *_ = picked(model.of_cells, past.topic * N_LEVELS + past.level)
    return SuccessPrior(f.where(first, _logit(expected + beginning, f), prior.logit), prior.offset)


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
    f, cell = functions_for(past.topic), past.topic * N_LEVELS + past.level
    easiness, expected, discrimination, _, rate, *_ = picked(model.of_cells, cell)
    intensity, _, noise, *_ = (0.0, 0.0, 0.0) if model.time is None else picked(model.time.of_cells, cell)
    last, gap = past.last, past.gap
    turned = [(last > 0) * f.exp(gap / -tau) for tau in DECAY_ANSWERS.tolist()]
    same, overall = columns_of(past.same), columns_of(past.overall)
    others = [
        [f.most(whole - own, 0.0) for own, whole in zip(*sums, strict=True)]
        for sums in zip(same[:3], overall[:3], strict=True)
    ]
    scopes = (_if_wrong(same, turned, f), _if_wrong(overall, turned, f), others)
    columns = [
        discrimination,
        easiness,
        rate,
        intensity,
        noise,
        *_time_columns(time),
        *_amounts(past, f),
        *_if_foretold(past, expected, f),
        0.0 if time is None else intensity + past.trait_log_seconds - time.log_seconds,
        *(f.log1p(column) for sums in scopes for outcome in sums[:2] for column in outcome),
        *(column for sums in scopes for column in _form(sums, f)),
        *_pace(same),
        *_pace(overall),
        *_since(past.hours_topic, f),
        *_since(past.hours_any, f),
        f.log1p(gap),
        gap == 0.0,
        gap == 1.0,
        *columns_of(past.paths)[:TRIES],
    ]
    return side_by_side(columns, past.topic)


def standardise(dense: Float32Array, mean: Float32Array, scale: Float32Array) -> Float32Array:
    """Columns in units of their spread in training, clipped. Shapes (N, D), (D,), (D,)."""
    columns = (dense - mean) / scale
    np.minimum(np.maximum(columns, -MAX_STANDARDISED, out=columns), MAX_STANDARDISED, out=columns)
    return columns.astype(np.float32, copy=False)


def _if_wrong(decayed: Sums, turned: list[Column], f: Functions) -> Sums:
    """Successes, failures and expected successes had the last answer on the topic been wrong."""
    successes, failures, expected = decayed[:3]
    return [
        [f.most(sums - weight, 0.0) for sums, weight in zip(successes, turned, strict=True)],
        [sums + weight for sums, weight in zip(failures, turned, strict=True)],
        expected,
    ]


def _if_foretold(past: Summaries, expected: Column, f: Functions) -> list[Column]:
    """What the student's ability, their traits, and others with the same tries foretell of success: 4 columns."""
    paths = columns_of(past.paths)
    shares = [_logit(expected + beyond, f) for beyond in (past.trait_success, paths[TRIES], paths[RECORD])]
    return [past.ability_if_wrong, *shares]


def _logit(share: Column, f: Functions) -> Column:
    """The logit of foretold success, which is kept away from 0 and 1."""
    bounded = f.bounded(share, LEAST_SHARE, 1.0 - LEAST_SHARE)
    return f.log(bounded / (1.0 - bounded))


def _time_columns(time: TimePrior | None) -> list[Column]:
    if time is None:
        return [0.0, 0.0, 0.0]
    return [time.speed, time.speed_sd, time.offset]


def _amounts(past: Summaries, f: Functions) -> list[Column]:
    by_level, level = columns_of(past.attempts), past.level
    attempts = sum(n * (level == number) for number, n in enumerate(by_level))
    tried = sum(by_level)
    right = sum(columns_of(past.correct)) - (past.last > 0)
    amounts = [attempts, tried, past.n_answers, past.n_topics, right, tried - right]
    return [f.log1p(amount) for amount in amounts]


def _form(decayed: Sums, f: Functions) -> list[Column]:
    """Successes beyond those expected of an average student, in units of about one standard deviation."""
    successes, failures, expected = decayed[:3]
    return [
        (right - average) / f.sqrt(1.0 + right + wrong)
        for right, wrong, average in zip(successes, failures, expected, strict=True)
    ]


def _pace(decayed: Sums) -> list[Column]:
    """Mean log seconds beyond the tasks' intensities, shrunk towards 0 by one answer."""
    return [beyond / (1.0 + timed) for beyond, timed in zip(decayed[3], decayed[4], strict=True)]


def _since(hours: Column, f: Functions) -> list[Column]:
    known = hours == hours  # not of NaN
    return [f.log1p(f.where(known, hours, 0.0)), known]
