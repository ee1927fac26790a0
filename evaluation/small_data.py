"""What the served model is worth on very little data: some 679 answers by 4 to 10 users on 7 topics.

``python -m evaluation.small_data --json [--data FILE]`` makes 20 seeded draws from a file of answers and runs one
training for each, in a process of its own as a fresh worker would (its wall time, TensorFlow's import included, is
``job_s``). The first 80 % of a draw, in time, are learnt from; the last 20 % are predicted one by one from earlier
answers. Ratios compare the loss of what would be served with that of LNIRT alone, and of the mean. Below 1 is better.

Without ``--data`` the draws come from simulated students. A file's topics are dealt into 7 at random.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import N_LEVELS
from evaluation import simulator
from evaluation.answers import mean_of, read_answers, short
from training_job.history.answers import COLUMN_TYPES, AnswerTable

DRAWS, ANSWERS, TOPICS = 20, 679, 7
LEAST_USERS, MOST_USERS = 4, 10
TRAINED_SHARE = 0.8


def draw(table: AnswerTable, seed: int) -> AnswerTable:
    """About 679 answers of 4 to 10 random users on 7 topics, in their order of time; the same for the same seed."""
    rng = np.random.default_rng(seed)
    n_users = int(rng.integers(LEAST_USERS, MOST_USERS + 1))
    each = -(-ANSWERS // n_users)
    counts = np.bincount(table.user, minlength=len(table.user_ids))
    enough = np.flatnonzero(counts >= each)
    if len(enough) < n_users:
        enough = np.argsort(-counts, kind="stable")[:n_users]
    users = rng.choice(enough, min(n_users, len(enough)), replace=False)
    drawn = table.select(np.isin(table.user, users))
    topic, level = _few_topics(table, drawn, users, rng)
    folded = AnswerTable.from_columns(
        user=drawn.user, user_ids=drawn.user_ids, topic=topic, topics=[f"topic {n}" for n in range(TOPICS)],
        difficulty=level, is_correct=drawn.is_correct, seconds=drawn.seconds, at=drawn.at, order=drawn.order,
    )  # fmt: skip
    return folded.select(np.argsort(folded.order, kind="stable")[:ANSWERS])


def _few_topics(
    table: AnswerTable, drawn: AnswerTable, users: npt.NDArray[np.int64], rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Topics dealt at random into 7, (N,), and difficulties, (N,): the file's, or quarters of the topics by success.

    Success is that of the users who were not drawn, as a teacher would know it.
    """
    group = rng.permutation(len(table.topics)) % TOPICS
    if np.unique(table.difficulty).size > 1:
        return group[drawn.topic], drawn.difficulty.astype(np.int64)
    others = ~np.isin(table.user, users)
    attempts = np.bincount(table.topic[others], minlength=len(table.topics))
    correct = np.bincount(table.topic[others], weights=table.is_correct[others], minlength=len(table.topics))
    rank = np.argsort(np.argsort(-(correct + 1.0) / (attempts + 2.0), kind="stable"), kind="stable")
    level = 1 + rank * N_LEVELS // len(table.topics)
    return group[drawn.topic], level[drawn.topic]


def judge(table: AnswerTable) -> dict[str, float | None]:
    """Train on the older 80 % of a draw and score the newest 20 %: served, LNIRT alone, the mean."""
    from evaluation.quality import predictor_of
    from training_job.fit.train import train_version
    from training_job.scores import holdout_scores, log_losses, root_mean_square

    newest = np.zeros(len(table), dtype=np.bool_)
    newest[np.argsort(table.order, kind="stable")[round(TRAINED_SHARE * len(table)) :]] = True
    trained = train_version(table.select(~newest), version="benchmark")
    scores = holdout_scores(predictor_of(trained), table, newest)
    share = float(np.clip(table.is_correct[~newest].mean(), 0.01, 0.99))
    correct = table.is_correct[newest]
    timed = table.timed & ~newest
    spread = table.log_seconds[newest & table.timed] - (table.log_seconds[timed].mean() if timed.any() else 0.0)
    names = ("log_loss", "lnirt_log_loss", "log_time_rmse", "lnirt_log_time_rmse")
    return {
        **{name: scores[name] for name in names},
        "mean_log_loss": float(log_losses(correct, np.full(len(correct), share)).mean()),
        "mean_log_time_rmse": root_mean_square(spread),
    }


def run_job(table: AnswerTable, folder: Path) -> dict[str, float | None]:
    """One draw's scores and ``job_s``, from a fresh process."""
    path = folder / "draw.npz"
    columns: dict[str, Any] = {name: getattr(table, name) for name in COLUMN_TYPES}
    np.savez(path, names=np.array([*table.user_ids]), topics=np.array([*table.topics]), **columns)
    begun = time.monotonic()
    command = [sys.executable, "-m", "evaluation.small_data", "--job", str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    job_s = time.monotonic() - begun
    return {**json.loads(done.stdout.splitlines()[-1]), "job_s": job_s}


def read_draw(path: Path) -> AnswerTable:
    """A draw as :func:`run_job` wrote it."""
    with np.load(path) as stored:
        columns: dict[str, Any] = {name: stored[name] for name in COLUMN_TYPES}
        return AnswerTable.from_columns(
            user_ids=[str(name) for name in stored["names"]], topics=[str(name) for name in stored["topics"]], **columns
        )


def summary(jobs: list[Mapping[str, float | None]]) -> dict[str, float | None]:
    """The figures over all draws; those of times are null when no draw has any."""

    def ratios(name: str, base: str) -> list[float]:
        pairs = [(job[name], job[base]) for job in jobs]
        return [ours / theirs for ours, theirs in pairs if ours is not None and theirs]

    figures: dict[str, float | None] = {}
    for name in ("log_loss", "log_time_rmse"):
        to_lnirt, to_mean = ratios(name, f"lnirt_{name}"), ratios(name, f"mean_{name}")
        figures[f"mean_{name}_ratio_to_lnirt"] = mean_of(to_lnirt) if to_lnirt else None
        figures[f"worst_{name}_ratio_to_lnirt"] = max(to_lnirt, default=None)
        figures[f"mean_{name}_ratio_to_mean"] = mean_of(to_mean) if to_mean else None
    figures["job_s_median"] = statistics.median(float(job["job_s"] or 0.0) for job in jobs)
    return figures


def source(data: Path | None) -> AnswerTable:
    """Return the answers of the named file, or simulated ones."""
    if data is not None:
        return read_answers(data).table
    with tempfile.TemporaryDirectory(prefix="studysmart-") as folder:
        path = Path(folder) / "history.csv"
        simulator.write_csv(simulator.history(20_000, n_users=100), path)
        return read_answers(path).table


def main() -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.small_data", description=__doc__)
    parser.add_argument("--data", type=Path, help="answers, .csv or .csv.gz")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--json", action="store_true", help="only the JSON line, no progress")
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(judge(read_draw(options.job))))
        return 0
    table = source(options.data)
    jobs: list[Mapping[str, float | None]] = []
    with tempfile.TemporaryDirectory(prefix="studysmart-") as folder:
        for seed in range(options.draws):
            jobs.append(run_job(draw(table, seed), Path(folder)))
            if not options.json:
                print(f"draw {seed}: {short(jobs[-1])}", file=sys.stderr, flush=True)
    print(json.dumps(short(summary(jobs))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
