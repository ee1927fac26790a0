"""When the chance of a topic falls below the target."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from chalicelib.domain.predictions import Prediction, Source
from chalicelib.features.state import Answer, UserState, replay
from chalicelib.ports import TopicChoice
from chalicelib.prediction.predictor import Predictor
from chalicelib.services.due import falling

NOW = datetime(2026, 1, 31, tzinfo=UTC)
ALGEBRA = TopicChoice("Maths", "Algebra", "algebra", True)


class Forgetting:
    """Predicts a chance that falls by a share of one for each day since the last answer."""

    def __init__(self, start: float, per_day: float, source: Source = Source.EMBEDDING) -> None:
        self.start, self.per_day, self.source = start, per_day, source

    def predict_at(
        self, state: UserState, requested: Any, moments: Sequence[datetime], _items: Any
    ) -> list[list[Prediction]]:
        [row] = state.rows
        assert row.last_at is not None
        days = [max((moment - row.last_at).total_seconds() / 86_400, 0.0) for moment in moments]
        chances = [max(self.start - self.per_day * passed, 0.01) for passed in days]
        return [[Prediction(chance, 30, 20, 40, self.source, "v1") for _ in requested] for chance in chances]


def due_days(model: Forgetting | None, days_ago: float) -> float | None:
    """Return the days from now until the topic is due, None if it is not."""
    answers = [Answer("algebra", 2, True, 30.0, NOW - timedelta(days=days_ago))]
    found = falling(cast(Predictor, model), replay("ada", answers), [ALGEBRA], 0.75, NOW)
    assert len(found) <= 1
    return (found[0].due_at - NOW).total_seconds() / 86_400 if found else None


@pytest.mark.parametrize(
    ("start", "per_day", "days_ago", "expected"),
    [
        (0.95, 0.05, 10, -6),  # it fell below four days after the answer
        (0.95, 0.05, 1, 3),
        (0.95, 0.05, 0, 4),
        (0.95, 0.001, 1, None),  # not within a month
        (0.70, 0.05, 3, None),  # never at the target, so it cannot fall below it
    ],
)
def test_a_topic_is_due_when_its_chance_crosses_the_target(
    start: float, per_day: float, days_ago: float, expected: float | None
) -> None:
    found = due_days(Forgetting(start, per_day), days_ago)
    assert found == (None if expected is None else pytest.approx(expected, abs=0.01))


def test_without_a_model_nothing_is_due() -> None:
    assert due_days(None, 10) is None
    assert due_days(Forgetting(0.95, 0.05, Source.DEFAULT), 10) is None


def test_topics_without_dated_answers_are_not_due() -> None:
    state = replay("ada", [Answer("algebra", 2, True, 30.0, None)])
    assert falling(cast(Predictor, Forgetting(0.95, 0.05)), state, [ALGEBRA], 0.75, NOW) == []
