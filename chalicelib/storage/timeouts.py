"""The time-outs of connections to PostgreSQL."""

from __future__ import annotations

from typing import NamedTuple

from chalicelib.config import Settings


class Timeouts(NamedTuple):
    """Seconds after which something is given up.

    This program stops waiting to connect, and for an answer. With the defaults an attempt and its repetition end within
    10 seconds. PostgreSQL stops a statement, the wait for a lock, and a transaction in which nothing happens; there 0
    is no limit.
    """

    connect: float = 4.0
    answer: float = 4.0
    statement: float = 0.0
    lock: float = 0.0
    idle_transaction: float = 0.0


DEFAULT = Timeouts()


def timeouts_of(settings: Settings) -> Timeouts:
    """Return the time-outs of requests."""
    return Timeouts(
        settings.connect_seconds,
        settings.answer_seconds,
        settings.statement_seconds,
        settings.lock_seconds,
        settings.idle_transaction_seconds,
    )


def patient(settings: Settings, answer: float | None = None) -> Timeouts:
    """Return the time-outs of an operator's commands, which may take long and hold locks."""
    return Timeouts(settings.connect_seconds, answer or settings.answer_seconds)
