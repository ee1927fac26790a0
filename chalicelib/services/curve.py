"""The chance of success over time, and the moment at which it falls below a target.

The chance is predicted at moments before and after now, with the student's state of now. Between two moments it is
taken as linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import msgspec

from chalicelib.domain.predictions import Prediction, Source
from chalicelib.features.state import StateRow, UserState
from chalicelib.features.summary import Requested
from chalicelib.prediction.predictor import Predictor, predict_at

HOURS = (-1536.0, -768.0, -384.0, -192.0, -96.0, -48.0, -24.0, -6.0, 0.0, 24.0, 72.0, 168.0, 336.0, 720.0)
"""Moments at which topics are predicted, in hours from now."""

BLOCK_TOPICS = 50
"""Topics that are predicted at once, which bounds the memory."""


class Fall(msgspec.Struct, frozen=True):
    """The prediction of now, and when the chance falls below the target; None if it does not within a month."""

    current: Prediction
    due_at: datetime | None


def newest_rows(state: UserState) -> dict[str, StateRow]:
    """Return the row of the last dated answer on each topic key. Topics without a dated answer are left out."""
    newest: dict[str, StateRow] = {}
    for row in state.rows:
        if row.last_at is not None and (row.topic not in newest or row.last_at > _at(newest[row.topic])):
            newest[row.topic] = row
    return newest


def falls(
    predictor: Predictor | None, state: UserState, requested: Requested, target: float, now: datetime
) -> list[Fall | None]:
    """Return the fall of the chance on each topic key and difficulty since the last answer on the topic.

    It is None without a dated answer on the topic. A chance that was not at the target right after that answer cannot
    fall below it.
    """
    if predictor is None:
        return [None] * len(requested)
    found: list[Fall | None] = []
    newest = newest_rows(state)
    for begin in range(0, len(requested), BLOCK_TOPICS):
        block = requested[begin : begin + BLOCK_TOPICS]
        begun = [_at(newest[topic]) if topic in newest else None for topic, _ in block]
        first = min([now, *(at for at in begun if at is not None)])
        moments = [moment for hours in HOURS if (moment := now + timedelta(hours=hours)) >= first]
        predicted = predict_at(predictor, state, block, moments)
        for i, last in enumerate(begun):
            current = predicted[moments.index(now)][i]
            curve = [(at, each[i].correct) for at, each in zip(moments, predicted, strict=True) if last and at >= last]
            crossing = None if current.source is Source.DEFAULT else _crossing(curve, target)
            found.append(None if last is None else Fall(current, crossing))
    return found


def _at(row: StateRow) -> datetime:
    assert row.last_at is not None  # noqa: S101 - narrows a type
    return row.last_at


def _crossing(curve: Sequence[tuple[datetime, float]], target: float) -> datetime | None:
    """Return when a chance that began at the target is below it for the first time, None if it is not."""
    if not curve or curve[0][1] < target:
        return None
    for (start, high), (end, low) in pairwise(curve):
        if low < target:
            return start + (end - start) * ((high - target) / (high - low))
    return None
