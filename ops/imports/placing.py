"""Places answers among those that a student has, by their time, and sums up the state that follows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from chalicelib.features.state import DECAY_ANSWERS, FloatArray
from training_job.history.times import counted_log_seconds


class Placed(NamedTuple):
    """One answer of a student as the state learns from it. ``at`` is in microseconds since 1970 UTC, or None.

    ``place`` counts the student's answers so far from 0; it is None for a new answer.
    """

    task_id: str
    place: int | None
    topic: str
    difficulty: int
    is_correct: bool
    seconds: float | None
    at: int | None


def in_order_of_time(old: Sequence[Placed], new: Sequence[Placed]) -> list[Placed]:
    """Return a student's answers in the order of their times.

    Answers keep the order among those that were there, and among those of the file. An answer without a time belongs to
    the answer before it; those before every time come first. At equal times what was there comes first.
    """
    if not old:
        return [answer for _, answer in sorted(_with_moments(new), key=lambda pair: pair[0])]
    latest = -math.inf
    moments = []
    for moment, answer in _with_moments(old):
        latest = max(latest, moment)
        moments.append((latest, 0, answer))
    moments += [(moment, 1, answer) for moment, answer in _with_moments(new)]
    return [answer for _, _, answer in sorted(moments, key=lambda entry: entry[:2])]


def _with_moments(answers: Iterable[Placed]) -> Iterator[tuple[float, Placed]]:
    moment = -math.inf
    for answer in answers:
        if answer.at is not None:
            moment = answer.at
        yield moment, answer


class StateLine(NamedTuple):
    """A row of ``practice_state``; ``last_at`` is in microseconds since 1970 UTC, or None."""

    user_id: str
    topic: str
    difficulty: int
    attempts: int
    correct: int
    timed: int
    sum_log_seconds: float
    sum_sq_log_seconds: float
    first_index: int
    last_index: int
    last_correct: bool
    last_at: int | None
    decayed: FloatArray


def states(histories: Iterable[tuple[str, Sequence[Placed]]]) -> Iterator[StateLine]:
    """Give the state after whole histories, as repeated :func:`chalicelib.features.state.advance` would.

    All answers are summed up at once, because one at a time takes five times as long as storing them.
    """
    codes: dict[tuple[str, str, int], int] = {}
    group, index, right, seconds, at = [], [], [], [], []
    for user, answers in histories:
        for n, answer in enumerate(answers):
            group.append(codes.setdefault((user, answer.topic, answer.difficulty), len(codes)))
            index.append(n)
            right.append(answer.is_correct)
            seconds.append(answer.seconds or 0.0)
            at.append(answer.at)
    if not group:
        return
    order = np.argsort(np.array(group), kind="stable")
    groups, indices = np.array(group)[order], np.array(index)[order]
    outcome, time = np.array(right, float)[order], np.array(seconds)[order]
    timed = time > 0
    log_seconds = counted_log_seconds(np.log(np.where(timed, time, 1.0)), timed, groups)
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    ends = np.r_[starts[1:], len(groups)]
    sizes = ends - starts
    age = np.repeat(indices[ends - 1], sizes) - indices
    steps = np.stack([outcome, 1.0 - outcome, log_seconds, timed.astype(float)])
    kept = np.exp(-age[:, None] / DECAY_ANSWERS)
    decayed = np.add.reduceat(steps[:, :, None] * kept, starts, axis=1).transpose(1, 0, 2)
    sums = np.add.reduceat(np.stack([*steps[[0, 2, 3]], log_seconds**2]), starts, axis=1)
    for n, (user, topic, difficulty) in enumerate(codes):
        correct, log_sum, n_timed, log_squares = sums[:, n]
        yield StateLine(
            user, topic, difficulty, int(sizes[n]), int(correct), int(n_timed), float(log_sum), float(log_squares),
            int(indices[starts[n]]), int(indices[ends[n] - 1]), bool(outcome[ends[n] - 1]), at[order[ends[n] - 1]],
            decayed[n],
        )  # fmt: skip
