"""The summary of a student's past from which one prediction is made, read from a stored practice state.

:mod:`training_job.history.summaries` computes the same numbers for every answer of a whole history; a property test
compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property

import msgspec
import numpy as np

from chalicelib.domain.lnirt import ABILITY_GRID, N_LEVELS, FloatArray, ability_moments, mean_and_sd
from chalicelib.domain.numerics import OF_FLOATS, Column, Columns, Row
from chalicelib.features.columns import StateColumns
from chalicelib.features.constants import VersionConstants
from chalicelib.features.items import NO_RECORD, ItemRecord
from chalicelib.features.sequences import StudentSequence
from chalicelib.features.state import DECAY_ANSWERS, LOG_SECONDS, UserState

Requested = Sequence[tuple[str, int]]
"""Topic keys, each with a difficulty of 1..4."""

N_DECAYED = 5
"""Decayed sums of a summary: correct, incorrect, expected correct, log seconds beyond intensity, timed answers."""


class Summary(msgspec.Struct, frozen=True):
    """The past as one prediction sees it, in floats; or as N predictions see it, in arrays of N rows.

    Fields whose comment says *if incorrect* count the last answer on the target topic as incorrect;
    :func:`chalicelib.features.inputs.dense_columns` says why.
    """

    topic_row: Row
    """Row of the target topic in the LNIRT parameters."""
    level: Row
    """0..3."""
    n_answers: Column
    """The student's answers on all topics."""
    attempts: Columns
    """Answers on the target topic by level. 4 columns."""
    correct: Columns
    """Correct ones among them. 4 columns."""
    timed: Columns
    """Those that have a time. 4 columns."""
    log_seconds: Columns
    """Sum of the log seconds of the timed ones. 4 columns."""
    ability: Column
    """Posterior mean, in standard deviations of the population."""
    ability_sd: Column
    """Posterior standard deviation of the ability."""
    speed_precision: Column
    """Sum of 1 / variance over the timed answers on all topics."""
    speed_weighted: Column
    """Sum of (intensity - log seconds) / variance over the same answers."""
    topic_decayed: Columns
    """Decayed sums on the target topic, as of the next answer. N_DECAYED x K columns."""
    overall_decayed: Columns
    """Decayed sums over all topics. N_DECAYED x K columns."""
    hours_since_topic: Column
    """Hours since the last answer on the target topic; NaN if there is none or its time is unknown."""
    hours_since_any: Column
    """Hours since the last answer on any topic; NaN as above."""
    last_outcome: Column
    """Outcome of the last answer on the target topic: 1 correct, -1 incorrect, 0 if there is none."""
    ability_if_incorrect: Column
    """Posterior mean of the ability, if incorrect."""
    trait_success: Column
    """Success that the traits predict beyond the topic's mean, a share, if incorrect; 0 without traits."""
    trait_log_seconds: Column
    """Log seconds that the traits predict beyond the topic's intensity; 0 without traits."""
    sequences: Columns
    """Success of students with the same topic sequences beyond the expected, shares, if incorrect; 0 if unknown.
    N_SEQUENCES columns."""
    answers_since_topic: Column
    """Answers since the last one on the target topic, itself included; 0 if there is none."""
    n_topics: Column
    """Topics that the student has practised."""
    item_success: Column
    """Logits by which the item is easier than its topic and difficulty; 0 if unknown."""
    item_log_seconds: Column
    """Log seconds by which the item takes longer; 0 if unknown."""
    item_attempts: Column
    """The student's answers on the item."""
    item_correct: Column
    """Correct ones among them, if incorrect."""
    item_last_outcome: Column
    """Outcome of the last answer on the item, if incorrect: 1, -1, or 0 if there is none."""
    hours_since_item: Column
    """Hours since the last answer on the item; NaN as above."""
    answers_since_item: Column
    """Answers since the last one on the item, itself included; 0 if there is none."""


class StateView:
    """A student's state together with the constants of a version for each of its R rows."""

    def __init__(self, state: UserState, constants: VersionConstants) -> None:
        self.state, self.constants = state, constants
        self.columns = StateColumns.of_rows(state.rows)
        self.topic_rows = constants.lnirt.topic_rows(self.columns.topics)
        self._cells = constants.cells(self.topic_rows, self.columns.levels)

    def summary(self, topic: str, difficulty: int, now: datetime | None, item: ItemRecord = NO_RECORD) -> Summary:
        """Return the summary for one prediction, in floats."""
        (past,) = self._each([(topic, difficulty)], [_TopicRecord(self, topic)], now, item)
        return past

    def summaries(
        self, requested: Requested, *moments: datetime | None, items: Sequence[ItemRecord] | None = None
    ) -> Summary:
        """Return the summary for N predictions at each of M moments, in arrays of M * N rows, moment by moment.

        Topics and difficulties may repeat. ``items`` holds the record on the item of each prediction.
        """
        topics = dict(requested)
        position = {topic: number for number, topic in enumerate(topics)}
        records = [_TopicRecord(self, topic) for topic in topics]
        past = self._each(list(topics.items()), records, None)
        which = [position[topic] for topic, _ in requested]
        columns = {
            name: np.array([getattr(one, name) for one in past]).take(which * len(moments), axis=0)
            for name in Summary.__struct_fields__
        }
        since_topic = [[_hours_since(record.last_at, moment) for record in records] for moment in moments]
        since_any = [self._hours_since_any(moment) for moment in moments]
        columns["level"] = np.array([difficulty - 1 for _, difficulty in requested] * len(moments))
        columns["hours_since_topic"] = np.array(since_topic).take(which, axis=1).ravel()
        columns["hours_since_any"] = np.repeat(since_any, len(which))
        if items is not None:
            pairs = [(item, records[number]) for item, number in zip(items, which, strict=True)]
            of_items = [self._of_item(item, record, moment) for moment in moments for item, record in pairs]
            columns |= {name: np.array([one[name] for one in of_items]) for name in of_items[0]}
        return Summary(**columns)

    def _each(
        self,
        requested: Requested,
        records: Sequence[_TopicRecord],
        now: datetime | None,
        item: ItemRecord = NO_RECORD,
    ) -> list[Summary]:
        """Return one summary, in floats, for each requested topic, its difficulty and its record."""
        lnirt, traits = self.constants.lnirt, self.constants.traits
        evidence = self.constants.evidence(self.columns.statistics, self._cells)
        # Changing a success into a failure subtracts its logit, so its slope, from the log-likelihood of the abilities.
        slopes = [lnirt.discrimination[record.row] if record.last_outcome > 0.0 else 0.0 for record in records]
        moments = ability_moments(
            evidence.log_likelihood - np.array([[0.0], *([slope] for slope in slopes)]) * ABILITY_GRID
        )
        (ability, ability_sd), *if_incorrect = [mean_and_sd(one, OF_FLOATS) for one in moments.tolist()]
        from_traits = traits.expected_if_incorrect(
            evidence.traits, [record.row for record in records], [record.last_outcome > 0.0 for record in records]
        )
        sequence = StudentSequence(self.columns, self.topic_rows)
        overall = self.decayed.sum(axis=2).tolist()
        hours_since_any, n_topics = self._hours_since_any(now), len(set(self.columns.topics))
        return [
            Summary(
                topic_row=record.row,
                level=difficulty - 1,
                n_answers=float(self.state.n_answers),
                attempts=record.attempts,
                correct=record.correct,
                timed=record.timed,
                log_seconds=record.log_seconds,
                ability=ability,
                ability_sd=ability_sd,
                speed_precision=evidence.speed_precision,
                speed_weighted=evidence.speed_weighted,
                topic_decayed=record.decayed,
                overall_decayed=overall,
                hours_since_topic=_hours_since(record.last_at, now),
                hours_since_any=hours_since_any,
                last_outcome=record.last_outcome,
                ability_if_incorrect=ability_if_incorrect,
                trait_success=trait_success,
                trait_log_seconds=trait_log_seconds,
                sequences=self.constants.sequences.lookup_one(
                    sequence.keys(record.row, topic, record.n_attempts, record.n_correct_before_last)
                ),
                answers_since_topic=record.answers_since,
                n_topics=float(n_topics),
                **self._of_item(item, record, now),
            )
            for (topic, difficulty), record, (ability_if_incorrect, _), (trait_success, trait_log_seconds) in zip(
                requested, records, if_incorrect, from_traits, strict=True
            )
        ]

    def _of_item(self, item: ItemRecord, record: _TopicRecord, now: datetime | None) -> dict[str, float]:
        """Return the fields of a summary that depend on the item. ``record`` is that of its topic."""
        success, log_seconds = self.constants.items.lookup_one(item.key)
        return {
            "item_success": success,
            "item_log_seconds": log_seconds,
            "item_attempts": float(item.attempts),
            "item_correct": float(item.correct - record.is_last_success(item)),
            "item_last_outcome": record.outcome_if_incorrect(item),
            "hours_since_item": _hours_since(math.nan if item.last_at is None else item.last_at.timestamp(), now),
            "answers_since_item": float(self.state.n_answers - item.last_index) if item.attempts else 0.0,
        }

    @cached_property
    def decayed(self) -> FloatArray:
        """The summary's decayed sums of each row, as of the student's next answer. Shape (N_DECAYED, K, R).

        Rows come last, so that numpy's inner loops are as long as the state.
        """
        stored = self.columns.decayed.transpose(1, 2, 0)
        remaining = np.exp(_PER_ANSWER * (self.columns.last_index - self.state.n_answers))
        sums = np.empty((N_DECAYED, *remaining.shape))
        np.multiply(stored[:LOG_SECONDS], remaining, out=sums[:2])
        np.multiply(stored[LOG_SECONDS:], remaining, out=sums[3:])
        correct, incorrect, expected, beyond_intensity, timed = sums
        np.add(correct, incorrect, out=expected)
        expected *= self.constants.expected(self._cells)
        beyond_intensity -= self.constants.intensity(self._cells) * timed
        return sums

    def rows_of(self, topic: str) -> Sequence[int]:
        """Return the positions of a topic key's rows.

        There is at most one per level, unless the version is from before topics had subjects and the student has the
        topic in several.
        """
        topic_row = self.constants.lnirt.topic_row(topic)
        if self.constants.lnirt.knows(topic_row):
            rows: list[int] = (self.topic_rows == topic_row).nonzero()[0].tolist()
            return rows
        return [row for row, other in enumerate(self.columns.topics) if other == topic]

    def _hours_since_any(self, now: datetime | None) -> float:
        if not len(self.columns):
            return math.nan
        return _hours_since(float(self.columns.last_at[self.columns.last_index.argmax()]), now)


class _TopicRecord:
    """A student's record on one topic, with the names of :class:`Summary`. ``last_at`` is NaN if it is unknown."""

    def __init__(self, view: StateView, topic: str) -> None:
        self.row = view.constants.lnirt.topic_row(topic)
        statistics = [[0.0] * N_LEVELS for _ in range(4)]
        self.attempts, self.correct, self.timed, self.log_seconds = statistics
        self.decayed, self.last_at, self.answers_since, self.last_outcome = _NOTHING_DECAYED, math.nan, 0.0, 0.0
        self._last_index = -1
        rows = view.rows_of(topic)
        if rows:
            self.decayed = view.decayed.take(rows, axis=2).sum(axis=2).tolist()
            latest = -1.0
            for difficulty, *counts, _, _, index, correct, at in view.columns.numbers.take(rows, axis=0).tolist():
                for by_level, count in zip(statistics, counts, strict=True):
                    by_level[int(difficulty) - 1] += count
                if index > latest:
                    latest, self.last_outcome, self.last_at = index, 2.0 * correct - 1.0, at
            self.answers_since, self._last_index = view.state.n_answers - latest, int(latest)
        self.n_attempts = int(sum(self.attempts))
        self.n_correct_before_last = int(sum(self.correct)) - (self.last_outcome > 0.0)

    def is_last_success(self, item: ItemRecord) -> bool:
        """Return True if the last answer on the item was correct and is also the last one on the topic."""
        return item.attempts > 0 and item.last_correct and item.last_index == self._last_index

    def outcome_if_incorrect(self, item: ItemRecord) -> float:
        """Return the outcome of the last answer on the item: 1 correct, -1 incorrect, 0 without an answer.

        If it is also the last answer on the topic, it counts as incorrect.
        """
        if not item.attempts:
            return 0.0
        return 1.0 if item.last_correct and not self.is_last_success(item) else -1.0


_PER_ANSWER: FloatArray = 1.0 / DECAY_ANSWERS[:, None]
_NOTHING_DECAYED = [[0.0] * len(DECAY_ANSWERS)] * N_DECAYED


def _hours_since(at: float, now: datetime | None) -> float:
    """Return the hours since a time in seconds since the epoch, NaN if one of the two is unknown."""
    return math.nan if now is None or math.isnan(at) else max(now.timestamp() - at, 0.0) / 3600.0
