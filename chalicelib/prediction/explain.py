"""Explains a prediction: how much each group of inputs moved it, measured by predicting again without the group.

The influence of a group is the prediction less the prediction with the group replaced by the values of a newcomer: no
answers, no times, and the embedding that unknown students share. The course is replaced by that of an average student,
and the difficulty by medium. Groups share information about a student, so influences do not add up to the prediction.
An explanation costs a dozen predictions, so it is made on request only.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from chalicelib.domain.errors import ModelError
from chalicelib.domain.predictions import Prediction, Source
from chalicelib.domain.tasks import Difficulty
from chalicelib.features.columns import without_topic
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


_NAMES: Mapping[Group, str] = {
    Group.TOPIC_RECORD: "Your record on this topic",
    Group.OVERALL_RECORD: "Your record over all topics",
    Group.RECENT_ANSWERS: "Your recent work on other topics",
    Group.COURSE: "The performance of students in your course",
    Group.PAUSE: "The time since you last practised",
    Group.STUDENT: "What the last training learnt about you",
    Group.DIFFICULTY: "The difficulty, compared with medium,",
}


class Influence(msgspec.Struct, frozen=True):
    """The influence of one group: ``probability`` and ``seconds`` are positive if the group raised them.

    ``seconds`` is None for a version without times. ``text`` is the same as a sentence.
    """

    group: Group
    text: str
    probability: float
    seconds: float | None


class _Input(msgspec.Struct, frozen=True):
    """The input of one prediction: the summary, and the state that the pooled vector and the embedding come from."""

    past: Summary
    state: UserState


class _Replacements(msgspec.Struct, frozen=True):
    """What replaces a group: a newcomer's input, or the student's summary had they never met the topic."""

    newcomer: _Input
    without_topic: Summary


def explain(
    predictor: Predictor | None, prediction: Prediction, state: UserState, topic: str, difficulty: int, now: datetime
) -> list[Influence]:
    """Return the groups that moved a prediction, the strongest first; none for a default prediction.

    ``prediction`` is that of ``predictor`` for the other arguments: a topic key and a difficulty of 1..4.
    """
    if predictor is None or prediction.source is Source.DEFAULT:
        return []
    given = _Input(predictor.summarise(state, topic, difficulty, now), state)
    nobody = UserState(NEWCOMER, 0, ())
    replacements = _Replacements(
        newcomer=_Input(predictor.summarise(nobody, topic, difficulty, now), nobody),
        without_topic=predictor.summarise(without_topic(state, topic), topic, difficulty, now),
    )
    try:
        actual = _values(predictor, prediction.source, given)
        others = {
            group: _values(predictor, prediction.source, replaced(given, replacements))
            for group, replaced in _REPLACED.items()
        }
    except (ModelError, ArithmeticError, ValueError, IndexError) as error:
        _LOG.warning("prediction of %s could not be explained: %s", prediction.lnirt_model_version, error)
        return []
    influences = [_influence(group, actual, other) for group, other in others.items()]
    notable = [
        one for one in influences if abs(one.probability) >= MIN_PROBABILITY or abs(one.seconds or 0.0) >= MIN_SECONDS
    ]
    return sorted(notable, key=lambda one: (-abs(one.probability), -abs(one.seconds or 0.0)))


def _values(predictor: Predictor, source: Source, given: _Input) -> tuple[float, float | None]:
    """Return the probability and the seconds as they would be served, but with the seconds not rounded."""
    logit, log_seconds = predictor.values(source, given.state, given.past)
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


def _without_topic_record(given: _Input, replacements: _Replacements) -> _Input:
    past, empty, elsewhere = given.past, replacements.newcomer.past, replacements.without_topic
    changed = replace(
        past,
        sequences=[*past.sequences[:ATTEMPTS], *empty.sequences[ATTEMPTS:]],
        attempts=empty.attempts,
        correct=empty.correct,
        timed=empty.timed,
        log_seconds=empty.log_seconds,
        topic_decayed=empty.topic_decayed,
        overall_decayed=[
            [whole - own for whole, own in zip(*sums, strict=True)]
            for sums in zip(past.overall_decayed, past.topic_decayed, strict=True)
        ],
        hours_since_topic=empty.hours_since_topic,
        last_outcome=empty.last_outcome,
        ability_if_incorrect=past.ability,
        answers_since_topic=empty.answers_since_topic,
        trait_success=elsewhere.trait_success,
        trait_log_seconds=elsewhere.trait_log_seconds,
    )
    return replace(given, past=changed)


def _without_overall_record(given: _Input, replacements: _Replacements) -> _Input:
    empty = replacements.newcomer.past
    changed = replace(
        given.past,
        n_answers=empty.n_answers,
        n_topics=empty.n_topics,
        ability=empty.ability,
        ability_sd=empty.ability_sd,
        ability_if_incorrect=empty.ability_if_incorrect,
        trait_success=empty.trait_success,
        trait_log_seconds=empty.trait_log_seconds,
        speed_precision=empty.speed_precision,
        speed_weighted=empty.speed_weighted,
    )
    return replace(given, past=changed)


def _without_recent_answers(given: _Input, _replacements: _Replacements) -> _Input:
    """Remove the answers on other topics from the overall decayed sums and from the pooled vector."""
    past = replace(given.past, overall_decayed=given.past.topic_decayed)
    return _Input(past, dataclasses.replace(given.state, rows=()))


def _without_course(given: _Input, _replacements: _Replacements) -> _Input:
    sequences = [*[0.0] * ATTEMPTS, *given.past.sequences[ATTEMPTS:]]
    return replace(given, past=replace(given.past, sequences=sequences))


def _without_pause(given: _Input, replacements: _Replacements) -> _Input:
    empty = replacements.newcomer.past
    past = replace(given.past, hours_since_topic=empty.hours_since_topic, hours_since_any=empty.hours_since_any)
    return replace(given, past=past)


def _without_student(given: _Input, _replacements: _Replacements) -> _Input:
    return replace(given, state=dataclasses.replace(given.state, user_id=NEWCOMER))


def _at_medium_difficulty(given: _Input, _replacements: _Replacements) -> _Input:
    return replace(given, past=replace(given.past, level=Difficulty.MEDIUM.numeric - 1))


_REPLACED: Mapping[Group, Callable[[_Input, _Replacements], _Input]] = {
    Group.TOPIC_RECORD: _without_topic_record,
    Group.OVERALL_RECORD: _without_overall_record,
    Group.RECENT_ANSWERS: _without_recent_answers,
    Group.COURSE: _without_course,
    Group.PAUSE: _without_pause,
    Group.STUDENT: _without_student,
    Group.DIFFICULTY: _at_medium_difficulty,
}
