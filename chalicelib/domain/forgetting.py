"""Forgetting in LNIRT: how much less likely a correct answer is after a pause.

    logit -= rate(topic) * (log(1 + hours) - typical(topic)) + short * (1 - exp(-hours / 0.1) - typical)
    logit -= pause * (log(1 + hours since any answer) - typical)

``hours`` are those since the student's last answer on the topic. The logarithm is the power law of forgetting (Wixted
and Ebbesen 1991, "On the form of forgetting"); the exponential is what is remembered for minutes only. After a pause
from all topics, a student also has to get back into practice. No factor is negative, so waiting never raises a
prediction. ``typical`` values are the means of the training's answers: an answer whose pause is not known counts as
one after a typical pause.
"""

from __future__ import annotations

import math
from functools import cached_property

import msgspec
import numpy as np

from chalicelib.domain.numerics import Column, FloatArray, Functions, Row, functions_for, table_columns

SHORT_HOURS = 0.1
"""Time constant of what is remembered for minutes only."""


class Forgetting(msgspec.Struct, frozen=True, dict=True, eq=False):
    """The rates of forgetting for T topics, the average topic, and those of S subjects. None is negative."""

    rate: FloatArray
    """Logits lost per unit of log(1 + hours) since the last answer on the topic. Shape (T+1+S,)."""
    typical: FloatArray
    """Mean log(1 + hours) of the answers on the topic. Shape (T+1+S,)."""
    short: float
    """Logits lost within minutes."""
    typical_short: float
    pause: float
    """Logits lost per unit of log(1 + hours) since the last answer on any topic."""
    typical_pause: float

    @cached_property
    def by_row(self) -> FloatArray:
        """Rate and typical value of each row, side by side. Shape (T+1+S, 2)."""
        return np.column_stack([self.rate, self.typical])

    def effect(self, topic_row: Row, hours_since_topic: Column, hours_since_any: Column) -> Column:
        """Return the change of the logit after these hours, which are NaN where they are not known."""
        f = functions_for(topic_row)
        rate, typical = table_columns(self.by_row, topic_row)
        (lasting, short), (pause, _) = (parts_of(hours, f) for hours in (hours_since_topic, hours_since_any))
        on_topic = rate * (typical - lasting) + self.short * (self.typical_short - short)
        since_any = self.pause * (self.typical_pause - pause)
        return _where_known(hours_since_topic, on_topic, f) + _where_known(hours_since_any, since_any, f)

    def retention(self, topic_row: int, hours_since_topic: float, hours_since_any: float) -> float:
        """Return the share of the odds of a correct answer that is left after known hours, without the short memory."""
        lost = self.rate[topic_row] * math.log1p(hours_since_topic) + self.pause * math.log1p(hours_since_any)
        return math.exp(-float(lost))


def parts_of(hours: Column, f: Functions) -> tuple[Column, Column]:
    """Return log(1 + hours) and the part of the short memory that is lost, both 0 where hours are NaN."""
    elapsed = f.where(hours == hours, hours, 0.0)  # NaN is not equal to itself
    return f.log1p(elapsed), 1.0 - f.exp(elapsed / -SHORT_HOURS)


def _where_known(hours: Column, value: Column, f: Functions) -> Column:
    return f.where(hours == hours, value, 0.0)
