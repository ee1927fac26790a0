"""Recommends topics and difficulties to practise: those whose predicted success is near a target.

The candidates are the student's latest topics and topics of other students, at all four difficulties. Each is predicted
like a task. The score is

    1 - |predicted - target| + FORGETTING_BONUS * (share known) * 4 r (1 - r)

where r, the retention, is the share that the student still remembers of the topic. The bonus is greatest for a topic
that was known well and is half forgotten. It is near 0 for a topic that is fresh, was never known, or is long
forgotten. r comes from the forgetting of the version that predicts
(:meth:`chalicelib.domain.forgetting.Forgetting.retention`). If the version has none, r halves with every half-life;
each success on the topic doubles the half-life, and each failure halves it. This is half-life regression with fixed
weights (Settles and Meeder 2016, "A trainable spaced repetition model for language learning").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec.structs import replace

from chalicelib.domain.fields import DueAt, SubjectText, TopicText, about
from chalicelib.domain.predictions import MedianTime, Prediction, PredictionSource, Probability, Source
from chalicelib.domain.tasks import Difficulty, DifficultyField, name_key
from chalicelib.domain.topics import topic_key
from chalicelib.features.state import StateRow, UserState
from chalicelib.ports import RecommendationStore, TaskStore, TopicChoice
from chalicelib.prediction.predictor import Predictor, predict_many
from chalicelib.services.champion import ChampionCache
from chalicelib.services.curve import falls

MAX_TOPICS = 50
"""Maximum number of topics among the candidates."""

MAX_OWN_TOPICS = 40
"""Maximum number of the student's own topics among them, so that there is room for new ones."""

FORGETTING_BONUS = 0.15
"""Maximum bonus of a score for forgetting, in units of distance from the target."""

FIRST_HALF_LIFE_DAYS = 2.0
"""Half-life after as many successes as failures."""

MAX_HALVINGS, MAX_DOUBLINGS = 2, 6
"""Limits of the halvings and doublings, so that the half-life lies between half a day and 128 days."""

HOURS_A_DAY = 24.0

NOTABLE_BONUS = 0.05
"""Minimum bonus for which the reason mentions forgetting."""


class Candidate(msgspec.Struct, frozen=True):
    """A topic and difficulty with its prediction.

    ``retention`` is the share of the topic that is still remembered, ``known`` the smoothed share of correct answers
    on it, and ``days`` the time since the last answer. All three are None without dated answers on the topic.
    """

    choice: TopicChoice
    difficulty: Difficulty
    prediction: Prediction
    retention: float | None
    known: float | None
    days: float | None


_EXAMPLE = "Your chance of success is 71 %; the target is 75 %."


class Recommendation(msgspec.Struct, frozen=True):
    """A topic and difficulty to practise. A greater ``score`` is better. ``reason`` is a sentence for the student.

    ``due_at`` is null if the chance was not at the target after the last answer, or does not fall below it.
    """

    subject: SubjectText
    topic: TopicText
    difficulty: DifficultyField
    predicted_correct: Probability
    predicted_time_seconds: MedianTime
    prediction_source: PredictionSource
    score: Annotated[float, about("Nearness of the probability to the target, with a bonus for forgetting", 0.96)]
    reason: Annotated[str, about("Reason as a sentence for the student", _EXAMPLE)]
    due_at: DueAt | None = None


def recommend(
    store: RecommendationStore,
    tasks: TaskStore,
    champion: ChampionCache,
    user_id: str,
    subject: str | None,
    target: float,
    limit: int,
) -> list[Recommendation]:
    """Return the best ``limit`` recommendations for a ``target`` probability of success.

    None as the ``subject`` means all subjects.
    """
    context = tasks.prediction_context(user_id)
    choices = store.topics(user_id, None if subject is None else name_key(subject), MAX_OWN_TOPICS, MAX_TOPICS)
    predictor, state, now = champion.current(context.model_version), context.state, datetime.now(UTC)
    ranked = rank(candidates(predictor, state, choices[:MAX_TOPICS], now), target, limit)
    requested = [(topic_key(one.subject, one.topic), Difficulty(one.difficulty).numeric) for one in ranked]
    return [
        replace(one, due_at=None if fall is None else fall.due_at)
        for one, fall in zip(ranked, falls(predictor, state, requested, target, now), strict=True)
    ]


def candidates(
    predictor: Predictor | None, state: UserState, choices: Iterable[TopicChoice], now: datetime
) -> list[Candidate]:
    """Return a prediction of every topic at every difficulty."""
    by_topic: dict[str, list[StateRow]] = {}
    for row in state.rows:
        by_topic.setdefault(row.topic, []).append(row)
    pairs = [(choice, difficulty) for choice in choices for difficulty in Difficulty]
    requested = [(choice.topic_key, difficulty.numeric) for choice, difficulty in pairs]
    predictions = predict_many(predictor, state, requested, now)
    found = [
        Candidate(choice, difficulty, prediction, *remembered(by_topic.get(choice.topic_key, ()), now))
        for (choice, difficulty), prediction in zip(pairs, predictions, strict=True)
    ]
    if predictor is None or (forgetting := predictor.lnirt.forgetting) is None:
        return found
    _, _, idle = remembered([row for rows in by_topic.values() for row in rows], now)
    return [
        one
        if one.days is None or idle is None
        else replace(
            one,
            retention=forgetting.retention(
                predictor.lnirt.topic_row(one.choice.topic_key), HOURS_A_DAY * one.days, HOURS_A_DAY * idle
            ),
        )
        for one in found
    ]


def remembered(rows: Sequence[StateRow], now: datetime) -> tuple[float | None, float | None, float | None]:
    """Return (retention, known, days) from the rows of a topic. See :class:`Candidate`."""
    last = max((row.last_at for row in rows if row.last_at is not None), default=None)
    if last is None:
        return None, None, None
    attempts, correct = sum(row.attempts for row in rows), sum(row.correct for row in rows)
    doublings = max(-MAX_HALVINGS, min(2 * correct - attempts, MAX_DOUBLINGS))
    days = max((now - last).total_seconds(), 0.0) / 86_400
    retention = 2.0 ** -(days / (FIRST_HALF_LIFE_DAYS * 2.0**doublings))
    return retention, (correct + 1) / (attempts + 2), days


def rank(found: Iterable[Candidate], target: float, limit: int) -> list[Recommendation]:
    """Return the ``limit`` candidates with the greatest scores, best first. Ties stay in their order."""
    scored = [(_score(candidate, target), candidate) for candidate in found]
    scored.sort(key=lambda pair: -pair[0])
    return [_recommendation(score, candidate, target) for score, candidate in scored[:limit]]


def bonus(candidate: Candidate) -> float:
    """Return the bonus for forgetting, 0 to :data:`FORGETTING_BONUS`."""
    if candidate.retention is None or candidate.known is None:
        return 0.0
    return FORGETTING_BONUS * candidate.known * 4.0 * candidate.retention * (1.0 - candidate.retention)


def _score(candidate: Candidate, target: float) -> float:
    # Rounded, so that candidates whose scores look equal stay in their order.
    return round(1.0 - abs(candidate.prediction.correct - target) + bonus(candidate), 4)


def _recommendation(score: float, candidate: Candidate, target: float) -> Recommendation:
    prediction = candidate.prediction
    return Recommendation(
        candidate.choice.subject,
        candidate.choice.topic,
        candidate.difficulty,
        prediction.correct,
        prediction.seconds,
        prediction.source,
        score,
        _reason(candidate, target),
    )


def _reason(candidate: Candidate, target: float) -> str:
    chance, requested = round(100 * candidate.prediction.correct), round(100 * target)
    if candidate.prediction.source is Source.DEFAULT:
        known = "You have practised this before" if candidate.choice.own else "Other students practise this"
        return f"{known}. There is no prediction for it yet."
    expected = f"Your chance of success is {chance} %; the target is {requested} %."
    if bonus(candidate) >= NOTABLE_BONUS and candidate.days is not None:
        return f"You last practised this {_ago(candidate.days)} and may be forgetting it. {expected}"
    return expected if candidate.choice.own else f"Other students practise this and you have not yet. {expected}"


def _ago(days: float) -> str:
    if days < 2.0:
        hours = max(round(24 * days), 1)
        return "an hour ago" if hours == 1 else f"{hours} hours ago"
    return f"{round(days)} days ago"
