"""Summaries of all answers of a history at once, each from the earlier answers of its student.

The numbers are those of :mod:`chalicelib.features.summary`, which makes them from a stored practice state.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import N_LEVELS, FloatArray, IntArray, ability_from, grid_log_likelihoods
from chalicelib.features.constants import VersionConstants
from chalicelib.features.item_effects import NO_ITEM
from chalicelib.features.items import ANSWERS_COUNTED
from chalicelib.features.state import DECAY_ANSWERS
from chalicelib.features.summary import Summary
from training_job.history.answers import AnswerTable
from training_job.history.scan import BoolArray, exclusive_decayed, exclusive_sums, group_chunks, group_starts
from training_job.history.sequences import keys_of_history
from training_job.history.steps import answer_steps

Number = TypeVar("Number", np.float64, np.int64)

CHUNK_ANSWERS = 25_000
"""Answers summarised at once. It bounds the memory that a long history needs."""


def user_chunks(table: AnswerTable, size: int = CHUNK_ANSWERS) -> Iterator[slice]:
    """Cut the table into slices of about ``size`` rows that keep each user's answers together."""
    return group_chunks(table.user, size)


def summarise_history(table: AnswerTable, rows: slice, constants: VersionConstants) -> Summary:
    """Return the summaries of the answers of one of :func:`user_chunks`, in arrays of n rows."""
    part = _Chunk(table.select(np.arange(rows.start, rows.stop)), constants)
    last_correct = part.last_outcome > 0
    (ability, ability_sd), ability_if_incorrect = _abilities(part, last_correct)
    precision, weighted = _speeds(part)
    by_level = part.in_topic(exclusive_sums(_level_steps(part)[part.by_topic], part.topic_starts))
    trait_success, trait_log_seconds = _traits(part, last_correct)
    steps = answer_steps(part.table, constants.lnirt)
    on_topic = exclusive_decayed(steps[part.by_topic], part.index[part.by_topic], part.topic_starts, DECAY_ANSWERS)
    return Summary(
        topic_row=part.topic_row,
        level=part.level,
        n_answers=part.index.astype(np.float64),
        attempts=by_level[:, 0],
        correct=by_level[:, 1],
        timed=by_level[:, 2],
        log_seconds=by_level[:, 3],
        ability=ability,
        ability_sd=ability_sd,
        speed_precision=precision,
        speed_weighted=weighted,
        topic_decayed=part.in_topic(on_topic),
        overall_decayed=exclusive_decayed(steps, part.index, part.user_starts, DECAY_ANSWERS),
        hours_since_topic=part.in_topic(_hours_since(part.table, part.by_topic, part.topic_starts)),
        hours_since_any=_hours_since(part.table, np.arange(len(part.table)), part.user_starts),
        last_outcome=part.last_outcome,
        ability_if_incorrect=ability_if_incorrect,
        trait_success=trait_success,
        trait_log_seconds=trait_log_seconds,
        sequences=constants.sequences.lookup(keys_of_history(part.table, part.topic_row)),
        answers_since_topic=part.in_topic(_answers_since(part.index[part.by_topic], part.topic_starts)),
        n_topics=exclusive_sums((part.previous < 0).astype(np.float64), part.user_starts),
        **_of_items(part),
    )


class _Chunk:
    """Whole histories of some users, with their grouping by user and by user and topic.

    ``by_topic`` (n,) sorts the rows by user and topic. ``topic_starts`` (n,) are the starts of the groups in that
    order. ``previous`` (n,) is the row of the student's previous answer on the topic, -1 for none, and
    ``last_outcome`` (n,) its outcome: 1 correct, -1 incorrect, 0 for none.
    """

    def __init__(self, table: AnswerTable, constants: VersionConstants) -> None:
        self.table, self.constants = table, constants
        self.topic_row, self.level = table.topic_rows(constants.lnirt), table.level
        self.correct = table.is_correct.astype(np.float64)
        self.timed, self.log_seconds = table.timed.astype(np.float64), table.counted_log_seconds
        self.user_starts = group_starts(table.user)
        self.index = np.arange(len(table)) - self.user_starts
        self.by_topic = np.lexsort((np.arange(len(table)), table.topic, table.user))
        self.topic_starts = group_starts(table.user[self.by_topic], table.topic[self.by_topic])
        earlier = np.append(-1, self.by_topic[:-1])
        earlier[self.topic_starts == np.arange(len(earlier))] = -1
        self.previous = self.in_topic(earlier)
        self.last_outcome = np.where(self.previous < 0, 0.0, 2.0 * self.correct[self.previous] - 1.0)

    def in_topic(self, values: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """Return values that are sorted by user and topic in the order of the table."""
        restored = np.empty_like(values)
        restored[self.by_topic] = values
        return restored


def _level_steps(part: _Chunk) -> FloatArray:
    """Return what each answer adds to attempts, correct, timed and log seconds of its level. Shape (n, 4, 4)."""
    n = len(part.level)
    steps = np.zeros((n, 4, N_LEVELS))
    statistics = (np.ones(n), part.correct, part.timed, part.log_seconds)
    steps[np.arange(n), :, part.level] = np.stack(statistics, axis=1)
    return steps


def _abilities(part: _Chunk, last_correct: BoolArray) -> tuple[tuple[FloatArray, FloatArray], FloatArray]:
    """Return abilities with standard deviations, and the abilities if the last answer on the topic was incorrect."""
    lnirt = part.constants.lnirt
    cells, cell = np.unique(part.topic_row * N_LEVELS + part.level, return_inverse=True)
    correct, incorrect = grid_log_likelihoods(
        lnirt.discrimination[cells // N_LEVELS], lnirt.easiness[cells // N_LEVELS, cells % N_LEVELS]
    )
    log_likelihood = np.where(part.correct[:, None] > 0, correct[cell], incorrect[cell])
    sums = exclusive_sums(log_likelihood, part.user_starts)
    if_incorrect = sums.copy()
    if_incorrect[last_correct] += (incorrect - correct)[cell[part.previous[last_correct]]]
    return ability_from(sums), ability_from(if_incorrect)[0]


def _speeds(part: _Chunk) -> tuple[FloatArray, FloatArray]:
    """Return the sums from which the speed is estimated: its precision, and the weighted log seconds. (n,) each."""
    time = part.constants.lnirt.time
    if time is None:
        return np.zeros(len(part.level)), np.zeros(len(part.level))
    noise, intensity = time.residual_variance[part.topic_row], time.intensity[part.topic_row, part.level]
    steps = np.stack([part.timed / noise, part.timed * (intensity - part.log_seconds) / noise], axis=1)
    sums = exclusive_sums(steps, part.user_starts)
    return sums[:, 0], sums[:, 1]


def _traits(part: _Chunk, last_correct: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Return the success and log seconds that traits predict if the last answer on the topic was incorrect."""
    lnirt, traits, zeros = part.constants.lnirt, part.constants.traits, np.zeros(len(part.level))
    beyond = part.correct - lnirt.expected_success[part.topic_row, part.level]
    timed, slow = zeros, zeros
    if lnirt.time is not None:
        intensity = lnirt.time.intensity[part.topic_row, part.level]
        timed, slow = part.timed, part.timed * (part.log_seconds - intensity)
    evidence = exclusive_sums(traits.evidence(part.topic_row, zeros + 1.0, beyond, timed, slow), part.user_starts)
    evidence -= traits.evidence(part.topic_row, zeros, last_correct.astype(np.float64), zeros, zeros)
    return traits.expected(part.topic_row, traits.scores(evidence))


def _of_items(part: _Chunk) -> dict[str, FloatArray]:
    """Return the fields of a summary about the item of each answer."""
    item, n = part.table.item, len(part.level)
    success, log_seconds = part.constants.items.lookup(item).T
    fields = {"item_success": success, "item_log_seconds": log_seconds}
    names = ("attempts", "correct", "last_outcome", "answers_since", "hours_since")
    values = dict(zip(names, np.zeros((len(names), n)), strict=True))
    values["hours_since"][:] = np.nan
    rows = np.flatnonzero(item != NO_ITEM)
    rows = rows[np.lexsort((rows, item[rows], part.table.user[rows]))]
    starts = group_starts(part.table.user[rows], item[rows])
    again = np.flatnonzero(np.arange(len(rows)) > starts)
    # The previous answer on the item, and if it is a success that is also the last answer on the topic.
    here, previous = rows[again], rows[again - 1]
    last_success = (part.correct[previous] > 0) & (part.previous[here] == previous)
    # A record counts the newest answers only.
    position = np.arange(len(rows)) - starts
    attempts = np.minimum(position, ANSWERS_COUNTED)
    correct = np.append(0.0, np.cumsum(part.correct[rows]))
    values["attempts"][rows] = attempts
    values["correct"][rows] = correct[:-1] - correct[np.arange(len(rows)) - attempts]
    values["correct"][here] -= last_success
    values["last_outcome"][here] = np.where(last_success, -1.0, 2.0 * part.correct[previous] - 1.0)
    values["answers_since"][rows] = _answers_since(part.index[rows], starts)
    values["hours_since"][rows] = _hours_since(part.table, rows, starts)
    return fields | {
        f"{name}_item" if name.endswith("since") else f"item_{name}": value for name, value in values.items()
    }


def _answers_since(index: IntArray, starts: IntArray) -> FloatArray:
    """Return the number of answers since the previous row of the group, itself included, 0 for none. Shape (n,)."""
    since = np.zeros(len(index))
    rows = np.flatnonzero(np.arange(len(index)) > starts)
    since[rows] = index[rows] - index[rows - 1]
    return since


def _hours_since(table: AnswerTable, order: IntArray, starts: IntArray) -> FloatArray:
    """Return the hours from the previous answer of the group to the beginning of each answer, NaN where unknown.

    ``order`` (n,) are the rows of the table, sorted by group; ``starts`` (n,) are the groups' starts in that order.
    """
    at, begun = table.at[order], table.begun_at[order]
    hours = np.full(len(at), np.nan)
    later = np.flatnonzero(np.arange(len(at)) > starts)
    hours[later] = np.maximum(begun[later] - at[later - 1], 0.0) / 3600.0
    return hours
