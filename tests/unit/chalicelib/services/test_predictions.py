"""The reason that the log gives for a prediction that the networks did not make."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from chalicelib.features.state import Answer, UserState, replay
from chalicelib.prediction.predictor import Predictor, predict
from chalicelib.services.predictions import fallback_reason
from tests.support.archives import overflowing, version_files

NOW = datetime(2026, 1, 31, tzinfo=UTC)
NEWCOMER = UserState("newcomer", 0, ())
PRACTISED = replay("student", [Answer("topic 1", 2, True, 30.0, NOW)] * 30)
VERSION = Predictor.from_files(version_files())
OVERFLOWING = overflowing()


@pytest.mark.parametrize(
    ("predictor", "state", "topic", "reason"),
    [
        (VERSION, PRACTISED, "topic 0", None),
        (VERSION, NEWCOMER, "topic 0", "new student"),
        (VERSION, PRACTISED, "elsewhere", "new topic"),
        (VERSION, NEWCOMER, "elsewhere", "all new"),
        (OVERFLOWING, PRACTISED, "topic 0", "networks failed"),
        (None, PRACTISED, "topic 0", "no model"),
    ],
)
def test_a_fallback_names_its_reason(
    predictor: Predictor | None, state: UserState, topic: str, reason: str | None
) -> None:
    prediction = predict(predictor, state, topic, 2, NOW)
    assert fallback_reason(prediction, predictor, state, topic) == reason
