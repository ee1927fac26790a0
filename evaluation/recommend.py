"""How much more recommended tasks teach than other tasks, on simulated students whose learning is known.

``python -m evaluation.recommend --json`` trains a version on students who practise at random, then lets new students
practise the same number of tasks under each policy: the first recommendation of the product; a random topic and
difficulty; a random topic at one fixed difficulty. The product sees only answers and times. The truth behind them:

* a student has a skill on each topic, in logits, and answers correctly with chance p = sigmoid(skill - difficulty);
* a task raises the skill on its topic by RATE exp(-((p - peak) / WIDTH)^2), and by less the nearer the learnt part is
  to CEILING. Each student has a peak of their own, drawn from PEAKS: a task that is far too hard or too easy teaches
  nothing;
* the other topics gain the share TRANSFER of that. What was learnt on a topic fades with a time constant of
  FADING_DAYS since the last task on it.

``gain_per_task_*`` is the rise of the mean skill over topics from beginning to end, per task, in logits; ``ratio_*``
the recommended gain over the other one; ``recommended_minus_random_se`` the standard error of that difference, paired
by student. ``mean_success_*`` is the share of tasks that were answered correctly.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from chalicelib.domain.lnirt import FloatArray
from chalicelib.domain.tasks import Difficulty
from chalicelib.features.state import Answer, UserState
from chalicelib.ports import TopicChoice
from chalicelib.prediction.predictor import Predictor
from chalicelib.services.recommendations import candidates, rank
from evaluation.program import Practice, note, parser_of, print_figures, trained
from training_job.history.answers import AnswerTable

TOPICS = tuple(f"topic {number}" for number in range(8))
TAUGHT, TAUGHT_TASKS = 150, 40
TESTED, TASKS, TASKS_PER_DAY = 40, 60, 5
RATE, WIDTH, CEILING, TRANSFER, FADING_DAYS = 0.25, 0.25, 3.0, 0.1, 30.0
PEAKS = (0.5, 0.9)
LEVEL_STEP = 0.8
BEGIN = datetime(2026, 1, 5, 16, 0, tzinfo=UTC)

Task = tuple[int, int]
"""A position in TOPICS and a difficulty of 1..4."""


@dataclass(slots=True)
class Learner:
    """One simulated student. The skill is made of ``base`` and ``learnt`` (topics,). ``last`` (topics,) is in days."""

    name: str
    peak: float
    speed: float
    base: FloatArray
    random: np.random.Generator
    learnt: FloatArray = field(default_factory=lambda: np.zeros(len(TOPICS)))
    last: FloatArray = field(default_factory=lambda: np.zeros(len(TOPICS)))
    practice: Practice = field(init=False)
    answers: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.practice = Practice(self.name)

    def skill(self, day: float) -> FloatArray:
        """Return the skills (topics,) on a day counted from the beginning."""
        present: FloatArray = self.base + self.learnt * np.exp(-(day - self.last) / FADING_DAYS)
        return present

    def state(self) -> UserState:
        """Return the practice state that the product keeps of the student."""
        return self.practice.state()

    def practise(self, task: Task, number: int) -> None:
        """Answer the student's task ``number`` (from 0), and learn from it."""
        topic, difficulty = task
        day = day_of(number)
        chance = float(1 / (1 + np.exp(LEVEL_STEP * (difficulty - 2.5) - self.skill(day)[topic])))
        seconds = np.exp(3.6 + 0.25 * (difficulty - 2.5) - self.speed + self.random.normal(0.0, 0.45))
        correct = bool(self.random.random() < chance)
        at = BEGIN + timedelta(days=day)
        answer = Answer(TOPICS[topic], difficulty, correct, float(max(round(seconds), 1)), at)
        self.practice.add(answer)
        self.answers.append(answer)
        self.learnt[topic] *= np.exp(-(day - self.last[topic]) / FADING_DAYS)
        self.last[topic] = day
        gain = RATE * np.exp(-(((chance - self.peak) / WIDTH) ** 2))
        share = np.full(len(TOPICS), TRANSFER)
        share[topic] = 1.0
        self.learnt += share * gain * np.maximum(1.0 - self.learnt / CEILING, 0.0)


Policy = Callable[[Learner, int], Task]


def day_of(number: int) -> float:
    """Return the day on which a student does their task ``number``. The tasks of a day are 5 minutes apart."""
    return number // TASKS_PER_DAY + (number % TASKS_PER_DAY) * 5 / 1440


def learner(name: str, seed: Sequence[int], easiness: FloatArray) -> Learner:
    """Return a student drawn from the population, the same one for the same seed."""
    random = np.random.default_rng(seed)
    base = easiness + random.normal(0.0, 0.8) + random.normal(0.0, 0.4, len(TOPICS))
    return Learner(name, float(random.uniform(*PEAKS)), float(random.normal(0.0, 0.3)), base, random)


def at_random(student: Learner, _number: int) -> Task:
    """Return a task on a random topic at a random difficulty."""
    return int(student.random.integers(len(TOPICS))), int(student.random.integers(1, 5))


def at_difficulty(difficulty: int) -> Policy:
    """Return a policy of random topics at one difficulty."""
    return lambda student, _number: (int(student.random.integers(len(TOPICS))), difficulty)


def recommended(predictor: Predictor, target: float) -> Policy:
    """Return a policy that follows the product's first recommendation among all topics."""
    choices = [TopicChoice("Simulation", topic, topic, True) for topic in TOPICS]

    def choose(student: Learner, number: int) -> Task:
        now = BEGIN + timedelta(days=day_of(number))
        # Topics that were not practised yet look alike. A random order keeps ties from favouring the first.
        order = [choices[i] for i in student.random.permutation(len(choices))]
        (best,) = rank(candidates(predictor, student.state(), order, now), target, 1)
        return TOPICS.index(best.topic), best.difficulty.numeric

    return choose


def table_of(students: Sequence[Learner]) -> AnswerTable:
    """Return all answers in one table. The students take turns."""
    rows = [(number, code, answer) for code, one in enumerate(students) for number, answer in enumerate(one.answers)]
    return AnswerTable.from_columns(
        user=np.array([code for _, code, _ in rows]),
        user_ids=[one.name for one in students],
        topic=np.array([TOPICS.index(answer.topic) for *_, answer in rows]),
        topics=list(TOPICS),
        difficulty=np.array([answer.difficulty for *_, answer in rows]),
        is_correct=np.array([answer.is_correct for *_, answer in rows]),
        seconds=np.array([answer.seconds for *_, answer in rows], dtype=np.float64),
        at=np.array([answer.at.timestamp() if answer.at else np.nan for *_, answer in rows]),
        order=np.array([number * len(students) + code for number, code, _ in rows]),
    )


def taught_version(easiness: FloatArray, seed: int) -> Predictor:
    """Return a version trained on students who practised at random."""
    students = [learner(f"taught {i}", (seed, 1, i), easiness) for i in range(TAUGHT)]
    for one in students:
        for number in range(TAUGHT_TASKS):
            one.practise(at_random(one, number), number)
    return trained(table_of(students), seed)[0]


def gains(policy: Policy, easiness: FloatArray, seed: int) -> tuple[FloatArray, float]:
    """Return the rise of each student's mean skill per task (TESTED,), and the share of correct answers."""
    found, correct = np.zeros(TESTED), 0
    for i in range(TESTED):
        student = learner(f"tested {i}", (seed, 2, i), easiness)
        for number in range(TASKS):
            student.practise(policy(student, number), number)
        found[i] = (student.skill(day_of(TASKS)) - student.base).mean() / TASKS
        correct += sum(answer.is_correct for answer in student.answers)
    return found, correct / (TESTED * TASKS)


def measure(options: argparse.Namespace) -> dict[str, object]:
    begun = time.monotonic()
    per_student: dict[str, list[FloatArray]] = {}
    success: dict[str, list[float]] = {}
    for seed in options.seeds:
        easiness = np.random.default_rng((seed, 0)).normal(0.0, 0.6, len(TOPICS))
        predictor = taught_version(easiness, seed)
        policies = {"recommended": recommended(predictor, options.target), "random": at_random}
        policies |= {f"fixed_{difficulty.value}": at_difficulty(difficulty.numeric) for difficulty in Difficulty}
        for name, policy in policies.items():
            gain, share = gains(policy, easiness, seed)
            per_student.setdefault(name, []).append(gain)
            success.setdefault(name, []).append(share)
            note(options, f"seed {seed}: {name} {gain.mean():.5f} logits a task, {share:.2f} correct")
    return {
        **_figures(per_student, success),
        "seeds": list(options.seeds),
        "target": options.target,
        "students": TESTED * len(options.seeds),
        "tasks": TASKS,
        "seconds": round(time.monotonic() - begun, 1),
    }


def _figures(per_student: dict[str, list[FloatArray]], success: dict[str, list[float]]) -> dict[str, object]:
    joined = {name: np.concatenate(values) for name, values in per_student.items()}
    best = joined["recommended"]
    fixed = max((name for name in joined if name.startswith("fixed_")), key=lambda name: float(joined[name].mean()))
    difference = best - joined["random"]
    return {
        **{f"gain_per_task_{name}": float(values.mean()) for name, values in joined.items()},
        **{f"mean_success_{name}": float(np.mean(values)) for name, values in success.items()},
        "ratio_to_random": float(best.mean() / joined["random"].mean()),
        "ratio_to_best_fixed": float(best.mean() / joined[fixed].mean()),
        "best_fixed": fixed.removeprefix("fixed_"),
        "recommended_minus_random": float(difference.mean()),
        "recommended_minus_random_se": float(difference.std(ddof=1) / np.sqrt(len(difference))),
    }


def main() -> int:
    parser = parser_of("recommend", __doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--target", type=float, default=0.75)
    return print_figures(measure(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
