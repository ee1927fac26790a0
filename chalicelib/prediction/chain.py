"""The fallback chain and the bounds of served predictions.

The networks (embedding) predict if the version knows the topic and the student has at least one answer. LNIRT predicts
if only one of the two holds: from the population's values for the topic and difficulty, or from the student's ability
and speed on an average topic. If neither holds, the default is served.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import IntArray
from chalicelib.domain.numerics import Column, functions_for
from chalicelib.domain.predictions import Source
from chalicelib.domain.tasks import MAX_SECONDS

BoolArray = npt.NDArray[np.bool_]

MIN_PROBABILITY, MAX_PROBABILITY = 0.01, 0.99
"""No practice task is more certain than that, and a wrong certainty costs trust."""

MAX_LOG_SECONDS = math.log(MAX_SECONDS)
"""Bound of predicted log seconds: a day, the longest time that a completion may claim."""


def choose(topic_known: bool, n_answers: int) -> Source:
    """Return the source of a prediction; networks that fail are replaced by LNIRT."""
    if topic_known and n_answers > 0:
        return Source.EMBEDDING
    return Source.LNIRT if topic_known or n_answers > 0 else Source.DEFAULT


def choose_each(topic_known: BoolArray, n_answers: IntArray) -> dict[Source, BoolArray]:
    """Return a mask (N,) for each source: the predictions for which :func:`choose` returns it."""
    masks = {source: np.zeros(len(topic_known), dtype=np.bool_) for source in Source}
    for known in (False, True):
        for answered in (0, 1):
            masks[choose(known, answered)] |= (topic_known == known) & ((n_answers > 0) == answered)
    return masks


def bounded_probability(logit: Column) -> Column:
    """Return the probability of a logit, limited to the bounds."""
    f = functions_for(logit)
    return f.bounded(f.logistic(logit), MIN_PROBABILITY, MAX_PROBABILITY)


def bounded_seconds(log_seconds: float) -> float:
    """Return the seconds of log seconds, limited to 1..86,400, the range that a completion may claim."""
    return math.exp(min(max(log_seconds, 0.0), MAX_LOG_SECONDS))


def whole_seconds(log_seconds: float) -> int:
    """Return the whole seconds of log seconds, limited to 1..86,400."""
    return round(bounded_seconds(log_seconds))
