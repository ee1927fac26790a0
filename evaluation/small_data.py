"""How good the served model is on very little data: 679 answers, 4 to 10 users, 7 topics.

``python -m evaluation.small_data --json [--data FILE ...]`` makes 20 seeded draws from each file of answers, and trains
on each in a process of its own. As in the worker, this process is a fork of one that has imported TensorFlow
(:mod:`training_job.child`). ``job_s_median`` is the wall time from its start to its scores, while ``--jobs`` of them
run side by side with one thread each. The first 80 % of a draw, in time, are learnt from. The last 20 % are predicted
one by one from the earlier answers.

Ratios compare the loss of what would be served with that of LNIRT alone, of the mean, and of the running mean of items
and students (:mod:`evaluation.baselines`), for which a topic and difficulty is the item of an answer without one. Below
1 is better. ``mean_`` and ``worst_`` are over all draws, and ``files`` has the same figures of each file.

Without ``--data`` the draws come from simulated students. A file's topics are dealt into 7 at random.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np

from chalicelib.domain.lnirt import N_LEVELS, FloatArray, IntArray
from chalicelib.features.item_effects import NO_ITEM
from evaluation import simulator
from evaluation.answers import read_answers
from evaluation.baselines import running_log_seconds, running_means
from evaluation.program import note, parser_of, print_figures, trained
from training_job.history.answers import AnswerTable, Rows

DRAWS, ANSWERS, TOPICS = 20, 679, 7
MIN_USERS, MAX_USERS = 4, 10
TRAINED_SHARE = 0.8

YARDSTICKS = ("lnirt", "mean", "running_mean")
PRELOADED = ["keras", "scipy.sparse", "scipy.special", "training_job.fit.train"]
"""Modules that are imported before the processes are forked."""

Job = Mapping[str, float | None]


def draw(table: AnswerTable, seed: int) -> AnswerTable:
    """Return about 679 answers of 4 to 10 random users on 7 topics, the same ones for the same seed."""
    rng = np.random.default_rng(seed)
    n_users = int(rng.integers(MIN_USERS, MAX_USERS + 1))
    each = -(-ANSWERS // n_users)
    counts = np.bincount(table.user, minlength=len(table.user_ids))
    enough = np.flatnonzero(counts >= each)
    if len(enough) < n_users:
        enough = np.argsort(-counts, kind="stable")[:n_users]
    users = rng.choice(enough, min(n_users, len(enough)), replace=False)
    drawn = table.select(np.isin(table.user, users))
    topic, difficulty = _few_topics(table, drawn, users, rng)
    folded = AnswerTable.from_columns(
        user=drawn.user, user_ids=drawn.user_ids, topic=topic, topics=[f"topic {n}" for n in range(TOPICS)],
        difficulty=difficulty, is_correct=drawn.is_correct, seconds=drawn.seconds, at=drawn.at, order=drawn.order,
        item=drawn.item,
    )  # fmt: skip
    return folded.select(np.argsort(folded.order, kind="stable")[:ANSWERS])


def _few_topics(
    table: AnswerTable, drawn: AnswerTable, users: IntArray, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Return topics dealt into 7, and difficulties: the file's, or quarters of the topics by success. (N,) each.

    Success is that of the users who were not drawn, as a teacher would know it.
    """
    group = rng.permutation(len(table.topics)) % TOPICS
    if np.unique(table.difficulty).size > 1:
        return group[drawn.topic], drawn.difficulty.astype(np.int64)
    others = ~np.isin(table.user, users)
    attempts = np.bincount(table.topic[others], minlength=len(table.topics))
    correct = np.bincount(table.topic[others], weights=table.is_correct[others], minlength=len(table.topics))
    rank = np.argsort(np.argsort(-(correct + 1.0) / (attempts + 2.0), kind="stable"), kind="stable")
    difficulty = 1 + rank * N_LEVELS // len(table.topics)
    return group[drawn.topic], difficulty[drawn.topic]


def newest_rows(table: AnswerTable) -> Rows:
    """Return a mask (N,) of the newest 20 % of the answers."""
    newest = np.zeros(len(table), dtype=np.bool_)
    newest[np.argsort(table.order, kind="stable")[round(TRAINED_SHARE * len(table)) :]] = True
    return newest


def judge(table: AnswerTable) -> Job:
    """Train on the older 80 % of a draw, and score the newest 20 %: served, and the yardsticks."""
    from training_job.scores import holdout_scores, log_losses, root_mean_square

    newest = newest_rows(table)
    predictor, _ = trained(table.select(~newest))
    scores = holdout_scores(predictor, table, newest)
    correct, timed, logs = table.is_correct[newest], table.timed, table.log_seconds
    share = float(np.clip(table.is_correct[~newest].mean(), 0.01, 0.99))
    item = np.unique(
        np.where(table.item == NO_ITEM, -1 - (table.topic * N_LEVELS + table.level), table.item), return_inverse=True
    )[1].ravel()
    chances = {"mean": np.full(len(correct), share), "running_mean": running_means(table, item, ~newest)[newest]}
    expected: dict[str, FloatArray] = {}
    if (timed & ~newest).any():
        mean = np.full(len(table), logs[timed & ~newest].mean())
        expected = {"mean": mean, "running_mean": running_log_seconds(table, item, ~newest)}
    names = ("log_loss", "lnirt_log_loss", "log_time_rmse", "lnirt_log_time_rmse")
    job: dict[str, float | None] = {name: scores[name] for name in names}
    for name, chance in chances.items():
        job[f"{name}_log_loss"] = float(log_losses(correct, chance).mean())
        errors = (logs - expected[name])[newest & timed] if expected else logs[:0]
        job[f"{name}_log_time_rmse"] = root_mean_square(errors)
    return job


def run_job(table: AnswerTable, context: ForkServerContext) -> Job:
    """Return one draw's scores and ``job_s``, from a process of its own. Raises EOFError if the process dies."""
    begun = time.monotonic()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_judge_for, args=(table, theirs))
    process.start()
    theirs.close()
    with ours:
        job = ours.recv()
    process.join()
    return {**job, "job_s": time.monotonic() - begun}


def _judge_for(table: AnswerTable, connection: Connection) -> None:
    connection.send(judge(table))


def summary(jobs: Sequence[Job]) -> dict[str, Any]:
    """Return the figures over all draws. Those of times are None when no draw has any."""
    figures: dict[str, Any] = {}
    for name in ("log_loss", "log_time_rmse"):
        for base in YARDSTICKS:
            pairs = [(job[name], job[f"{base}_{name}"]) for job in jobs]
            ratios = [ours / theirs for ours, theirs in pairs if ours is not None and theirs]
            figures[f"mean_{name}_ratio_to_{base}"] = statistics.fmean(ratios) if ratios else None
            figures[f"worst_{name}_ratio_to_{base}"] = max(ratios, default=None)
    figures["log_time_rmse_ratio_to_running_mean"] = figures.pop("mean_log_time_rmse_ratio_to_running_mean")
    figures["job_s_median"] = statistics.median(float(job["job_s"] or 0.0) for job in jobs)
    return figures


def source(data: Path | None) -> AnswerTable:
    """Return the answers to draw from: those of the named file, or simulated ones."""
    if data is not None:
        return read_answers(data).table
    with tempfile.TemporaryDirectory(prefix="studysmart-") as folder:
        path = Path(folder) / "history.csv"
        simulator.write_csv(simulator.history(20_000, n_users=100), path)
        return read_answers(path).table


def main() -> int:
    parser = parser_of("small_data", __doc__)
    parser.add_argument("--data", type=Path, nargs="+", help="files of answers, .csv or .csv.gz (default: simulated)")
    parser.add_argument("--draws", type=int, default=DRAWS, help="number of draws from each file")
    parser.add_argument("--seed", type=int, default=0, help="of the first draw of each file")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="number of trainings at a time")
    options = parser.parse_args()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    files: dict[str, list[Job]] = {}
    for path in options.data or [None]:
        table = source(path)
        draws = [draw(table, seed) for seed in range(options.seed, options.seed + options.draws)]
        jobs = files.setdefault(str(path or "simulated"), [])
        with ThreadPoolExecutor(options.jobs) as threads:
            for job in threads.map(run_job, draws, [context] * len(draws)):
                note(options, f"draw {len(jobs)} of {path or 'simulated students'}: {job}")
                jobs.append(job)
    every = [job for jobs in files.values() for job in jobs]
    by_file = {name: summary(jobs) for name, jobs in files.items()} if len(files) > 1 else {}
    return print_figures({"files": by_file, **summary(every)})


if __name__ == "__main__":
    sys.exit(main())
