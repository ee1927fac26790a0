"""The summaries of every answer of a history at once, each from that student's earlier answers only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import (
    N_LEVELS,
    FloatArray,
    IntArray,
    LnirtParameters,
    ability_from,
    grid_log_likelihoods,
)
from chalicelib.features.constants import VersionConstants
from chalicelib.features.sequences import Keys
from chalicelib.features.state import DECAY_ANSWERS
from chalicelib.features.summary import Summary
from training_job.history.answers import AnswerTable
from training_job.history.scan import BoolArray, exclusive_decayed, exclusive_sums, group_starts
from training_job.history.sequences import keys_of_history, records_of_history
from training_job.history.steps import answer_steps

CHUNK_ANSWERS = 50_000
"""Answers summarised at once: bounds memory, whatever the size of the history."""


def topic_codes(topics: tuple[str, ...], model: LnirtParameters) -> IntArray:
    """Rows of the parameters for a table's topics, the average topic's row for unknown ones."""
    return model.topic_rows(topics)


def user_chunks(table: AnswerTable, size: int = CHUNK_ANSWERS) -> Iterator[slice]:
    """Slices of the table that never part one user's answers, of about ``size`` rows each."""
    starts = np.append(np.flatnonzero(np.diff(table.user, prepend=-1)), len(table))
    begin = 0
    while begin < len(table):
        end = int(starts[min(int(np.searchsorted(starts, begin + size)), len(starts) - 1)])
        yield slice(begin, end)
        begin = end


def summarise_history(table: AnswerTable, rows: slice, constants: VersionConstants, codes: IntArray) -> Summary:
    """Summary of the answers of one chunk of :func:`user_chunks`, each from the answers before it.

    ``codes`` are the table's topics as rows of the parameters (:func:`topic_codes`).
    """
    part, model = _Chunk(table, rows, codes), constants.lnirt
    steps = part.steps(model)
    right = part.last() > 0
    (ability, ability_sd), ability_if_incorrect = _abilities(part, model, right)
    precision, weighted = _speeds(part, model)
    by_level = part.in_topic(exclusive_sums(part.level_steps()[part.by_topic], part.topic_starts))
    trait_success, trait_log_seconds = _traits(part, constants, right)
    same = exclusive_decayed(steps[part.by_topic], part.index[part.by_topic], part.topic_starts, DECAY_ANSWERS)
    return Summary(
        topic_row=part.topic,
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
        topic_decayed=part.in_topic(same),
        overall_decayed=exclusive_decayed(steps, part.index, part.user_starts, DECAY_ANSWERS),
        hours_since_topic=part.in_topic(_hours_before(part.at[part.by_topic], part.topic_starts)),
        hours_since_any=_hours_before(part.at, part.user_starts),
        last_outcome=part.last(),
        ability_if_incorrect=ability_if_incorrect,
        trait_success=trait_success,
        trait_log_seconds=trait_log_seconds,
        sequences=constants.sequences.lookup(part.sequence_keys()),
        answers_since_topic=part.in_topic(_gaps(part.index[part.by_topic], part.topic_starts)),
        n_topics=exclusive_sums(part.is_first().astype(np.float64), part.user_starts),
    )


class _Chunk:
    """The columns of some users' whole histories, and how their rows group by user and by user x topic."""

    def __init__(self, table: AnswerTable, rows: slice, codes: IntArray) -> None:
        raw_topic = table.topic[rows].astype(np.int64)
        user = table.user[rows]
        self.user, self.raw_topic = user.astype(np.int64), raw_topic
        self.topic = codes[raw_topic]
        self.level = table.difficulty[rows].astype(np.int64) - 1
        self.correct = table.is_correct[rows].astype(np.float64)
        seconds = table.seconds[rows]
        self.timed = (~np.isnan(seconds)).astype(np.float64)
        self.log_seconds = np.log(np.where(self.timed > 0, seconds, 1.0))
        self.at = table.at[rows]
        self.user_starts = group_starts(user)
        self.index = np.arange(len(user)) - self.user_starts
        self.by_topic = np.lexsort((np.arange(len(user)), raw_topic, user))
        self.topic_starts = group_starts(user[self.by_topic], raw_topic[self.by_topic])

    def in_topic(self, values: FloatArray) -> FloatArray:
        """Values computed in the order of user x topic, put back into the order of the table."""
        restored = np.empty_like(values)
        restored[self.by_topic] = values
        return restored

    def is_first(self) -> npt.NDArray[np.bool_]:
        """Whether an answer is its student's first one on the topic."""
        return self.in_topic((self.topic_starts == np.arange(len(self.topic))).astype(np.float64)) > 0

    def before(self) -> IntArray:
        """The row of the student's answer before on the same topic, -1 for none. Shape (n,)."""
        earlier = np.append(-1, self.by_topic[:-1])
        earlier[self.topic_starts == np.arange(len(earlier))] = -1
        rows = np.empty_like(earlier)
        rows[self.by_topic] = earlier
        return rows

    def last(self) -> FloatArray:
        """How that answer was: 1 right, -1 wrong, 0 for none. Shape (n,)."""
        before = self.before()
        return np.where(before < 0, 0.0, 2.0 * self.correct[before] - 1.0)

    def sequence_keys(self) -> Keys:
        """The keys of the topic sequences before each answer."""
        attempts, right = records_of_history(self.user, self.raw_topic, self.correct)
        return keys_of_history(self.user, self.raw_topic, self.topic, attempts, right)

    def level_steps(self) -> FloatArray:
        """What each answer adds to attempts, correct, timed and log seconds of its level. Shape (n, 4, 4)."""
        steps = np.zeros((len(self.topic), 4, N_LEVELS))
        everything = np.stack([np.ones(len(self.topic)), self.correct, self.timed, self.log_seconds], axis=1)
        steps[np.arange(len(self.topic)), :, self.level] = everything
        return steps

    def steps(self, model: LnirtParameters) -> FloatArray:
        """What each answer adds to the decayed sums. Shape (n, 5)."""
        return answer_steps(self.topic, self.level, self.correct, self.timed, self.log_seconds, model)


def _abilities(
    part: _Chunk, model: LnirtParameters, last_right: BoolArray
) -> tuple[tuple[FloatArray, FloatArray], FloatArray]:
    """Abilities with their standard deviations, and abilities had the last answer on the topic been wrong."""
    cells, cell = np.unique(part.topic * N_LEVELS + part.level, return_inverse=True)
    right, wrong = grid_log_likelihoods(
        model.discrimination[cells // N_LEVELS], model.easiness[cells // N_LEVELS, cells % N_LEVELS]
    )
    log_likelihood = np.where(part.correct[:, None] > 0, right[cell], wrong[cell])
    sums = exclusive_sums(log_likelihood, part.user_starts)
    before = part.before()[last_right]
    wrong_instead = sums.copy()
    wrong_instead[last_right] += (wrong - right)[cell[before]]
    return ability_from(sums), ability_from(wrong_instead)[0]


def _speeds(part: _Chunk, model: LnirtParameters) -> tuple[FloatArray, FloatArray]:
    if model.time is None:
        return np.zeros(len(part.topic)), np.zeros(len(part.topic))
    noise, intensity = model.time.residual_variance[part.topic], model.time.intensity[part.topic, part.level]
    steps = np.stack([part.timed / noise, part.timed * (intensity - part.log_seconds) / noise], axis=1)
    sums = exclusive_sums(steps, part.user_starts)
    return sums[:, 0], sums[:, 1]


def _traits(part: _Chunk, constants: VersionConstants, last_right: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Success and log seconds that the traits predict as if the last answer on the topic had been incorrect."""
    model, traits, nothing = constants.lnirt, constants.traits, np.zeros(len(part.topic))
    beyond = part.correct - model.expected_success[part.topic, part.level]
    timed, slow = nothing, nothing
    if model.time is not None:
        timed, slow = part.timed, part.timed * (part.log_seconds - model.time.intensity[part.topic, part.level])
    told = traits.evidence(part.topic, nothing + 1.0, beyond, timed, slow)
    told = exclusive_sums(told, part.user_starts)
    told -= traits.evidence(part.topic, nothing, last_right.astype(np.float64), nothing, nothing)
    return traits.expected(part.topic, traits.scores(told))


def _gaps(index: IntArray, starts: IntArray) -> FloatArray:
    gaps = np.zeros(len(index))
    rows = np.flatnonzero(np.arange(len(index)) > starts)
    gaps[rows] = index[rows] - index[rows - 1]
    return gaps


def _hours_before(at: FloatArray, starts: npt.NDArray[np.int64]) -> FloatArray:
    hours = np.full(len(at), np.nan)
    rows = np.flatnonzero(np.arange(len(at)) > starts)
    hours[rows] = np.maximum(at[rows] - at[rows - 1], 0.0) / 3600.0
    return hours
