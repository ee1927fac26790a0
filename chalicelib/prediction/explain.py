"""Explains a prediction: how much each group of inputs moved it, measured by predicting again without the group.

The influence of a group is the prediction less the prediction with the group replaced by the values of a newcomer: no
answers, no times, and the embedding that unknown students share. The course is replaced by that of an average student,
and the difficulty by medium. Groups share information about a student, so influences do not add up to the prediction.
An explanation costs a dozen predictions, so it is made on request only.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec.structs import replace

from chalicelib.domain.errors import ModelError
from chalicelib.domain.fields import about
from chalicelib.domain.predictions import Prediction, Source
from chalicelib.domain.tasks import Difficulty
from chalicelib.features.columns import without_topic
from chalicelib.features.items import NO_RECORD, ItemRecord
from chalicelib.features.sequences import ATTEMPTS
from chalicelib.features.state import UserState
from chalicelib.features.summary import Summary
from chalicelib.prediction.chain import bounded_probability, bounded_seconds
from chalicelib.prediction.predictor import Predictor

NEWCOMER = ""
"""A user id that no user has: its embedding row is the one that unknown students share."""

MIN_PROBABILITY, MIN_SECONDS = 0.001, 0.1
"""A group that moves both by less than this is left out."""

_LOG = logging.getLogger("studysmart.prediction")


class Group(StrEnum):
    """A group of inputs that means one thing to a student. The values are part of the HTTP contract."""

    TOPIC_RECORD = "topic_record"
    OVERALL_RECORD = "overall_record"
    RECENT_ANSWERS = "recent_answers"
    COURSE = "course"
    PAUSE = "pause"
    STUDENT = "student"
    DIFFICULTY = "difficulty"
    ITEM = "item"


_NAMES: Mapping[Group, str] = {
    Group.TOPIC_RECORD: "Your record on this topic",
    Group.OVERALL_RECORD: "Your record over all topics",
    Group.RECENT_ANSWERS: "Your recent work on other topics",
    Group.COURSE: "The performance of students in your course",
    Group.PAUSE: "The time since you last practised",
    Group.STUDENT: "What the last training learnt about you",
    Group.DIFFICULTY: "The difficulty, compared with medium,",
    Group.ITEM: "This exercise, with your record on it,",
}


_EXAMPLE = "Your record on this topic raises the chance of success by 4.2 points."


class Influence(msgspec.Struct, frozen=True):
    """The influence of one group: ``probability`` and ``seconds`` are positive if the group raised them.

    ``seconds`` is None for a version without times. ``text`` is the same as a sentence.
    """

    group: Annotated[Group, about("The group of inputs")]
    text: Annotated[str, about("The influence as a sentence for the student", _EXAMPLE)]
    probability: Annotated[float, about("Change of the probability by the group", 0.042)]
    seconds: Annotated[float, about("Change of the seconds by the group; null for a version without times", 0.0)] | None
    hours_since_last: (
        Annotated[float, about("Hours since the last answer on the topic; only of the pause", 26.5)] | None
    ) = None


def explain(
    predictor: Predictor | None,
    prediction: Prediction,
    state: UserState,
    topic: str,
    difficulty: int,
    now: datetime,
    item: ItemRecord = NO_RECORD,
) -> list[Influence]:
    """Return the groups that moved a prediction, the strongest first; none for a default prediction.

    ``prediction`` is that of ``predictor`` for the other arguments: a topic key, a difficulty of 1..4, and the
    student's record on the item.
    """
    if predictor is None or prediction.source is Source.DEFAULT:
        return []
    try:
        past = predictor.summarise(state, topic, difficulty, now, item)
        newcomer = predictor.summarise(UserState(NEWCOMER, 0, ()), topic, difficulty, now)
        elsewhere = predictor.summarise(without_topic(state, topic), topic, difficulty, now)
        actual = _values(predictor, prediction.source, state, past)
        others = {
            group: _values(predictor, prediction.source, *changed)
            for group, changed in _without_each(state, past, newcomer, elsewhere).items()
        }
    except (ModelError, ArithmeticError, ValueError, IndexError) as error:
        _LOG.warning("prediction of %s could not be explained: %s", prediction.lnirt_model_version, error)
        return []
    influences = [_influence(group, actual, other) for group, other in others.items()]
    if not math.isnan(past.hours_since_topic):
        hours = round(past.hours_since_topic, 2)
        influences = [replace(one, hours_since_last=hours) if one.group is Group.PAUSE else one for one in influences]
    notable = [
        one for one in influences if abs(one.probability) >= MIN_PROBABILITY or abs(one.seconds or 0.0) >= MIN_SECONDS
    ]
    return sorted(notable, key=lambda one: (-abs(one.probability), -abs(one.seconds or 0.0)))


def _values(predictor: Predictor, source: Source, state: UserState, past: Summary) -> tuple[float, float | None]:
    """Return the probability and the seconds as they would be served, but with the seconds not rounded."""
    logit, log_seconds = predictor.values(source, state, past)
    return bounded_probability(logit), None if log_seconds is None else bounded_seconds(log_seconds)


def _influence(group: Group, actual: tuple[float, float | None], other: tuple[float, float | None]) -> Influence:
    probability = round(actual[0] - other[0], 4)
    seconds = None if actual[1] is None or other[1] is None else round(actual[1] - other[1], 1)
    return Influence(group, _sentence(group, probability, seconds), probability, seconds)


def _sentence(group: Group, probability: float, seconds: float | None) -> str:
    effects = []
    if abs(probability) >= MIN_PROBABILITY:
        verb = "raises" if probability > 0 else "lowers"
        effects.append(f"{verb} the chance of success by {100 * abs(probability):.1f} points")
    if seconds is not None and abs(seconds) >= MIN_SECONDS:
        verb = "lengthens" if seconds > 0 else "shortens"
        effects.append(f"{verb} the expected time by {abs(seconds):.1f} s")
    return f"{_NAMES[group]} {' and '.join(effects) or 'changes nothing'}."


def _without_each(
    state: UserState, past: Summary, newcomer: Summary, elsewhere: Summary
) -> dict[Group, tuple[UserState, Summary]]:
    """Return the state and the summary without each group.

    The pooled vector and the student's embedding come from the state, everything else from the summary ``past``.
    ``newcomer`` is the summary of a student without answers, ``elsewhere`` that of the student without the topic.
    """
    without_topic_record = replace(
        _with_values_of(newcomer, past, _TOPIC_RECORD),
        sequences=[*past.sequences[:ATTEMPTS], *newcomer.sequences[ATTEMPTS:]],
        overall_decayed=[
            [whole - own for whole, own in zip(*sums, strict=True)]
            for sums in zip(past.overall_decayed, past.topic_decayed, strict=True)
        ],
        ability_if_incorrect=past.ability,
        trait_success=elsewhere.trait_success,
        trait_log_seconds=elsewhere.trait_log_seconds,
    )
    without_course = replace(past, sequences=[*[0.0] * ATTEMPTS, *past.sequences[ATTEMPTS:]])
    # The other topics leave both the decayed sums and the pooled vector.
    on_topic_only = dataclasses.replace(state, rows=()), replace(past, overall_decayed=past.topic_decayed)
    return {
        Group.TOPIC_RECORD: (state, without_topic_record),
        Group.OVERALL_RECORD: (state, _with_values_of(newcomer, past, _OVERALL_RECORD)),
        Group.RECENT_ANSWERS: on_topic_only,
        Group.COURSE: (state, without_course),
        Group.PAUSE: (state, _with_values_of(newcomer, past, _PAUSES)),
        Group.STUDENT: (dataclasses.replace(state, user_id=NEWCOMER), past),
        Group.ITEM: (state, _with_values_of(newcomer, past, _ITEM)),
        Group.DIFFICULTY: (state, replace(past, level=Difficulty.MEDIUM.numeric - 1)),
    }


def _with_values_of(other: Summary, past: Summary, names: Sequence[str]) -> Summary:
    """Return ``past`` with these fields of another summary."""
    return replace(past, **{name: getattr(other, name) for name in names})


_TOPIC_RECORD = (
    "attempts", "correct", "timed", "log_seconds", "topic_decayed", "hours_since_topic", "last_outcome",
    "answers_since_topic",
)  # fmt: skip
"""Fields of a summary that hold the record on the target topic only."""

_PAUSES = ("hours_since_topic", "hours_since_any", "hours_since_item")
"""Fields of a summary that hold elapsed times."""

_ITEM = (
    "item_success", "item_log_seconds", "item_attempts", "item_correct", "item_last_outcome", "hours_since_item",
    "answers_since_item",
)  # fmt: skip
"""Fields of a summary about the item."""

_OVERALL_RECORD = (
    "n_answers", "n_topics", "ability", "ability_sd", "ability_if_incorrect", "trait_success", "trait_log_seconds",
    "speed_precision", "speed_weighted",
)  # fmt: skip
"""Fields of a summary that hold the record over all topics."""
