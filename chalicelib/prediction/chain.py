"""The fallback chain and the bounds of what is served: embedding, then LNIRT, then the default.

The networks answer where the version knows the topic and the student has an answer. LNIRT answers where only one of
the two holds: with the population's value for the topic and difficulty, or with the student's own ability and speed on
an average topic. Where neither holds, the default answers.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import FloatArray, IntArray, sigmoid
from chalicelib.domain.numerics import OF_FLOATS
from chalicelib.domain.predictions import Source
from chalicelib.domain.tasks import MAX_SECONDS

BoolArray = npt.NDArray[np.bool_]

MIN_PROBABILITY, MAX_PROBABILITY = 0.01, 0.99
"""No practice task is more certain than that, and a wrong certainty costs trust."""

_MAX_LOG_SECONDS = math.log(MAX_SECONDS)


def choose(topic_known: bool, n_answers: int) -> Source:
    """Return the source that predicts; the networks give way to LNIRT only when they fail."""
    if not topic_known and not n_answers:
        return Source.DEFAULT
    return Source.EMBEDDING if topic_known and n_answers else Source.LNIRT


def choose_each(topic_known: BoolArray, n_answers: IntArray) -> dict[Source, BoolArray]:
    """Return, for each source, which of N predictions it makes. All arrays are (N,)."""
    masks = {source: np.zeros(len(topic_known), dtype=np.bool_) for source in Source}
    for known in (False, True):
        for answered in (False, True):
            masks[choose(known, int(answered))] |= (topic_known == known) & ((n_answers > 0) == answered)
    return masks


def bounded_probability(logit: float) -> float:
    """Return the probability of a logit, within the bounds."""
    return float(OF_FLOATS.bounded(OF_FLOATS.logistic(logit), MIN_PROBABILITY, MAX_PROBABILITY))


def bounded_probabilities(logits: FloatArray) -> FloatArray:
    """Return the probabilities of logits (N,), within the bounds."""
    return np.clip(sigmoid(logits), MIN_PROBABILITY, MAX_PROBABILITY)


def bounded_seconds(log_seconds: float) -> float:
    """Return seconds within 1 to 86,400, not rounded: the range that a completion may claim."""
    return math.exp(OF_FLOATS.bounded(log_seconds, 0.0, _MAX_LOG_SECONDS))


def whole_seconds(log_seconds: float) -> int:
    """Return whole seconds within 1 to 86,400."""
    return round(bounded_seconds(log_seconds))
