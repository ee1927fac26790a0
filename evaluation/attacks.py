"""Attacks on the training: hostile accounts whose answers are added to those of honest students.

Hostile accounts look like honest ones in everything but their outcomes: most copy the topics, difficulties, times and
places in the order of a random honest student. An attacker who knows the defences can do no better than that by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import IntArray
from training_job.history.answers import COLUMN_TYPES, AnswerTable, Rows

Outcomes = Callable[[Rows, np.random.Generator], Rows]
"""Returns the hostile outcomes (n,) for the honest ones (n,)."""

HEAVY_SHARE = 0.3
"""Share of all answers that the heavy account gives."""

NEWEST_SHARE = 0.25
"""Hostile answers per honest answer in the attack on the hold-out. They are more than the newest fifth of the sum."""

BURST_ANSWERS = 20
"""Number of answers that each account of a burst gives on the thin topic."""

MIN_THIN_STUDENTS = 20
"""Minimum number of honest students on the thin topic."""


def random(correct: Rows, rng: np.random.Generator) -> Rows:
    """Return outcomes of a coin."""
    drawn: Rows = rng.random(len(correct)) < 0.5
    return drawn


def wrong(correct: Rows, _: np.random.Generator) -> Rows:
    """Return only incorrect outcomes."""
    return np.zeros_like(correct)


def inverted(correct: Rows, _: np.random.Generator) -> Rows:
    """Return the opposite outcomes."""
    return ~correct


@dataclass(frozen=True, slots=True)
class Attack:
    """A kind of attack by a number of accounts."""

    kind: str
    accounts: int

    def on(self, honest: AnswerTable, seed: int) -> AnswerTable:
        """Return the answers of honest students and of the attack together."""
        rng = np.random.default_rng(seed)
        if self.kind == "burst":
            return _with(honest, *_burst(honest, self.accounts, rng))
        if self.kind == "heavy":
            n = round(len(honest) * HEAVY_SHARE / (1.0 - HEAVY_SHARE))
            rows = rng.integers(len(honest), size=n)
            return _with(honest, rows, np.zeros(n, dtype=np.int64), inverted(honest.is_correct[rows], rng))
        if self.kind == "newest":
            n = round(len(honest) * NEWEST_SHARE)
            rows = rng.integers(len(honest), size=n)
            late = replace(honest, order=honest.order + int(honest.order.max()) + 1)
            hostile = inverted(honest.is_correct[rows], rng)
            return _with(honest, rows, rng.integers(self.accounts, size=n), hostile, source=late)
        outcomes: Outcomes = {"random": random, "wrong": wrong, "inverted": inverted}[self.kind]
        rows, account = _copies(honest, self.accounts, rng)
        return _with(honest, rows, account, outcomes(honest.is_correct[rows], rng))


def attacks(students: int) -> list[Attack]:
    """Return all attacks on a number of training students: 1 % and 10 % of them, 20 accounts, and one heavy account."""
    sizes = {max(1, round(0.01 * students)), 20, tenth(students)}
    kinds = ("random", "wrong", "inverted", "burst", "newest")
    return [Attack("heavy", 1), *(Attack(kind, size) for kind in kinds for size in sorted(sizes))]


def tenth(students: int) -> int:
    """Return the number of hostile accounts in the attacks by 10 %."""
    return max(1, round(0.1 * students))


def thin_topic(honest: AnswerTable) -> int:
    """Return the code of the topic with the fewest students, of those with MIN_THIN_STUDENTS if there are any."""
    pairs = np.unique(honest.topic.astype(np.int64) * len(honest.user_ids) + honest.user) // len(honest.user_ids)
    students = np.bincount(pairs, minlength=len(honest.topics))
    enough = students >= min(MIN_THIN_STUDENTS, int(students.max()))
    return int(np.where(enough, students, np.iinfo(np.int64).max).argmin())


def _copies(honest: AnswerTable, accounts: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Return the rows of random honest students, and the numbers of the accounts that copy them. (n,) each."""
    copied = rng.choice(np.unique(honest.user), accounts, replace=accounts > len(np.unique(honest.user)))
    parts = [np.flatnonzero(honest.user == user) for user in copied]
    return np.concatenate(parts), np.repeat(np.arange(accounts), [len(part) for part in parts])


def _burst(honest: AnswerTable, accounts: int, rng: np.random.Generator) -> tuple[IntArray, IntArray, Rows]:
    """Return copied rows, accounts and outcomes (n,) of accounts that answer on the thin topic only."""
    on_topic = np.flatnonzero(honest.topic == thin_topic(honest))
    n = accounts * BURST_ANSWERS
    outcome = honest.is_correct[on_topic].mean() < 0.5
    return rng.choice(on_topic, n), np.repeat(np.arange(accounts), BURST_ANSWERS), np.full(n, outcome)


def _with(
    honest: AnswerTable,
    rows: IntArray,
    account: IntArray,
    hostile: npt.NDArray[np.bool_],
    source: AnswerTable | None = None,
) -> AnswerTable:
    """Return the honest answers with copies of ``rows`` (n,) of ``source``, under new ``account`` (n,) numbers."""
    source = source or honest
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(honest, name), getattr(source, name)[rows]]) for name in COLUMN_TYPES
    }
    columns["user"] = np.concatenate([honest.user, len(honest.user_ids) + account])
    columns["is_correct"] = np.concatenate([honest.is_correct, hostile])
    accounts = tuple(f"hostile {number}" for number in range(int(account.max()) + 1))
    return AnswerTable.from_columns(user_ids=honest.user_ids + accounts, topics=honest.topics, **columns)
