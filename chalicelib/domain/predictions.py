"""A prediction and its source."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from chalicelib.domain.fields import about

DEFAULT_CORRECT = 0.5
"""Predicted probability of a correct answer of the default prediction."""

DEFAULT_SECONDS = 60
"""Predicted seconds of the default prediction."""


class Source(StrEnum):
    """The step of the fallback chain that made a prediction."""

    EMBEDDING = "embedding"
    LNIRT = "lnirt"
    DEFAULT = "default"


Probability = Annotated[float, about("Predicted probability of a correct answer", 0.71, ge=0, le=1)]
MedianTime = Annotated[int, about("Predicted median time, in seconds", 48)]
LowTime = Annotated[
    int, about("10 % of the times are predicted to be shorter, in seconds; null where nothing is known of times", 21)
]
HighTime = Annotated[
    int, about("10 % of the times are predicted to be longer, in seconds; null where nothing is known of times", 110)
]
PredictionSource = Annotated[
    Source, about("Maker of the prediction: the networks, the statistical model, or the default (0.5 and 60 seconds)")
]
PredictingVersion = Annotated[
    str, about("Model version that predicted; null for the default prediction", "20260301T101500Z-1b9d6bcd")
]


class Prediction(msgspec.Struct, frozen=True):
    """The expected result of a student on a task.

    ``correct`` is a probability in 0..1; ``seconds`` the median time in whole seconds, with an 80 % interval
    from ``seconds_low`` to ``seconds_high`` where the model gives one.
    """

    correct: float
    seconds: int
    seconds_low: int | None
    seconds_high: int | None
    source: Source
    model_version: str | None

    @property
    def lnirt_model_version(self) -> str:
        """``embedding_<version>``, ``lnirt_<version>`` or ``fallback_default``."""
        if self.source is Source.DEFAULT or self.model_version is None:
            return "fallback_default"
        return f"{self.source.value}_{self.model_version}"


DEFAULT_PREDICTION = Prediction(
    correct=DEFAULT_CORRECT,
    seconds=DEFAULT_SECONDS,
    seconds_low=None,
    seconds_high=None,
    source=Source.DEFAULT,
    model_version=None,
)
