"""Simulated students, for the demonstration, the benchmarks and the tests.

They answer by a lognormal response time model with practice (van der Linden 2007, Psychometrika 72, 287-308):
correct with probability 1 / (1 + exp(-a (ability + gain - b))), in exp(beta - speed + noise) seconds, where the gain
grows with the logarithm of the earlier attempts on the topic. The same seed gives the same answers.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np

from chalicelib.domain.tasks import MAX_SECONDS, Difficulty

SUBJECT = "Mathematics"
TOPICS = ("Algebra", "Geometry", "Fractions", "Probability", "Functions", "Statistics", "Trigonometry")

_LEVELS = tuple(Difficulty)
_PRACTICE_GAIN = 0.35
_LOG_SECONDS_NOISE = 0.45


class SimulatedAnswer(NamedTuple):
    """One answer, as a row of an importable file."""

    user_id: str
    position: int
    subject: str
    topic: str
    difficulty: str
    is_correct: int
    actual_time_seconds: int
    completed_at: str


@dataclass(slots=True)
class Student:
    """One student. ``ability`` is in logits, ``speed`` in log seconds, ``attempts`` are by topic."""

    ability: float
    speed: float
    random: np.random.Generator
    attempts: Counter[str] = field(default_factory=Counter)

    def answer(self, topic_easiness: float, topic: str, difficulty: Difficulty) -> tuple[bool, int]:
        """Return the outcome and the whole seconds of the next attempt on a topic."""
        gain = _PRACTICE_GAIN * np.log1p(self.attempts[topic])
        level = difficulty.numeric - 2.5
        logit = self.ability + gain + topic_easiness - 0.8 * level
        correct = bool(self.random.random() < 1 / (1 + np.exp(-logit)))
        log_seconds = 3.6 + 0.25 * level - self.speed - 0.1 * gain + self.random.normal(0, _LOG_SECONDS_NOISE)
        self.attempts[topic] += 1
        return correct, int(np.clip(round(float(np.exp(log_seconds))), 1, MAX_SECONDS))


def student(seed: int) -> Student:
    """Return a student drawn from the population, the same one for the same seed."""
    random = np.random.default_rng(seed)
    return Student(float(random.normal(0, 1)), float(random.normal(0, 0.3)), random)


def topic_easiness(topic: str) -> float:
    """Return how much easier than average a topic is, in logits. It depends on the name only."""
    return float(np.random.default_rng(list(topic.encode())).normal(0, 0.7))


def history(n_answers: int, n_users: int = 4, topics: tuple[str, ...] = TOPICS, seed: int = 0) -> list[SimulatedAnswer]:
    """Return answers of students who take turns, oldest first and some minutes apart."""
    random = np.random.default_rng(seed)
    students = [student(int(random.integers(2**31))) for _ in range(n_users)]
    easiness = {topic: topic_easiness(topic) for topic in topics}
    at = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
    answers = []
    for n in range(n_answers):
        who, position = n % n_users, n // n_users
        topic = topics[int(random.integers(len(topics)))]
        difficulty = _LEVELS[int(random.integers(len(_LEVELS)))]
        correct, seconds = students[who].answer(easiness[topic], topic, difficulty)
        at += timedelta(seconds=seconds + float(random.exponential(600)))
        answers.append(
            SimulatedAnswer(
                f"student-{seed}-{who + 1}", position, SUBJECT, topic, difficulty, int(correct), seconds, at.isoformat()
            )
        )
    return answers


def write_csv(answers: Iterable[SimulatedAnswer], path: Path) -> None:
    """Write answers as a file that ``studysmart import`` reads."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(SimulatedAnswer._fields)
        writer.writerows(answers)


def endless(seed: int) -> Iterator[tuple[str, Difficulty, bool, int]]:
    """Iterate over the answers of one student without end: topic, difficulty, outcome and seconds."""
    who = student(seed)
    while True:
        topic = TOPICS[int(who.random.integers(len(TOPICS)))]
        difficulty = _LEVELS[int(who.random.integers(len(_LEVELS)))]
        yield topic, difficulty, *who.answer(topic_easiness(topic), topic, difficulty)
