"""Why a prediction is what it is: how far each group of inputs moved it, asked of the model itself.

A group's influence is the prediction as it stands less the prediction with that group replaced by what a newcomer
has: no answers, no times, the embedding shared by all whom the model does not know; for the course, how students fare
on average; for the difficulty, medium. Groups overlap in what they know of a student, so influences do not add up
to the prediction. This costs two predictions per group, so it is done only where somebody asks for it.
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
"""The user id of nobody: its embedding row is the one that unknown students share."""

SMALLEST_PROBABILITY, SMALLEST_SECONDS = 0.001, 0.1
"""A group that moves both by less than this is left out: it did not count."""

_LOG = logging.getLogger("studysmart.prediction")


class Group(StrEnum):
    """Inputs that belong together in a student's eyes."""

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
    Group.COURSE: "How students of your course fared",
    Group.PAUSE: "The time since you last practised",
    Group.STUDENT: "What the last training learnt about you",
    Group.DIFFICULTY: "The difficulty, compared with medium,",
}


class Influence(msgspec.Struct, frozen=True):
    """How one group moved a prediction: ``probability`` and ``seconds`` are signed, positive where it raised them.

    ``seconds`` is null where the model knows nothing of times. ``text`` says the same in a sentence.
    """

    group: Group
    text: str
    probability: float
    seconds: float | None


class _Known(msgspec.Struct, frozen=True):
    """What one prediction is made from."""

    past: Summary
    state: UserState


class _Others(msgspec.Struct, frozen=True):
    """What is put in a group's place: a newcomer's, or the student's own had they never met the topic."""

    newcomer: _Known
    elsewhere: Summary


def explain(
    predictor: Predictor | None, prediction: Prediction, state: UserState, topic: str, difficulty: int, now: datetime
) -> list[Influence]:
    """The groups that moved ``prediction``, the strongest first; none for a default, which knows nothing.

    ``prediction`` is what ``predictor`` gave for the other arguments: a topic key, a difficulty of 1..4. Never raises
    for its inputs.
    """
    if predictor is None or prediction.source is Source.DEFAULT:
        return []
    known = _Known(predictor.summarise(state, topic, difficulty, now), state)
    nobody = UserState(NEWCOMER, 0, ())
    instead = _Others(
        newcomer=_Known(predictor.summarise(nobody, topic, difficulty, now), nobody),
        elsewhere=predictor.summarise(without_topic(state, topic), topic, difficulty, now),
    )
    try:
        actual = _values(predictor, prediction.source, known)
        others = {
            group: _values(predictor, prediction.source, change(known, instead)) for group, change in _REPLACED.items()
        }
    except (ModelError, ArithmeticError, ValueError, IndexError) as error:
        _LOG.warning("prediction of %s could not be explained: %s", prediction.lnirt_model_version, error)
        return []
    influences = [_influence(group, actual, other) for group, other in others.items()]
    moved = [
        one
        for one in influences
        if abs(one.probability) >= SMALLEST_PROBABILITY or abs(one.seconds or 0.0) >= SMALLEST_SECONDS
    ]
    return sorted(moved, key=lambda one: (-abs(one.probability), -abs(one.seconds or 0.0)))


def _values(predictor: Predictor, source: Source, known: _Known) -> tuple[float, float | None]:
    """Probability and seconds as they would be served, the seconds not yet rounded."""
    logit, log_seconds = predictor.values(source, known.state, known.past)
    return bounded_probability(logit), None if log_seconds is None else bounded_seconds(log_seconds)


def _influence(group: Group, actual: tuple[float, float | None], other: tuple[float, float | None]) -> Influence:
    probability = round(actual[0] - other[0], 4)
    seconds = None if actual[1] is None or other[1] is None else round(actual[1] - other[1], 1)
    return Influence(group, _sentence(group, probability, seconds), probability, seconds)


def _sentence(group: Group, probability: float, seconds: float | None) -> str:
    effects = []
    if abs(probability) >= SMALLEST_PROBABILITY:
        verb = "raises" if probability > 0 else "lowers"
        effects.append(f"{verb} the chance of success by {100 * abs(probability):.1f} points")
    if seconds is not None and abs(seconds) >= SMALLEST_SECONDS:
        verb = "lengthens" if seconds > 0 else "shortens"
        effects.append(f"{verb} the expected time by {abs(seconds):.1f} s")
    return f"{_NAMES[group]} {' and '.join(effects) or 'changes nothing'}."


def _without_topic_record(known: _Known, instead: _Others) -> _Known:
    past, empty = known.past, instead.newcomer.past
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
        trait_success=instead.elsewhere.trait_success,
        trait_log_seconds=instead.elsewhere.trait_log_seconds,
    )
    return replace(known, past=changed)


def _without_overall_record(known: _Known, instead: _Others) -> _Known:
    empty = instead.newcomer.past
    changed = replace(
        known.past,
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
    return replace(known, past=changed)


def _without_recent_answers(known: _Known, _instead: _Others) -> _Known:
    """The user-wide decayed sums, and the pooled vector of all topics, keep the asked topic's answers only."""
    return _Known(
        replace(known.past, overall_decayed=known.past.topic_decayed), dataclasses.replace(known.state, rows=())
    )


def _without_course(known: _Known, _instead: _Others) -> _Known:
    sequences = known.past.sequences
    return replace(known, past=replace(known.past, sequences=[*[0.0] * ATTEMPTS, *sequences[ATTEMPTS:]]))


def _without_pause(known: _Known, instead: _Others) -> _Known:
    empty = instead.newcomer.past
    return replace(
        known,
        past=replace(known.past, hours_since_topic=empty.hours_since_topic, hours_since_any=empty.hours_since_any),
    )


def _without_student(known: _Known, instead: _Others) -> _Known:
    return replace(known, state=dataclasses.replace(known.state, user_id=instead.newcomer.state.user_id))


def _at_medium_difficulty(known: _Known, _instead: _Others) -> _Known:
    return replace(known, past=replace(known.past, level=_MEDIUM))


_MEDIUM = Difficulty.MEDIUM.numeric - 1

_REPLACED: Mapping[Group, Callable[[_Known, _Others], _Known]] = {
    Group.TOPIC_RECORD: _without_topic_record,
    Group.OVERALL_RECORD: _without_overall_record,
    Group.RECENT_ANSWERS: _without_recent_answers,
    Group.COURSE: _without_course,
    Group.PAUSE: _without_pause,
    Group.STUDENT: _without_student,
    Group.DIFFICULTY: _at_medium_difficulty,
}
