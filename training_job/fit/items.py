"""Fits the item effects: what LNIRT leaves unexplained in the answers on an item, shrunk towards 0.

Only the first answer of each student on an item counts. Later answers depend on the student's earlier attempts, and no
account must move an item by answering it again and again. The effects are relative to the mean first answer, because
LNIRT's easiness is that of all answers.
"""

from __future__ import annotations

import numpy as np

from chalicelib.domain.lnirt import (
    N_LEVELS,
    FloatArray,
    IntArray,
    LnirtParameters,
    ability_from,
    grid_log_likelihoods,
    sigmoid,
)
from chalicelib.features.item_effects import NO_ITEM, ItemTable, no_items
from training_job.fit.sums import Matrices, sums_of
from training_job.history.answers import AnswerTable

MAX_ITEMS = 50_000
"""Maximum number of items with effects of their own: those that most students answered."""

MIN_STUDENTS = 2
"""Number of students below which an item has no effect of its own."""

VARIANCE, PSEUDO_ITEMS = 0.5, 10.0
"""Prior variance of the effects in squared logits, and the number of items for which it counts."""

TIME_VARIANCE = 0.05
"""Prior variance of the effects in squared log seconds."""

NEWTON_STEPS, VARIANCE_ROUNDS = 4, 6


def fit_items(table: AnswerTable, lnirt: LnirtParameters) -> ItemTable:
    """Return the item effects of a history. Its LNIRT is fitted already, and stays as it is."""
    first = _first_answers(table)
    keys, item, students = np.unique(table.item[first], return_inverse=True, return_counts=True)
    if not len(keys):
        return no_items()
    kept = students >= MIN_STUDENTS
    if kept.sum() > MAX_ITEMS:
        kept[np.argsort(-students, kind="stable")[MAX_ITEMS:]] = False
    item = item.ravel()
    part = table.select(first)
    ability, speed = _students(table, lnirt)
    topic, level = part.topic_rows(lnirt), part.level
    logit = lnirt.discrimination[topic] * ability[part.user] + lnirt.easiness[topic, level]
    correct = part.is_correct.astype(np.float64)
    success = _success_effects(logit + _shift(logit, correct), correct, item, len(keys))
    time = np.zeros(len(keys))
    if lnirt.time is not None and part.timed.any():
        residual = part.log_seconds - lnirt.time.intensity[topic, level] + speed[part.user]
        weight = part.timed / lnirt.time.residual_variance[topic]
        time = _time_effects(residual - np.average(residual, weights=weight), weight, item, len(keys))
    # Rounded to the precision in which they are published.
    effects = (values[kept].astype(np.float16).astype(np.float64) for values in (success, time))
    return ItemTable(keys[kept], *effects)


def _first_answers(table: AnswerTable) -> IntArray:
    """Return the rows of each student's first answer on each known item, in the table's order."""
    rows = np.flatnonzero(table.item != NO_ITEM)
    order = rows[np.lexsort((rows, table.item[rows], table.user[rows]))]
    new = np.diff(table.user[order], prepend=-1) != 0
    new[1:] |= np.diff(table.item[order]) != 0
    return np.sort(order[new])


def _students(table: AnswerTable, lnirt: LnirtParameters) -> tuple[FloatArray, FloatArray]:
    """Return the abilities and speeds of all students from all of their answers. (U,) each."""
    ability, speed = np.zeros((2, len(table.user_ids)))
    rows = lnirt.topic_rows(table.topics)
    ability[np.unique(table.user)] = np.concatenate(
        [_abilities(c.matrices(), lnirt, rows) for c in sums_of(table).chunks()]
    )
    if lnirt.time is not None:
        topic, level = table.topic_rows(lnirt), table.level
        precision = table.timed / lnirt.time.residual_variance[topic]
        beyond = precision * (lnirt.time.intensity[topic, level] - table.log_seconds)
        n_users = len(table.user_ids)
        precisions, sums = (np.bincount(table.user, weights=part, minlength=n_users) for part in (precision, beyond))
        speed = sums / (precisions + 1.0 / lnirt.time.speed_variance)
    return ability, speed


def _abilities(students: Matrices, lnirt: LnirtParameters, rows: IntArray) -> FloatArray:
    """Return the abilities of some students, given the LNIRT's ``rows`` (T,) of the table's topics."""
    topic, level = np.divmod(students.cells, N_LEVELS)
    outcomes = grid_log_likelihoods(lnirt.discrimination[rows[topic]], lnirt.easiness[rows[topic], level])
    return ability_from(students.log_likelihoods(*outcomes))[0]


def _shift(logit: FloatArray, correct: FloatArray) -> float:
    """Return how much harder first answers on items are than all answers, in logits (negative), by Newton's method.

    Items that students answer again and again get easier. Without the shift, all effects would be too low for them.
    """
    shift = 0.0
    for _ in range(NEWTON_STEPS):
        p = sigmoid(logit + shift)
        shift += float(np.clip((correct - p).sum() / ((p * (1.0 - p)).sum() + 1.0 / VARIANCE), -1.0, 1.0))
    return shift


def _success_effects(logit: FloatArray, correct: FloatArray, item: IntArray, n_items: int) -> FloatArray:
    """Return the effects (I,) in logits, with the variance that the items themselves show."""
    effect, variance = np.zeros(n_items), VARIANCE
    for _ in range(VARIANCE_ROUNDS):
        for _ in range(NEWTON_STEPS):
            p = sigmoid(logit + effect[item])
            information = np.bincount(item, weights=p * (1.0 - p), minlength=n_items) + 1.0 / variance
            score = np.bincount(item, weights=correct - p, minlength=n_items) - effect / variance
            effect = effect + np.clip(score / information, -1.0, 1.0)
        variance = _variance(effect, 1.0 / information, VARIANCE)
    return effect


def _time_effects(residual: FloatArray, weight: FloatArray, item: IntArray, n_items: int) -> FloatArray:
    """Return the effects (I,) in log seconds, from residuals of precision ``weight`` (n,)."""
    variance = TIME_VARIANCE
    precision = np.bincount(item, weights=weight, minlength=n_items)
    total = np.bincount(item, weights=weight * residual, minlength=n_items)
    for _ in range(VARIANCE_ROUNDS):
        effect: FloatArray = total / (precision + 1.0 / variance)
        variance = _variance(effect, 1.0 / (precision + 1.0 / variance), TIME_VARIANCE)
    return effect


def _variance(effect: FloatArray, uncertainty: FloatArray, prior: float) -> float:
    """Return the variance of the effects in the population of items: one step of EM with a prior."""
    return float((effect**2 + uncertainty).sum() + PSEUDO_ITEMS * prior) / (len(effect) + PSEUDO_ITEMS)
