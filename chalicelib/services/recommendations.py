"""What to practise next: topics and difficulties at which success is predicted near the chance that a student wants.

The candidates are the topics that the student practised lately and those that others practise, at all four
difficulties, so that their number is bounded. Each is predicted by the same chain as a task would be. The score is

    1 - |predicted - target| + FORGETTING_BONUS * (share known) * 4 r (1 - r)

where r is the chance that what was learnt on the topic is still there. The bonus is greatest for what was known well
and is half forgotten by now; what is fresh, was never known, or is long gone gets nothing. r halves with every
half-life, which doubles with each success on the topic and is halved by each failure: a half-life regression with
fixed weights (Settles and Meeder 2016, "A trainable spaced repetition model for language learning").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from chalicelib.domain.predictions import Prediction, Source
from chalicelib.domain.tasks import Difficulty, name_key
from chalicelib.features.state import StateRow, UserState
from chalicelib.ports import RecommendationStore, TaskStore, TopicChoice
from chalicelib.prediction.predictor import Predictor, predict_many
from chalicelib.services.champion import ChampionCache

MAX_TOPICS = 50
"""Topics that are considered, at four difficulties each."""

MAX_OWN_TOPICS = 40
"""How many of them may be the student's own, so that there is always something new to meet."""

FORGETTING_BONUS = 0.15
"""The most that forgetting adds to a score: it outweighs this much distance from the target."""

FIRST_HALF_LIFE_DAYS = 2.0
"""Half-life of what was answered as often right as wrong."""

MAX_HALVINGS, MAX_DOUBLINGS = 2, 6
"""Failures halve and successes double the half-life up to these, so it lies between half a day and 128 days."""

NOTABLE_BONUS = 0.05
"""From here on the reason speaks of forgetting."""


class Candidate(msgspec.Struct, frozen=True):
    """One topic and difficulty with what is predicted on it.

    ``retention`` is the chance that the topic is still remembered, ``known`` the smoothed share of right answers on
    it, ``days`` since the last one; all None where the student has no dated answers on it.
    """

    choice: TopicChoice
    difficulty: Difficulty
    prediction: Prediction
    retention: float | None
    known: float | None
    days: float | None


class Recommendation(msgspec.Struct, frozen=True):
    """One thing to practise. ``score`` is greater for what fits better; ``reason`` says why in a sentence."""

    subject: str
    topic: str
    difficulty: Difficulty
    predicted_correct: float
    predicted_time_seconds: int
    prediction_source: Source
    score: float
    reason: str


def recommend(
    store: RecommendationStore,
    tasks: TaskStore,
    champion: ChampionCache,
    user_id: str,
    subject: str | None,
    target: float,
    limit: int,
) -> list[Recommendation]:
    """The best ``limit`` things to practise for a ``target`` chance of success, of one subject or of all."""
    context = tasks.prediction_context(user_id)
    choices = store.topics(user_id, None if subject is None else name_key(subject), MAX_OWN_TOPICS, MAX_TOPICS)
    found = candidates(champion.current(context.model_version), context.state, choices[:MAX_TOPICS], datetime.now(UTC))
    return rank(found, target, limit)


def candidates(
    predictor: Predictor | None, state: UserState, choices: Iterable[TopicChoice], now: datetime
) -> list[Candidate]:
    """Every choice at every difficulty, predicted."""
    by_topic: dict[str, list[StateRow]] = {}
    for row in state.rows:
        by_topic.setdefault(row.topic, []).append(row)
    pairs = [(choice, difficulty) for choice in choices for difficulty in Difficulty]
    requested = [(choice.topic_key, difficulty.numeric) for choice, difficulty in pairs]
    predictions = predict_many(predictor, state, requested, now)
    return [
        Candidate(choice, difficulty, prediction, *remembered(by_topic.get(choice.topic_key, ()), now))
        for (choice, difficulty), prediction in zip(pairs, predictions, strict=True)
    ]


def remembered(rows: Sequence[StateRow], now: datetime) -> tuple[float | None, float | None, float | None]:
    """(retention, known, days) of a topic from its rows, see :class:`Candidate`."""
    last = max((row.last_at for row in rows if row.last_at is not None), default=None)
    if last is None:
        return None, None, None
    attempts, correct = sum(row.attempts for row in rows), sum(row.correct for row in rows)
    doublings = max(-MAX_HALVINGS, min(2 * correct - attempts, MAX_DOUBLINGS))
    days = max((now - last).total_seconds(), 0.0) / 86_400
    retention = 2.0 ** -(days / (FIRST_HALF_LIFE_DAYS * 2.0**doublings))
    return retention, (correct + 1) / (attempts + 2), days


def rank(found: Iterable[Candidate], target: float, limit: int) -> list[Recommendation]:
    """The ``limit`` candidates with the greatest scores, best first; equal ones in the order in which they came."""
    scored = [(_score(candidate, target), candidate) for candidate in found]
    scored.sort(key=lambda pair: -pair[0])
    return [_recommendation(score, candidate, target) for score, candidate in scored[:limit]]


def bonus(candidate: Candidate) -> float:
    """What forgetting adds to a score, 0 to :data:`FORGETTING_BONUS`."""
    if candidate.retention is None or candidate.known is None:
        return 0.0
    return FORGETTING_BONUS * candidate.known * 4.0 * candidate.retention * (1.0 - candidate.retention)


def _score(candidate: Candidate, target: float) -> float:
    # Rounded, so that candidates that differ by nothing visible stay in their order.
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
        return f"There is no prediction of {_whose(candidate)} yet; practising it gives one."
    expected = f"your chance of success is {chance} %, for a target of {requested} %"
    if bonus(candidate) >= NOTABLE_BONUS and candidate.days is not None:
        return f"You last practised this {_ago(candidate.days)} and are about to forget it; {expected}."
    if candidate.choice.own:
        return f"On this topic of yours, {expected}."
    return f"Others practise this and you have not yet; {expected}."


def _whose(candidate: Candidate) -> str:
    return "this topic of yours" if candidate.choice.own else "this topic, which others practise,"


def _ago(days: float) -> str:
    if days < 2.0:
        hours = max(round(24 * days), 1)
        return "an hour ago" if hours == 1 else f"{hours} hours ago"
    return f"{round(days)} days ago"
