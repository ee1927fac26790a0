"""Finds topics that are due: the chance of success was at the target after the last practice, and has fallen since.

A topic is predicted at the difficulty at which it was practised last.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from chalicelib.domain.fields import SubjectText, TopicText, about
from chalicelib.domain.predictions import Probability
from chalicelib.domain.tasks import Difficulty, DifficultyField
from chalicelib.features.state import UserState
from chalicelib.ports import RecommendationStore, TaskStore, TopicChoice
from chalicelib.prediction.predictor import Predictor
from chalicelib.services.champion import ChampionCache
from chalicelib.services.curve import falls, newest_rows
from chalicelib.services.recommendations import MAX_OWN_TOPICS


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
    newest = newest_rows(state)
    practised = [(choice, newest[choice.topic_key]) for choice in choices if choice.topic_key in newest]
    requested = [(choice.topic_key, row.difficulty) for choice, row in practised]
    found = []
    for (choice, row), fall in zip(practised, falls(predictor, state, requested, target, now), strict=True):
        if fall is not None and fall.due_at is not None and row.last_at is not None:
            level = Difficulty.from_numeric(row.difficulty)
            correct = fall.current.correct
            found.append(DueTopic(choice.subject, choice.topic, level, correct, row.last_at, fall.due_at))
    return found
