"""Whether recommended tasks teach more than others do, on simulated students whose learning process is known.

``python -m evaluation.recommend --json`` trains a version on students who practise at random, then lets new students
practise the same number of tasks under each policy: the first recommendation of the product; a random topic and
difficulty; a random topic at one fixed difficulty. The truth, of which the product sees answers and times only:

* a student has a skill on each topic, in logits, and answers right with chance p = sigmoid(skill - difficulty);
* a task raises its topic's skill by RATE exp(-((p - peak) / WIDTH)^2), less the nearer the learnt part is to CEILING;
  each student has a peak of their own, drawn from PEAKS: nobody learns from what is far too hard or far too easy;
* a share of that gain, TRANSFER, goes to the other topics; what was learnt on a topic fades with a time constant of
  FADING_DAYS since the last task on it.

``gain_per_task_*`` is the rise of the mean skill over topics from beginning to end, per task, in logits; ``ratio_*``
the recommended gain over the other one; ``recommended_minus_random_se`` the standard error of that difference, paired
by student. ``mean_success_*`` is the share of tasks answered right.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from chalicelib.domain.lnirt import FloatArray
from chalicelib.domain.tasks import Difficulty
from chalicelib.features.state import Answer, StateRow, UserState, advance
from chalicelib.ports import TopicChoice
from chalicelib.prediction.predictor import Predictor
from chalicelib.services.recommendations import candidates, rank
from training_job.history.answers import AnswerTable

TOPICS = tuple(f"topic {number}" for number in range(8))
TAUGHT, TAUGHT_TASKS = 150, 40
TESTED, TASKS, TASKS_PER_DAY = 40, 60, 5
RATE, WIDTH, CEILING, TRANSFER, FADING_DAYS = 0.25, 0.25, 3.0, 0.1, 30.0
PEAKS = (0.5, 0.9)
LEVEL_STEP = 0.8
BEGIN = datetime(2026, 1, 5, 16, 0, tzinfo=UTC)

Task = tuple[int, int]
"""A position in TOPICS and a level of 1..4."""


@dataclass(slots=True)
class Learner:
    """One simulated student. ``base`` and ``learnt`` (topics,) make up the skill; ``last`` is in days."""

    name: str
    peak: float
    speed: float
    base: FloatArray
    random: np.random.Generator
    learnt: FloatArray = field(default_factory=lambda: np.zeros(len(TOPICS)))
    last: FloatArray = field(default_factory=lambda: np.zeros(len(TOPICS)))
    rows: dict[tuple[str, int], StateRow] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)

    def skill(self, day: float) -> FloatArray:
        """Skills (topics,) on a day counted from the beginning."""
        present: FloatArray = self.base + self.learnt * np.exp(-(day - self.last) / FADING_DAYS)
        return present

    def state(self) -> UserState:
        """What the product knows of the student."""
        return UserState(self.name, len(self.answers), tuple(self.rows.values()))

    def practise(self, task: Task, number: int) -> None:
        """Answer the student's task ``number`` (from 0), and learn from it."""
        topic, level = task
        day = day_of(number)
        chance = float(1 / (1 + np.exp(LEVEL_STEP * (level - 2.5) - self.skill(day)[topic])))
        seconds = np.exp(3.6 + 0.25 * (level - 2.5) - self.speed + self.random.normal(0.0, 0.45))
        right = bool(self.random.random() < chance)
        answer = Answer(TOPICS[topic], level, right, float(max(round(seconds), 1)), BEGIN + timedelta(days=day))
        key = (answer.topic, level)
        self.rows[key] = advance(self.rows.get(key), answer, len(self.answers))
        self.answers.append(answer)
        self.learnt[topic] *= np.exp(-(day - self.last[topic]) / FADING_DAYS)
        self.last[topic] = day
        gain = RATE * np.exp(-(((chance - self.peak) / WIDTH) ** 2))
        share = np.full(len(TOPICS), TRANSFER)
        share[topic] = 1.0
        self.learnt += share * gain * np.maximum(1.0 - self.learnt / CEILING, 0.0)


Policy = Callable[[Learner, int], Task]


def day_of(number: int) -> float:
    """When a student does their task ``number``: some a day, some minutes apart."""
    return number // TASKS_PER_DAY + (number % TASKS_PER_DAY) * 5 / 1440


def learner(name: str, seed: Sequence[int], easiness: FloatArray) -> Learner:
    """A student drawn from the population; the same seed draws the same one."""
    random = np.random.default_rng(seed)
    base = easiness + random.normal(0.0, 0.8) + random.normal(0.0, 0.4, len(TOPICS))
    return Learner(name, float(random.uniform(*PEAKS)), float(random.normal(0.0, 0.3)), base, random)


def at_random(student: Learner, _number: int) -> Task:
    """Return a task on a random topic at a random difficulty."""
    return int(student.random.integers(len(TOPICS))), int(student.random.integers(1, 5))


def at_level(level: int) -> Policy:
    """Return a policy of random topics at one difficulty."""
    return lambda student, _number: (int(student.random.integers(len(TOPICS))), level)


def recommended(predictor: Predictor, target: float) -> Policy:
    """The product's first recommendation among all topics."""
    choices = [TopicChoice("Simulation", topic, topic, True) for topic in TOPICS]

    def choose(student: Learner, number: int) -> Task:
        now = BEGIN + timedelta(days=day_of(number))
        # Until a topic was met, all look alike: a random order keeps the ties from favouring the first.
        order = [choices[i] for i in student.random.permutation(len(choices))]
        (best,) = rank(candidates(predictor, student.state(), order, now), target, 1)
        return TOPICS.index(best.topic), best.difficulty.numeric

    return choose


def table_of(students: Sequence[Learner]) -> AnswerTable:
    """All answers, the students taking turns."""
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


def trained(easiness: FloatArray, seed: int) -> Predictor:
    """A version trained on students who practised at random."""
    from training_job.fit.train import train_version

    students = [learner(f"taught {i}", (seed, 1, i), easiness) for i in range(TAUGHT)]
    for one in students:
        for number in range(TAUGHT_TASKS):
            one.practise(at_random(one, number), number)
    version = train_version(table_of(students), version="benchmark", seed=seed)
    metadata = json.dumps({**version.metadata, "version": "benchmark"}).encode()
    return Predictor.from_files({**version.files, "metadata.json": metadata})


def gains(policy: Policy, easiness: FloatArray, seed: int) -> tuple[FloatArray, float]:
    """Rise of each tested student's mean skill per task, (TESTED,), and the share of tasks answered right."""
    found, right = np.zeros(TESTED), 0
    for i in range(TESTED):
        student = learner(f"tested {i}", (seed, 2, i), easiness)
        for number in range(TASKS):
            student.practise(policy(student, number), number)
        found[i] = (student.skill(day_of(TASKS)) - student.base).mean() / TASKS
        right += sum(answer.is_correct for answer in student.answers)
    return found, right / (TESTED * TASKS)


def measure(seeds: Sequence[int], target: float, verbose: bool) -> dict[str, object]:
    """All figures, over all seeds."""
    begun = time.monotonic()
    per_student: dict[str, list[FloatArray]] = {}
    success: dict[str, list[float]] = {}
    for seed in seeds:
        easiness = np.random.default_rng((seed, 0)).normal(0.0, 0.6, len(TOPICS))
        predictor = trained(easiness, seed)
        policies = {"recommended": recommended(predictor, target), "random": at_random}
        policies |= {f"fixed_{level.value}": at_level(level.numeric) for level in Difficulty}
        for name, policy in policies.items():
            gain, share = gains(policy, easiness, seed)
            per_student.setdefault(name, []).append(gain)
            success.setdefault(name, []).append(share)
            if verbose:
                print(f"seed {seed}: {name} {gain.mean():.5f} logits a task, {share:.2f} right", file=sys.stderr)
    return {**_figures(per_student, success), "seeds": list(seeds), "target": target, "students": TESTED * len(seeds),
            "tasks": TASKS, "seconds": round(time.monotonic() - begun, 1)}  # fmt: skip


def _figures(per_student: dict[str, list[FloatArray]], success: dict[str, list[float]]) -> dict[str, object]:
    joined = {name: np.concatenate(values) for name, values in per_student.items()}
    best = joined["recommended"]
    fixed = max((name for name in joined if name.startswith("fixed_")), key=lambda name: float(joined[name].mean()))
    difference = best - joined["random"]
    return {
        **{f"gain_per_task_{name}": round(float(values.mean()), 5) for name, values in joined.items()},
        **{f"mean_success_{name}": round(float(np.mean(values)), 3) for name, values in success.items()},
        "ratio_to_random": round(float(best.mean() / joined["random"].mean()), 3),
        "ratio_to_best_fixed": round(float(best.mean() / joined[fixed].mean()), 3),
        "best_fixed": fixed.removeprefix("fixed_"),
        "recommended_minus_random": round(float(difference.mean()), 5),
        "recommended_minus_random_se": round(float(difference.std(ddof=1) / np.sqrt(len(difference))), 5),
    }


def main() -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.recommend", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--target", type=float, default=0.75)
    parser.add_argument("--json", action="store_true", help="only the JSON line, no progress")
    options = parser.parse_args()
    print(json.dumps(measure(options.seeds, options.target, verbose=not options.json)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
