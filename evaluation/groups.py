"""Measures of the bias of predictions within groups of answers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import FloatArray
from chalicelib.prediction.chain import MAX_PROBABILITY, MIN_PROBABILITY
from training_job.history.answers import Rows
from training_job.history.scan import group_starts
from training_job.scores import log_losses

Codes = npt.NDArray[np.integer]

N_PARTS = 10
N_FIFTHS = 5
RECALIBRATION_ANSWERS = 40.0
"""Number of answers at which the shift of a topic is half of its difference. One answer adds about 1/4 to the
information, so this is a prior with a standard deviation of .3 logits. It was chosen before any result was seen."""


def bias(correct: Rows, chances: FloatArray, rows: Rows) -> float | None:
    """Return mean predicted chance less the share of correct answers of the ``rows``, None without any. All (N,)."""
    return float((chances[rows] - correct[rows]).mean()) if rows.any() else None


def worst_bias_by_activity(correct: Rows, chances: FloatArray, user: Codes) -> float:
    """Return the bias that is furthest from 0, among tenths of the students, sorted by their number of answers."""
    number, answers = np.unique(user, return_inverse=True, return_counts=True)[1:]
    tenth = np.empty(len(answers), dtype=np.int64)
    tenth[np.argsort(answers, kind="stable")] = np.arange(len(answers)) * N_PARTS // len(answers)
    tenth = tenth[number.ravel()]
    found = [value for part in range(N_PARTS) if (value := bias(correct, chances, tenth == part)) is not None]
    return max(found, key=abs)


def topic_bias(correct: Rows, chances: FloatArray, topic: Codes) -> float:
    """Return the root mean square bias of topics beyond what chance explains, weighted by their answers. All (N,)."""
    answers = np.bincount(topic)
    sums = np.bincount(topic, weights=chances - correct)
    by_chance = np.bincount(topic, weights=chances * (1.0 - chances))
    known = answers > 0
    excess = float(((sums**2 - by_chance)[known] / answers[known]).sum()) / len(topic)
    return float(np.sqrt(max(excess, 0.0)))


def recalibration_gain(correct: Rows, chances: FloatArray, topic: Codes, user: Codes) -> float:
    """Return the mean log-loss that shifting each topic's logits would save. All (N,).

    It is negative if shifting costs. Students are split in two halves, and the shift for one half is a shrunken Newton
    step from the answers of the other. So the figure is about the gain of recalibrating topics between trainings, with
    half as many new answers as are scored here.
    """
    second = np.unique(user, return_inverse=True)[1].ravel() % 2 == 1
    logit = np.log(chances / (1.0 - chances))
    n_topics = int(topic.max()) + 1
    shifted = chances.copy()
    for half in (second, ~second):
        residual = np.bincount(topic[half], weights=(correct - chances)[half], minlength=n_topics)
        information = np.bincount(topic[half], weights=(chances * (1.0 - chances))[half], minlength=n_topics)
        shift = residual / (information + RECALIBRATION_ANSWERS / 4.0)
        shifted[~half] = 1.0 / (1.0 + np.exp(-(logit + shift[topic])[~half]))
    shifted = np.clip(shifted, MIN_PROBABILITY, MAX_PROBABILITY)
    return float((log_losses(correct, chances) - log_losses(correct, shifted)).mean())


def coverage_by_fifth(inside: FloatArray, log_seconds: FloatArray) -> tuple[float, float] | None:
    """Return the smallest and the largest share of times in their interval, among fifths of the predicted times.

    ``inside`` (N,) is 1, 0, or NaN where there is no time or no interval. None with fewer than five times.
    """
    known = np.flatnonzero(~np.isnan(inside))
    if len(known) < N_FIFTHS:
        return None
    parts = np.array_split(known[np.argsort(log_seconds[known], kind="stable")], N_FIFTHS)
    shares = [float(inside[part].mean()) for part in parts]
    return min(shares), max(shares)


def held_to_outcomes(correct: Rows, chances: FloatArray, *keys: Codes) -> FloatArray:
    """Return the chances (N,), raised or lowered so that they follow the previous outcome.

    After a correct answer, the next chance with the same ``keys`` is at least the previous adjusted one; after an
    incorrect answer, at most. ``keys`` (N,) identify a student's task. Rows are in the order of time.
    """
    order = np.lexsort((np.arange(len(chances)), *keys))
    starts = group_starts(*(key[order] for key in keys))
    place = np.arange(len(order)) - starts
    held, outcome = chances[order], correct[order]
    for number in range(1, int(place.max(initial=0)) + 1):
        rows = np.flatnonzero(place == number)
        bound = held[rows - 1]
        held[rows] = np.where(outcome[rows - 1], np.maximum(held[rows], bound), np.minimum(held[rows], bound))
    result = np.empty_like(held)
    result[order] = held
    return result
