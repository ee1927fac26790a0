"""How far hostile accounts move the predictions for honest students.

``python -m evaluation.poisoning --data FILE --json [--students 600] [--answers 60] [--seed 0]`` takes the first
``--answers`` answers of ``--students`` students, drawn by ``--seed``. It trains on four fifths of them, once as they
are and once for each attack of :mod:`evaluation.attacks`, and predicts the answers of the other fifth, each from the
earlier answers of its student. A shift is the absolute difference of the predicted probability with and without the
attack, by trainings with the same seed. ``attacks`` has for each attack:

* ``mean`` and ``p95``: mean and 95 % quantile of the shift over the held-out answers;
* ``log_loss``: the log-loss of the held-out answers (``log_loss`` at the top is that without an attack);
* ``topic``: for a burst, the mean shift of what held-out students are predicted next on the attacked topic.

``mean_shift_10pct`` and ``p95_shift_10pct`` are those of the worst attack by 10 % of the students,
``thin_topic_shift_20_accounts`` is ``topic`` of the burst by 20 accounts, ``one_account_shift`` is ``mean`` of the
heavy account. ``seed_shift`` is the mean shift between two trainings on the same answers with different seeds: smaller
shifts than this are noise of the training.

``price_log_loss`` is what the defences (:mod:`training_job.fit.trust`) cost without an attack: the log-loss of the
held-out answers with them minus that without them, the mean of two trainings each. With ``--undefended`` the attacks
are on trainings without defences.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chalicelib.domain.lnirt import FloatArray
from chalicelib.prediction.predictor import Predictor
from evaluation.answers import read_answers
from evaluation.attacks import Attack, attacks, tenth, thin_topic
from evaluation.program import note, parser_of, print_figures, trained
from training_job.history.answers import COLUMN_TYPES, AnswerTable, Rows
from training_job.history.replay import predict_history
from training_job.scores import log_losses

STUDENTS, ANSWERS, TEST_SHARE = 600, 60, 0.2
MEDIUM = 2


@dataclass(frozen=True, slots=True)
class Split:
    """Honest answers to learn from, and those of the held-out students with one more answer each on the thin topic.

    ``test`` and ``thin`` (N,) mark the rows of ``held_out`` that are given and that were added.
    """

    train: AnswerTable
    held_out: AnswerTable
    test: Rows
    thin: Rows

    @classmethod
    def of(cls, table: AnswerTable, students: int, answers: int, seed: int) -> Split:
        """Draw the students, and divide them."""
        drawn = np.random.default_rng(seed).permutation(np.unique(table.user))[:students]
        table = table.select(np.arange(len(table)) - np.searchsorted(table.user, table.user) < answers)
        held = drawn[: round(TEST_SHARE * len(drawn))]
        train = table.select(np.isin(table.user, drawn[len(held) :]))
        held_out = table.select(np.isin(table.user, held))
        with_next = _with_next(held_out, thin_topic(train))
        added = np.append(np.diff(with_next.user) != 0, True)
        return cls(train, with_next, ~added, added)


def _with_next(table: AnswerTable, topic: int) -> AnswerTable:
    """Return the table with one more answer of each student, on a topic at medium difficulty."""
    last = np.flatnonzero(np.append(np.diff(table.user) != 0, True))
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(table, name), getattr(table, name)[last]]) for name in COLUMN_TYPES
    }
    n = len(table)
    columns["topic"][n:], columns["difficulty"][n:] = topic, MEDIUM
    columns["order"][n:] += int(table.order.max()) + 1
    return AnswerTable.from_columns(user_ids=table.user_ids, topics=table.topics, **columns)


@dataclass(frozen=True, slots=True)
class Served:
    """Predicted probabilities for the held-out answers (n,), their log-losses (n,), and the next ones on the topic."""

    correct: FloatArray
    losses: FloatArray
    topic: FloatArray

    @classmethod
    def by(cls, version: Predictor, split: Split) -> Served:
        """Predict with a version."""
        everything = np.ones(len(split.held_out), dtype=np.bool_)
        correct = predict_history(version, split.held_out, everything).correct
        losses = log_losses(split.held_out.is_correct[split.test], correct[split.test])
        return cls(correct[split.test], losses, correct[split.thin])


def shift(attacked: Served, clean: Served, attack: Attack) -> dict[str, float]:
    """Return the figures of one attack."""
    moved = np.abs(attacked.correct - clean.correct)
    figures = {"mean": float(moved.mean()), "p95": float(np.quantile(moved, 0.95))}
    if attack.kind == "burst":
        figures["topic"] = float(np.abs(attacked.topic - clean.topic).mean())
    return {**figures, "log_loss": float(attacked.losses.mean())}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return all figures."""
    split = Split.of(read_answers(options.data).table, options.students, options.answers, options.seed)

    def served(table: AnswerTable, seed: int, defended: bool = not options.undefended) -> Served:
        return Served.by(trained(table, seed, defended)[0], split)

    seeds = (options.seed, options.seed + 1)
    clean, other_seed = (served(split.train, seed) for seed in seeds)
    contrary = [served(split.train, seed, options.undefended) for seed in seeds]
    gains = [
        float((ours.losses - theirs.losses).mean()) for ours, theirs in zip((clean, other_seed), contrary, strict=True)
    ]
    note(options, f"price by seed: {gains}")
    students = len(np.unique(split.train.user))
    found: dict[Attack, dict[str, float]] = {}
    for attack in attacks(students):
        found[attack] = shift(served(attack.on(split.train, options.seed), options.seed), clean, attack)
        note(options, f"{attack.kind} by {attack.accounts}: {found[attack]}")
    by_tenth = [figures for attack, figures in found.items() if attack.accounts == tenth(students)]
    return {
        "mean_shift_10pct": max(figures["mean"] for figures in by_tenth),
        "p95_shift_10pct": max(figures["p95"] for figures in by_tenth),
        "thin_topic_shift_20_accounts": found[Attack("burst", 20)]["topic"],
        "one_account_shift": found[Attack("heavy", 1)]["mean"],
        "seed_shift": float(np.abs(other_seed.correct - clean.correct).mean()),
        "price_log_loss": float(np.mean(gains)) * (-1.0 if options.undefended else 1.0),
        "log_loss": float(clean.losses.mean()),
        "students": students,
        "train_answers": len(split.train),
        "test_answers": int(split.test.sum()),
        "attacks": {f"{attack.kind} {attack.accounts}": figures for attack, figures in found.items()},
    }


def main() -> int:
    parser = parser_of("poisoning", __doc__)
    parser.add_argument("--data", type=Path, required=True, help="answers, .csv or .csv.gz")
    parser.add_argument("--students", type=int, default=STUDENTS, help="maximum number of students")
    parser.add_argument("--answers", type=int, default=ANSWERS, help="maximum number of answers of a student")
    parser.add_argument("--seed", type=int, default=0, help="of the students' split, the attacks and the trainings")
    parser.add_argument("--undefended", action="store_true", help="train on all answers")
    return print_figures(measure(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
