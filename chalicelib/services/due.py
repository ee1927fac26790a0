"""Finds topics that are due: the chance of success was at the target after the last practice, and has fallen since.

The chance is predicted at moments before and after now, with the student's state of now. Between two moments it is
taken as linear. A topic is predicted at the difficulty at which it was practised last.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Annotated

import msgspec

from chalicelib.domain.fields import SubjectText, TopicText, about
from chalicelib.domain.predictions import Probability, Source
from chalicelib.domain.tasks import Difficulty, DifficultyField
from chalicelib.features.state import StateRow, UserState
from chalicelib.ports import RecommendationStore, TaskStore, TopicChoice
from chalicelib.prediction.predictor import Predictor, predict_at
from chalicelib.services.champion import ChampionCache
from chalicelib.services.recommendations import MAX_OWN_TOPICS

HOURS = (-1536.0, -768.0, -384.0, -192.0, -96.0, -48.0, -24.0, -6.0, 0.0, 24.0, 72.0, 168.0, 336.0, 720.0)
"""Moments at which topics are predicted, in hours from now."""


class DueTopic(msgspec.Struct, frozen=True):
    """A topic of the student whose chance of success falls below the target at ``due_at``."""

    subject: SubjectText
    topic: TopicText
    difficulty: DifficultyField
    predicted_correct: Probability
    last_practised_at: Annotated[
        datetime, about("Time of the last answer on the topic", "2026-03-01T09:00:00Z", "date-time")
    ]
    due_at: Annotated[
        datetime, about("Time at which the chance falls below the target", "2026-03-09T09:00:00Z", "date-time")
    ]


def due_topics(
    store: RecommendationStore,
    tasks: TaskStore,
    champion: ChampionCache,
    user_id: str,
    target: float,
    limit: int,
) -> list[DueTopic]:
    """Return up to ``limit`` of the student's latest topics with the time at which they are due, earliest first.

    Topics that never were at the target, or that stay there for a month, are left out.
    """
    context = tasks.prediction_context(user_id)
    predictor = champion.current(context.model_version)
    own = [choice for choice in store.topics(user_id, None, MAX_OWN_TOPICS, 0) if choice.own]
    found = falling(predictor, context.state, own, target, datetime.now(UTC))
    return sorted(found, key=lambda topic: topic.due_at)[:limit]


def falling(
    predictor: Predictor | None, state: UserState, choices: Sequence[TopicChoice], target: float, now: datetime
) -> list[DueTopic]:
    """Return the topics whose chance falls below the target after their last answer, in the order of ``choices``."""
    newest: dict[str, tuple[datetime, StateRow]] = {}
    for row in state.rows:
        if row.last_at is not None and (row.topic not in newest or row.last_at > newest[row.topic][0]):
            newest[row.topic] = (row.last_at, row)
    practised = [(choice, *newest[choice.topic_key]) for choice in choices if choice.topic_key in newest]
    if predictor is None or not practised:
        return []
    first = min(now, *(last for _, last, _ in practised))
    moments = [moment for hours in HOURS if (moment := now + timedelta(hours=hours)) >= first]
    requested = [(choice.topic_key, row.difficulty) for choice, _, row in practised]
    predicted = predict_at(predictor, state, requested, moments)
    found = []
    for i, (choice, last, row) in enumerate(practised):
        curve = [(at, each[i].correct) for at, each in zip(moments, predicted, strict=True) if at >= last]
        current = predicted[moments.index(now)][i]
        at = None if current.source is Source.DEFAULT else _crossing(curve, target)
        if at is not None:
            level = Difficulty.from_numeric(row.difficulty)
            found.append(DueTopic(choice.subject, choice.topic, level, current.correct, last, at))
    return found


def _crossing(curve: Sequence[tuple[datetime, float]], target: float) -> datetime | None:
    """Return when a chance that began at the target is below it for the first time, None if it is not."""
    if not curve or curve[0][1] < target:
        return None
    for (start, high), (end, low) in pairwise(curve):
        if low < target:
            return start + (end - start) * ((high - target) / (high - low))
    return None
