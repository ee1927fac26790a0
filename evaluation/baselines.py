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
    share = float(np.clip(table.is_correct[known].mean(), 0.01, 0.99))
    prior = np.full(len(table.topics), share)
    return shrunken_means(table.topic[known].astype(np.int64), table.is_correct[known].astype(np.float64), prior, 2.0)


def running_means(table: AnswerTable, item: IntArray, known: Rows) -> FloatArray:
    """Predict all answers (N,) by the item's mean and the student's record so far. Items (N,) are codes.

    The mean of an item comes from the ``known`` rows and is shrunk towards that of its topic. The student's record is
    the mean of outcome minus item's mean over the earlier answers, and is shrunk towards 0.
    """
    of_item = np.zeros(int(item.max()) + 1)
    of_item[item] = topic_means(table, known)[table.topic]
    correct = table.is_correct.astype(np.float64)
    expected = shrunken_means(item[known], correct[known], of_item, PSEUDO_ANSWERS)[item]
    first = group_bounds(table.user)[:-1]
    sums = np.concatenate([[0.0], np.cumsum(correct - expected)])[:-1]
    begun = np.repeat(first, np.diff(np.append(first, len(table))))
    record = (sums - sums[begun]) / (np.arange(len(table)) - begun + PSEUDO_ANSWERS)
    chances: FloatArray = np.clip(expected + record, 0.01, 0.99)
    return chances


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
