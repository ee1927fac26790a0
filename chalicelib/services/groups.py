"""Calibration of the served predictions by group.

A version can be right on average and wrong for every beginner. So the newest completions of all students, without
imported answers, are divided in six ways: by source, by model version, by place (the first answer of a student or a
later one), by the pause before the answer, by the activity of the student, and by topic. In each group, the mean
predicted chance is compared with the share of correct answers. A small group differs by chance alone, so the difference
expected by chance is reported next to it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated

from msgspec import Struct

from chalicelib.domain.digests import MINIMUM_STUDENTS
from chalicelib.domain.fields import about
from chalicelib.domain.predictions import Source
from chalicelib.domain.results import ServedAnswer
from chalicelib.ports import AnalyticsStore

NEWEST = 10_000
"""Number of newest completions, over all versions, from which the log-losses of versions are computed."""

TOPICS_SHOWN = 20
N_ACTIVITIES = 10
LONG_PAUSE_HOURS = 12.0


class CalibrationGroup(Struct, frozen=True):
    """The completions of one group. ``difference`` is the mean predicted chance less the share of correct answers.

    ``difference_by_chance`` is the mean absolute difference of perfectly calibrated predictions in such a group.
    """

    division: Annotated[
        str, about("`source`, `version`, `place` (first or later answers), `pause`, `activity` or `topic`", "pause")
    ]
    name: Annotated[str, about("Name of the group within the division", "after more than 12 hours")]
    n: Annotated[int, about("Number of completions", 200)]
    predicted_accuracy: Annotated[float, about("Mean probability that was predicted", 0.69)]
    accuracy: Annotated[float, about("Share of correct answers", 0.714)]
    difference: Annotated[float, about("Predicted less actual share: positive if too confident", -0.024)]
    difference_by_chance: Annotated[float, about("Mean absolute difference of perfect predictions", 0.025)]
    log_loss: Annotated[float, about("Mean negative log-likelihood of the results, in nats", 0.53)]


class CalibrationGroups(Struct, frozen=True):
    """The newest completions of all students, in groups of six divisions."""

    n: Annotated[int, about("Number of completions", 2000)]
    groups: Annotated[list[CalibrationGroup], about("Groups of a division after each other, topics last")]


class Served(Struct, frozen=True):
    """The completions that a version predicted, and their mean log-loss in nats."""

    n: int
    log_loss: float


def by_group(store: AnalyticsStore, limit: int) -> CalibrationGroups:
    """Return the calibration of each group of the ``limit`` newest completions.

    Default predictions count in the division by source only. A topic is a group only if at least five students
    answered on it. At most ``TOPICS_SHOWN`` topics are returned: those with the largest difference relative to the
    one expected by chance.
    """
    served = store.newest_served(limit)
    found = _divided("source", [(answer.source.value, answer) for answer in served])
    judged = [answer for answer in served if answer.source is not Source.DEFAULT]
    found += _divided("version", [(answer.model_version or "unknown", answer) for answer in judged])
    found += _divided("place", [("later answers" if answer.index else "first answers", answer) for answer in judged])
    found += _divided("pause", [(_pause(answer), answer) for answer in judged])
    found += _divided("activity", _by_activity(judged))
    topics = _divided("topic", _of_shared_topics(judged))
    topics.sort(key=lambda group: -abs(group.difference) / group.difference_by_chance)
    return CalibrationGroups(len(served), found + topics[:TOPICS_SHOWN])


def served_by_version(store: AnalyticsStore) -> dict[str, Served]:
    """Return how well each version predicted the newest completions, as its predictions were served."""
    answers = [(answer.model_version, answer) for answer in store.newest_served(NEWEST)]
    known = [(version, answer) for version, answer in answers if version is not None]
    return {group.name: Served(group.n, group.log_loss) for group in _divided("version", known)}


def _divided(division: str, named: Sequence[tuple[str, ServedAnswer]]) -> list[CalibrationGroup]:
    """Return the groups of a division in the order of their names, from answers with the name of their group."""
    groups: dict[str, list[ServedAnswer]] = defaultdict(list)
    for name, answer in named:
        groups[name].append(answer)
    return [_group(division, name, groups[name]) for name in sorted(groups)]


def _group(division: str, name: str, answers: Sequence[ServedAnswer]) -> CalibrationGroup:
    """Return the figures of a group.

    The share of correct answers deviates from the mean chance by sqrt(2 sum(p (1 - p)) / pi) / n on average: the mean
    absolute deviation of a normal distribution.
    """
    n = len(answers)
    # Rows from before predictions had bounds may hold 0 and 1.
    chances = [min(max(answer.predicted_correct, 1e-6), 1 - 1e-6) for answer in answers]
    predicted, actual = sum(chances) / n, sum(answer.is_correct for answer in answers) / n
    variance = sum(chance * (1 - chance) for chance in chances)
    losses = (
        math.log(chance if answer.is_correct else 1 - chance) for chance, answer in zip(chances, answers, strict=True)
    )
    by_chance = math.sqrt(2 * variance / math.pi) / n
    return CalibrationGroup(division, name, n, predicted, actual, predicted - actual, by_chance, -sum(losses) / n)


def _pause(answer: ServedAnswer) -> str:
    if answer.hours_paused is None:
        return "unknown pause"
    return "after more than 12 hours" if answer.hours_paused > LONG_PAUSE_HOURS else "within 12 hours"


def _by_activity(answers: Sequence[ServedAnswer]) -> list[tuple[str, ServedAnswer]]:
    """Name each answer by the tenth of the students that its student is in, sorted by their number of answers."""
    students = sorted({(answer.n_answers, answer.user_id) for answer in answers})
    tenth = {user: 1 + place * N_ACTIVITIES // len(students) for place, (_, user) in enumerate(students)}
    return [(f"tenth {tenth[answer.user_id]:2}", answer) for answer in answers]


def _of_shared_topics(answers: Sequence[ServedAnswer]) -> list[tuple[str, ServedAnswer]]:
    """Name each answer by its topic, without the topics that few students practise."""
    students: dict[str, set[str]] = defaultdict(set)
    named = [(f"{answer.subject}: {answer.topic}", answer) for answer in answers]
    for name, answer in named:
        students[name].add(answer.user_id)
    return [(name, answer) for name, answer in named if len(students[name]) >= MINIMUM_STUDENTS]
