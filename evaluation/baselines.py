"""Simple predictors that a model has to beat: means of topics, running means, and FSRS."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from fsrs import Card, Rating, Scheduler

from chalicelib.domain.lnirt import FloatArray, IntArray
from training_job.history.answers import AnswerTable, Rows
from training_job.history.scan import group_bounds

PSEUDO_ANSWERS = 5.0
"""Imagined answers at the mean that are added to each item and each student. It was not fitted."""


def shrunken_means(groups: IntArray, correct: FloatArray, prior: FloatArray, size: float) -> FloatArray:
    """Return the share of correct answers of each group (G,), from groups and outcomes of answers (N,).

    ``size`` imagined answers at ``prior`` (G,) are added to each group.
    """
    attempts = np.bincount(groups, minlength=len(prior))
    means: FloatArray = (np.bincount(groups, weights=correct, minlength=len(prior)) + size * prior) / (attempts + size)
    return means


def topic_means(table: AnswerTable, known: Rows) -> FloatArray:
    """Return the share of correct answers per topic over the ``known`` rows. Shape (T,).

    Two imagined answers at the overall share are added to each topic.
    """
    correct = table.is_correct.astype(np.float64)
    return _topic_means(table, known, correct, float(np.clip(correct[known].mean(), 0.01, 0.99)))


def _topic_means(table: AnswerTable, known: Rows, value: FloatArray, overall: float) -> FloatArray:
    prior = np.full(len(table.topics), overall)
    return shrunken_means(table.topic[known].astype(np.int64), value[known], prior, 2.0)


def running_means(table: AnswerTable, item: IntArray, known: Rows) -> FloatArray:
    """Predict all answers (N,) by the item's mean and the student's record so far. Items (N,) are codes.

    The mean of an item comes from the ``known`` rows and is shrunk towards that of its topic. The student's record is
    the mean of outcome minus item's mean over the earlier answers, and is shrunk towards 0.
    """
    counted = np.ones(len(table), dtype=np.bool_)
    of_topic = topic_means(table, known)
    running = _running_means(table, item, known, table.is_correct.astype(np.float64), counted, of_topic)
    chances: FloatArray = np.clip(running, 0.01, 0.99)
    return chances


def running_log_seconds(table: AnswerTable, item: IntArray, known: Rows) -> FloatArray:
    """Predict the log seconds of all answers (N,) as :func:`running_means` predicts success, from the timed answers.

    Raises ValueError if no ``known`` row has a time.
    """
    timed, logs = table.timed, table.log_seconds
    if not (known & timed).any():
        raise ValueError("no known answer has a time")
    of_topic = _topic_means(table, known & timed, logs, float(logs[known & timed].mean()))
    return _running_means(table, item, known, logs, timed, of_topic)


def _running_means(
    table: AnswerTable, item: IntArray, known: Rows, value: FloatArray, counted: Rows, of_topic: FloatArray
) -> FloatArray:
    """Return item's mean plus student's record of a value (N,), from the ``counted`` (N,) answers only."""
    prior = np.zeros(int(item.max()) + 1)
    prior[item] = of_topic[table.topic]
    learnt = known & counted
    expected = shrunken_means(item[learnt], value[learnt], prior, PSEUDO_ANSWERS)[item]
    first = group_bounds(table.user)[:-1]
    begun = np.repeat(first, np.diff(np.append(first, len(table))))
    sums, answers = (np.cumsum(np.append(0.0, part))[:-1] for part in (counted * (value - expected), counted))
    running: FloatArray = expected + (sums - sums[begun]) / (answers - answers[begun] + PSEUDO_ANSWERS)
    return running


def fsrs_chances(table: AnswerTable, item: IntArray, otherwise: FloatArray) -> FloatArray:
    """Predict all answers (N,) by FSRS with its default parameters, each item (N,) of a student a card.

    A correct answer is rated "good", an incorrect one "again". First answers on a card, which FSRS does not predict,
    take the chance ``otherwise`` (N,).
    """
    scheduler = Scheduler(enable_fuzzing=False, learning_steps=(), relearning_steps=())
    chances = otherwise.copy()
    for rows in _of_cards(table, item):
        card = Card()
        for row in rows.tolist():
            at = datetime.fromtimestamp(float(table.at[row]), UTC)
            if card.last_review is not None:
                chances[row] = np.clip(scheduler.get_card_retrievability(card, at), 0.01, 0.99)
            card, _ = scheduler.review_card(card, Rating.Good if table.is_correct[row] else Rating.Again, at)
    return chances


def _of_cards(table: AnswerTable, item: IntArray) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the rows of each student's answers to one item, oldest first."""
    order = np.lexsort((np.arange(len(table)), item, table.user))
    pair = table.user[order].astype(np.int64) * (int(item.max()) + 1) + item[order]
    bounds = group_bounds(pair)
    for begin, end in pairwise(bounds):
        yield order[begin:end]
