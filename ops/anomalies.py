"""``studysmart anomalies``: lists accounts whose answers look like those of a bot, with the reason.

The report changes nothing. Trainings leave out the accounts that answer like a coin or mostly incorrectly by themselves
(:mod:`training_job.fit.trust`); the other ones an operator may exclude.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import N_LEVELS, IntArray
from chalicelib.wiring import Container
from ops import tables
from training_job.fit.trust import EVIDENCE, MIN_STUDENTS, evidence
from training_job.history.answers import AnswerTable
from training_job.history.snapshot import read_snapshot

MIN_ANSWERS = 20
"""Number of answers below which nothing is said about an account, except where trainings leave it out."""

FAST_SECONDS = 2.0
"""Median of the seconds below which nobody can have read the tasks."""

ALWAYS_RIGHT, OTHERS_ERRORS = 0.99, 10.0
"""Share of correct answers from which an account is always right, if others would make at least this many errors."""

COPIED_ANSWERS = 20
"""Number of answers in a row that must agree in topic, difficulty, outcome and seconds to be a copy."""

COPIED_SHARE, MIN_RUNS = 0.5, 10
"""Share of an account's runs of answers that another account has too, from which it is a copy, and minimum of them."""

MIN_OF_EACH = 3
"""Number of correct and of incorrect answers without which a run is no sign: many students are right all the time."""

MAX_ALIKE = 20
"""Number of accounts with the same run of answers above which the run is no sign of a copy."""

BOTS = (
    "answers like a coin (trainings leave it out)",
    "answers the opposite of a student (trainings leave it out)",
    "answers almost always incorrectly (trainings leave it out)",
)


@dataclass(frozen=True, slots=True)
class Anomaly:
    """An account, its number of answers, and the reasons why it looks like a bot."""

    user_id: str
    n_answers: int
    reasons: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(container: Container, options: argparse.Namespace) -> int:
    """Print the report. Accounts that are excluded already are not in it."""
    table = read_snapshot(container.engine, container.settings.cohort).table
    found = anomalies(table)
    as_json = [{"user_id": one.user_id, "n_answers": one.n_answers, "reasons": list(one.reasons)} for one in found]
    rows = [[one.user_id, str(one.n_answers), "; ".join(one.reasons)] for one in found]
    lines = tables.table(["ID", "ANSWERS", "REASON"], rows, right=("ANSWERS",))
    lines.append(
        "`studysmart account exclude ID` excludes an account from trainings; `account include ID` undoes that."
    )
    n = len(np.unique(table.user))
    if not found:
        lines = [f"None of {n} accounts looks like a bot."]
    if n < MIN_STUDENTS:
        lines.append(f"Outcomes show who is unusual from {MIN_STUDENTS} students on; there are {n}.")
    tables.show(options.json, as_json, lines)
    return 0


def anomalies(table: AnswerTable) -> list[Anomaly]:
    """Return the unusual accounts, those with the most answers first."""
    reasons: dict[int, list[str]] = defaultdict(list)
    for signs in (_fast(table), _aberrant(table), _always_right(table), _copies(table)):
        for user, reason in signs:
            reasons[user].append(reason)
    answers = np.bincount(table.user, minlength=len(table.user_ids))
    found = [Anomaly(table.user_ids[user], int(answers[user]), tuple(texts)) for user, texts in reasons.items()]
    return sorted(found, key=lambda one: (-one.n_answers, one.user_id))


def _fast(table: AnswerTable) -> Iterator[tuple[int, str]]:
    timed = table.select(table.timed)
    for user, rows in _students(timed):
        middle = float(np.median(timed.seconds[rows]))
        if rows.stop - rows.start >= MIN_ANSWERS and middle < FAST_SECONDS:
            yield user, f"half of its answers took less than {middle:.1f} seconds"


def _aberrant(table: AnswerTable) -> Iterator[tuple[int, str]]:
    if len(np.unique(table.user)) < MIN_STUDENTS:
        return
    students, odds = evidence(table)
    for user, own in zip(students, odds.T, strict=True):
        if own.max() > EVIDENCE:
            yield int(user), BOTS[int(own.argmax())]


def _always_right(table: AnswerTable) -> Iterator[tuple[int, str]]:
    """Find accounts without errors on tasks that others often answer incorrectly."""
    cell = table.topic.astype(np.int64) * N_LEVELS + table.level
    attempts, correct = np.bincount(cell), np.bincount(cell, weights=table.is_correct)
    for user, rows in _students(table):
        outcomes, n = table.is_correct[rows], rows.stop - rows.start
        if n < MIN_ANSWERS or outcomes.mean() < ALWAYS_RIGHT:
            continue
        cells, own = np.unique(cell[rows], return_counts=True)
        right = np.bincount(cell[rows], weights=outcomes, minlength=len(correct))[cells]
        expected = float((own * (correct[cells] - right + 1.0) / (attempts[cells] - own + 2.0)).sum())
        if n - expected >= OTHERS_ERRORS:
            yield user, f"{int(outcomes.sum())} of {n} answers are correct, where others would have {expected:.0f}"


def _copies(table: AnswerTable) -> Iterator[tuple[int, str]]:
    """Find accounts of which most runs of answers are an older account's too."""
    users, runs = _runs(table)
    n_runs = np.bincount(users, minlength=len(table.user_ids))
    joined = np.full(len(table.user_ids), np.iinfo(np.int64).max)
    np.minimum.at(joined, table.user, table.order)
    shared: Counter[tuple[int, int]] = Counter()
    by_run = np.argsort(runs, kind="stable")
    for same in np.split(by_run, np.flatnonzero(np.diff(runs[by_run])) + 1):
        if 1 < len(same) <= MAX_ALIKE:
            oldest_first = sorted(users[same].tolist(), key=lambda user: joined[user])
            shared.update(combinations(oldest_first, 2))
    named: set[int] = set()
    for (older, copy), n in shared.most_common():
        if n >= max(MIN_RUNS, COPIED_SHARE * n_runs[copy]) and copy not in named:
            named.add(copy)
            yield copy, f"its answers are those of {table.user_ids[older]}"


def _runs(table: AnswerTable) -> tuple[IntArray, npt.NDArray[np.uint64]]:
    """Return students and digests of all different runs of COPIED_ANSWERS answers with enough of each outcome."""
    n = max(len(table) - COPIED_ANSWERS + 1, 0)
    tenths = np.where(table.timed, np.rint(10.0 * np.nan_to_num(table.seconds)), 0.0).astype(np.uint64)
    answer = (tenths * np.uint64(len(table.topics)) + table.topic.astype(np.uint64)) * np.uint64(2 * N_LEVELS)
    answer += (2 * table.level + table.is_correct).astype(np.uint64)
    digest, correct = np.zeros(n, dtype=np.uint64), np.zeros(n, dtype=np.int64)
    for number in range(COPIED_ANSWERS):
        # A polynomial of the answers, in 64 bits that overflow. Its base is odd, so that no answer drops out.
        digest = digest * np.uint64(0x9E3779B97F4A7C15) + answer[number : number + n]
        correct += table.is_correct[number : number + n]
    whole = table.user[:n] == table.user[COPIED_ANSWERS - 1 :][:n]
    kept = whole & (correct >= MIN_OF_EACH) & (correct <= COPIED_ANSWERS - MIN_OF_EACH)
    pairs = np.unique(np.stack([table.user[:n][kept].astype(np.uint64), digest[kept]]), axis=1)
    return pairs[0].astype(np.int64), pairs[1]


def _students(table: AnswerTable) -> Iterator[tuple[int, slice]]:
    """Iterate over the codes of students with the rows of their answers."""
    users, first = np.unique(table.user, return_index=True)
    for user, begin, end in zip(
        users.tolist(), first.tolist(), [*first[1:].tolist(), len(table)][: len(first)], strict=True
    ):
        yield user, slice(begin, end)
