"""How soon predictions follow a student whose ability changes suddenly.

``python -m evaluation.adaptation --json`` simulates a population whose abilities jump now and then, and trains on it.
Then new students practise at one ability until it jumps, up for half of them and down for the others. A prediction
lies between the true chances at the old and at the new ability. ``answers_to_80_*`` is the number of answers after
the jump until the mean prediction has covered 80 % of the way, null when it has not within ``horizon`` answers:

* ``without_retraining``: the version was trained before any of them began, and only the practice state changes;
* ``with_retraining``: a new version is trained on all answers so far every 30 answers after the jump;
* ``static_lnirt``: LNIRT of the first version alone.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import FloatArray, sigmoid
from chalicelib.prediction.chain import bounded_probability
from evaluation.program import note, parser_of, print_figures, trained
from training_job.history.answers import AnswerTable
from training_job.history.replay import predict_history, read_history

POPULATION, POPULATION_ANSWERS = 250, 100
STUDENTS, BEFORE, HORIZON = 120, 40, 90
RETRAINED_EVERY = 30
TOPICS = 8
JUMP_CHANCE = 1 / 50
JUMP_FROM, JUMP_TO = -1.0, 1.0
COVERED = 0.8
SMOOTHED = 5
"""Number of answers over which the covered share is averaged, so that one lucky answer does not end the count."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """Answers of simulated students. All (N,).

    ``step`` numbers the answers of a student, ``difficulty`` is 1..4. ``old`` and ``new`` are the true chances at the
    abilities before and after the jump.
    """

    student: npt.NDArray[np.int64]
    step: npt.NDArray[np.int64]
    topic: npt.NDArray[np.int64]
    difficulty: npt.NDArray[np.int64]
    correct: npt.NDArray[np.bool_]
    seconds: FloatArray
    old: FloatArray
    new: FloatArray


def practise(ability: FloatArray, old: FloatArray, new: FloatArray, seed: int) -> Simulated:
    """Let students answer random tasks at their ``ability`` (students, answers).

    ``old`` and ``new`` (students,) are the abilities before and after the jump.
    """
    rng = np.random.default_rng(seed)
    students, answers = ability.shape
    topic = rng.integers(TOPICS, size=ability.shape)
    difficulty = rng.integers(1, 5, size=ability.shape)
    easiness = np.linspace(-0.7, 0.7, TOPICS)[topic] - 0.6 * (difficulty - 2.5)
    log_seconds = 3.6 + 0.25 * (difficulty - 2.5) + rng.normal(0.0, 0.45, ability.shape)
    return Simulated(
        student=np.repeat(np.arange(students), answers),
        step=np.tile(np.arange(answers), students),
        topic=topic.ravel(),
        difficulty=difficulty.ravel(),
        correct=(rng.random(ability.shape) < sigmoid(ability + easiness)).ravel(),
        seconds=np.exp(log_seconds).ravel(),
        old=sigmoid(old[:, None] + easiness).ravel(),
        new=sigmoid(new[:, None] + easiness).ravel(),
    )


def population(seed: int) -> Simulated:
    """Return the students to learn from. Each answer may bring a new ability."""
    rng = np.random.default_rng(seed)
    shape = (POPULATION, POPULATION_ANSWERS)
    fresh = rng.normal(0.0, 1.0, shape)
    jumped = rng.random(shape) < JUMP_CHANCE
    jumped[:, 0] = True
    latest = np.maximum.accumulate(np.where(jumped, np.arange(POPULATION_ANSWERS), 0), axis=1)
    ability = np.take_along_axis(fresh, latest, axis=1)
    return practise(ability, ability[:, 0], ability[:, -1], seed + 1)


def jumpers(seed: int) -> Simulated:
    """Return the test students, each with one jump after the same number of answers."""
    up = np.arange(STUDENTS) % 2 == 0
    old, new = np.where(up, JUMP_FROM, JUMP_TO), np.where(up, JUMP_TO, JUMP_FROM)
    ability = np.where(np.arange(BEFORE + HORIZON) < BEFORE, old[:, None], new[:, None])
    return practise(ability, old, new, seed)


def table_of(parts: dict[str, Simulated]) -> AnswerTable:
    """Return the answers of the parts one after the other. The students of a part take turns."""
    users: list[str] = []
    columns: list[tuple[Simulated, npt.NDArray[np.int64]]] = []
    for name, part in parts.items():
        columns.append((part, len(users) + part.student))
        users += [f"{name} {number}" for number in range(int(part.student.max()) + 1)]
    start, orders = 0, []
    for part, _ in columns:
        orders.append(start + part.step * (int(part.student.max()) + 1) + part.student)
        start = int(orders[-1].max()) + 1

    def joined(field: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(part, field) for part, _ in columns])

    return AnswerTable.from_columns(
        user=np.concatenate([user for _, user in columns]), user_ids=users, topic=joined("topic"),
        topics=[f"topic {number}" for number in range(TOPICS)], difficulty=joined("difficulty"),
        is_correct=joined("correct"), seconds=joined("seconds"), order=np.concatenate(orders),
    )  # fmt: skip


def covered_share(predicted: FloatArray, tested: Simulated) -> FloatArray:
    """Return the share of the way from the old to the new chances that predictions (N,) have covered.

    There is one share for each answer after the jump. Shape (HORIZON,).
    """
    way = np.sign(tested.new - tested.old)
    after = tested.step >= BEFORE
    step = tested.step[after] - BEFORE
    gone = np.bincount(step, weights=(way * (predicted - tested.old))[after])
    whole = np.bincount(step, weights=np.abs(tested.new - tested.old)[after])
    share: FloatArray = gone / whole
    return share


def answers_to_cover(share: FloatArray) -> int | None:
    """Return the number of answers after the jump until the smoothed share has reached 80 %, None for never."""
    smooth = np.convolve(share, np.full(SMOOTHED, 1.0 / SMOOTHED), mode="valid")
    reached = np.flatnonzero(smooth >= COVERED)
    return int(reached[0]) + SMOOTHED // 2 if len(reached) else None


def measure(options: argparse.Namespace) -> dict[str, float | int | None]:
    taught, tested = population(options.seed), jumpers(options.seed + 100)
    table = table_of({"student": taught, "jumper": tested})
    new = np.arange(len(table)) >= len(taught.step)
    first, _ = trained(table.select(~new), options.seed)
    lnirt = bounded_probability(read_history(table, first.lnirt, first.vocabulary).logit[new])
    served = predict_history(first, table, new).correct
    retrained = served.copy()
    for begin in range(RETRAINED_EVERY, HORIZON, RETRAINED_EVERY):
        known = np.concatenate([~new[~new], tested.step < BEFORE + begin])
        version, _ = trained(table.select(known), options.seed)
        later = tested.step >= BEFORE + begin
        retrained[later] = predict_history(version, table, new).correct[later]
    figures: dict[str, float | int | None] = {}
    ways = (("without_retraining", served), ("with_retraining", retrained), ("static_lnirt", lnirt))
    for name, predicted in ways:
        share = covered_share(predicted, tested)
        figures[f"answers_to_80_{name}"] = answers_to_cover(share)
        figures[f"covered_after_10_{name}"] = float(share[8:13].mean())
        note(options, f"{name} {np.round(share[::5], 2).tolist()}")
    return {**figures, "horizon": HORIZON, "answers_before": BEFORE, "students": STUDENTS}


def main() -> int:
    parser = parser_of("adaptation", __doc__)
    parser.add_argument("--seed", type=int, default=0)
    return print_figures(measure(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
