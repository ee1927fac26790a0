"""The dense columns of the networks' inputs, computed from summaries, and LNIRT's predictions.

Training and serving share this module. Every non-linear transformation of the state is done here, so the graphs in the
archives need standard layers only.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import (
    MAX_ABS_LOGIT,
    N_LEVELS,
    LnirtParameters,
    SuccessPrior,
    TimePrior,
    success_prior,
    time_prior,
)
from chalicelib.domain.numerics import Column, Functions, columns_of, functions_for, side_by_side, table_columns
from chalicelib.features.sequences import ATTEMPTS, FIRST_TOPIC, RECORD
from chalicelib.features.state import DECAY_ANSWERS
from chalicelib.features.summary import Summary

Float32Array = npt.NDArray[np.float32]
Sums = list[list[Column]]
"""Decayed sums in the order of a summary (:data:`chalicelib.features.summary.N_DECAYED`): K columns for each sum."""

FEATURE_SCHEMA = 5
"""Raised whenever the columns or their meaning change."""

CLOCK_SCHEMA = 5
"""The first schema whose elapsed times are monotone columns. Older ones have them among the dense columns."""

READABLE_SCHEMAS = (3, 4, FEATURE_SCHEMA)
"""Schemas of versions that are served; others are refused. Schema 3 lacks the columns about the item."""

N_ITEM_COLUMNS = 11
"""Dense columns about the item, the last ones."""

CLOCK_FIELDS = ("hours_since_topic", "hours_since_any", "hours_since_item")
"""The fields of a summary that depend on the clock. All other fields are the same however long a student waits."""

CLOCK_HOURS = (1 / 60, 0.1, 1.0, 24.0, 168.0, 720.0)
"""Time constants of the monotone columns: a minute, six minutes, an hour, a day, a week, a month."""

N_MONOTONE = 1 + len(CLOCK_FIELDS) * len(CLOCK_HOURS)
"""Number of monotone columns."""

MIN_SHARE = 0.02
"""Predicted success is kept this far from 0 and 1 before its logit is taken."""

MAX_STANDARDISED = 5.0
"""Bound of standardised columns, so that a value far outside of the training data cannot dominate a prediction."""


def success_priors(past: Summary, lnirt: LnirtParameters) -> SuccessPrior:
    """Return LNIRT's prediction of correctness for each summary.

    For a student without any answer it is the success of students who began with the target topic, if that is known,
    because first answers are worse than LNIRT expects from the same students' ability. A topic with few beginners has
    that of first answers on other topics.
    """
    prior = success_prior(lnirt, past.topic_row, past.level, past.ability, past.ability_sd, past.attempts, past.correct)
    f, beginners = functions_for(past.topic_row), columns_of(past.sequences)[FIRST_TOPIC]
    is_first, logit = (past.n_answers == 0) & (beginners != 0.0), prior.logit
    if lnirt.forgetting is not None:
        logit = logit + lnirt.forgetting.effect(past.topic_row, past.hours_since_topic, past.hours_since_any)
    if f.any_true(is_first):
        _, expected, *_ = table_columns(lnirt.by_cell, past.topic_row * N_LEVELS + past.level)
        logit = f.where(is_first, _logit(expected + beginners, f), logit)
    return SuccessPrior(f.bounded(logit + past.item_success, -MAX_ABS_LOGIT, MAX_ABS_LOGIT), prior.offset)


def time_priors(past: Summary, lnirt: LnirtParameters) -> TimePrior | None:
    """Return LNIRT's prediction of the time for each summary; None for a model without times."""
    if lnirt.time is None:
        return None
    prior = time_prior(
        lnirt.time,
        past.topic_row,
        past.level,
        past.speed_precision,
        past.speed_weighted,
        past.attempts,
        past.timed,
        past.log_seconds,
    )
    return msgspec.structs.replace(prior, log_seconds=prior.log_seconds + past.item_log_seconds)


def dense_columns(
    past: Summary, lnirt: LnirtParameters, time: TimePrior | None, schema: int = FEATURE_SCHEMA
) -> Float32Array:
    """Return the dense part of the inputs before standardisation. Shape (N, D).

    All columns count the student's last answer on the target topic as incorrect, so they are the same after a success
    and after a failure. The real outcome of that answer is a separate input, and the network can only raise a
    prediction of correctness for a success. So a success never lowers a prediction, however the network uses the
    columns. For the same reason they do not depend on the clock, except in the older schemas.
    """
    f, cell = functions_for(past.topic_row), past.topic_row * N_LEVELS + past.level
    easiness, expected, discrimination, _, rate, *_ = table_columns(lnirt.by_cell, cell)
    intensity, _, noise, *_ = (0.0, 0.0, 0.0) if lnirt.time is None else table_columns(lnirt.time.by_cell, cell)
    gap = past.answers_since_topic
    # The weight of the last answer on the topic in a sum of each decay constant, 0 if that answer was incorrect.
    last_success = [(past.last_outcome > 0) * f.exp(gap / -answers) for answers in DECAY_ANSWERS.tolist()]
    on_topic, overall = columns_of(past.topic_decayed), columns_of(past.overall_decayed)
    on_others = [
        [f.maximum(whole - own, 0.0) for own, whole in zip(*sums, strict=True)]
        for sums in zip(on_topic[:3], overall[:3], strict=True)
    ]
    scopes = (_if_incorrect(on_topic, last_success, f), _if_incorrect(overall, last_success, f), on_others)
    columns = [
        discrimination,
        easiness,
        rate,
        intensity,
        noise,
        *_time_columns(time),
        *_amounts(past, f),
        *_predicted_success(past, expected, f),
        0.0 if time is None else intensity + past.trait_log_seconds - time.log_seconds,
        *(f.log1p(column) for sums in scopes for outcome in sums[:2] for column in outcome),
        *(column for sums in scopes for column in _form(sums, f)),
        *_pace(on_topic),
        *_pace(overall),
        *_since(past.hours_since_topic, schema, f),
        *_since(past.hours_since_any, schema, f),
        f.log1p(gap),
        gap == 0.0,
        gap == 1.0,
        *columns_of(past.sequences)[:ATTEMPTS],
        *_of_item(past, schema, f),
    ]
    return side_by_side(columns, past.topic_row)


def monotone_columns(past: Summary, schema: int = FEATURE_SCHEMA) -> Float32Array:
    """Return the inputs that a prediction of correctness may only rise with. Shape (N, N_MONOTONE).

    They are the outcome of the last answer on the topic, and how fresh the last answer on the topic, on any topic and
    on the item is: exp(-hours / constant), 0 if the hours are unknown. The network multiplies each by a slope that is
    never negative and does not depend on the clock. So waiting never raises a prediction.
    """
    columns = [past.last_outcome]
    if schema >= CLOCK_SCHEMA:
        f = functions_for(past.topic_row)
        columns += [f.exp(-hours / time) for hours in _elapsed(past, f) for time in CLOCK_HOURS]
    return side_by_side(columns, past.topic_row)


def _elapsed(past: Summary, f: Functions) -> list[Column]:
    """Return the hours of :data:`CLOCK_FIELDS`, infinite where they are unknown."""
    fields = [getattr(past, name) for name in CLOCK_FIELDS]
    return [f.where(hours == hours, hours, math.inf) for hours in fields]


def standardise(dense: Float32Array, mean: Float32Array, scale: Float32Array) -> Float32Array:
    """Return columns (N, D) in units of their spread in training, bounded. ``mean`` and ``scale`` are (D,)."""
    # A version of an older schema lacks the newest columns, which are the last ones.
    columns = (dense[:, : len(mean)] - mean) / scale
    np.minimum(np.maximum(columns, -MAX_STANDARDISED, out=columns), MAX_STANDARDISED, out=columns)
    return columns.astype(np.float32, copy=False)


def _if_incorrect(decayed: Sums, last_success: list[Column], f: Functions) -> Sums:
    """Return correct, incorrect and expected sums as if the last answer on the topic had been incorrect.

    A last answer that was correct moves from the correct to the incorrect sums. :func:`dense_columns` says why.
    """
    correct, incorrect, expected, *_ = decayed
    return [
        [f.maximum(sums - weight, 0.0) for sums, weight in zip(correct, last_success, strict=True)],
        [sums + weight for sums, weight in zip(incorrect, last_success, strict=True)],
        expected,
    ]


def _predicted_success(past: Summary, expected: Column, f: Functions) -> list[Column]:
    """Return 4 columns: the ability, and the logits predicted by traits, by equal attempts and by equal records."""
    sequences = columns_of(past.sequences)
    beyond_expected = (past.trait_success, sequences[ATTEMPTS], sequences[RECORD])
    return [past.ability_if_incorrect, *(_logit(expected + beyond, f) for beyond in beyond_expected)]


def _logit(share: Column, f: Functions) -> Column:
    """Return the logit of a share, which is kept away from 0 and 1."""
    bounded = f.bounded(share, MIN_SHARE, 1.0 - MIN_SHARE)
    return f.log(bounded / (1.0 - bounded))


def _time_columns(time: TimePrior | None) -> list[Column]:
    if time is None:
        return [0.0, 0.0, 0.0]
    return [time.speed, time.speed_sd, time.offset]


def _amounts(past: Summary, f: Functions) -> list[Column]:
    """Return log(1 + count) of: answers on the cell, on the topic, in all; topics; successes, failures on the topic."""
    by_level, level = columns_of(past.attempts), past.level
    on_level = sum(n * (level == number) for number, n in enumerate(by_level))
    attempts = sum(by_level)
    correct = sum(columns_of(past.correct)) - (past.last_outcome > 0)
    amounts = [on_level, attempts, past.n_answers, past.n_topics, correct, attempts - correct]
    return [f.log1p(amount) for amount in amounts]


def _form(decayed: Sums, f: Functions) -> list[Column]:
    """Return successes beyond those expected of an average student, in units of about one standard deviation."""
    correct, incorrect, expected, *_ = decayed
    return [
        (successes - average) / f.sqrt(1.0 + successes + failures)
        for successes, failures, average in zip(correct, incorrect, expected, strict=True)
    ]


def _pace(decayed: Sums) -> list[Column]:
    """Return the mean log seconds beyond the tasks' intensities, shrunk towards 0 by a pseudo-count of one answer."""
    *_, beyond_intensity, timed = decayed
    return [beyond / (1.0 + answers) for beyond, answers in zip(beyond_intensity, timed, strict=True)]


def _of_item(past: Summary, schema: int, f: Functions) -> list[Column]:
    """Return the columns about the item: its effects and the student's record on it."""
    gap = past.answers_since_item
    clock = (past.hours_since_item, past.hours_since_topic, past.hours_since_any) if schema < CLOCK_SCHEMA else ()
    return [
        past.item_success,
        past.item_log_seconds,
        f.log1p(past.item_attempts),
        f.log1p(past.item_correct),
        f.log1p(past.item_attempts - past.item_correct),
        past.item_last_outcome,
        *(_pause(hours, f) for hours in clock),
        past.hours_since_item == past.hours_since_item,
        f.log1p(gap),
        gap == 1.0,
        # 1 if the last answer on the topic was on this item. The network can then weight its outcome differently.
        (gap > 0.0) & (gap == past.answers_since_topic),
        gap == 0.0,
    ]


def _pause(hours: Column, f: Functions) -> Column:
    """Return log(1 + seconds), 0 if unknown. Unlike log(1 + hours), it tells seconds from minutes."""
    return f.log1p(3600.0 * f.where(hours == hours, hours, 0.0))


def _since(hours: Column, schema: int, f: Functions) -> list[Column]:
    """Return a column that is 1 if the hours are known; in the older schemas after log(1 + hours), 0 if unknown."""
    known = hours == hours  # NaN is not equal to itself
    return [known] if schema >= CLOCK_SCHEMA else [f.log1p(f.where(known, hours, 0.0)), known]
