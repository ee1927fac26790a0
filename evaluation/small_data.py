"""How much better the served model is than LNIRT alone on very little data: 679 answers, 4 to 10 users, 7 topics.

``python -m evaluation.small_data --json [--data FILE]`` makes 20 seeded draws from a file of answers, and trains on
each in a process of its own, as a fresh worker would. ``job_s`` is the wall time of that process, with the import of
TensorFlow. The first 80 % of a draw, in time, are learnt from. The last 20 % are predicted one by one from the earlier
answers. Ratios compare the loss of what would be served with that of LNIRT alone and of the mean. Below 1 is better.

Without ``--data`` the draws come from simulated students. A file's topics are dealt into 7 at random.
"""

from __future__ import annotations

import argparse
import json
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from chalicelib.domain.lnirt import N_LEVELS, IntArray
from evaluation import simulator
from evaluation.answers import read_answers
from evaluation.program import note, parser_of, print_figures, trained
from training_job.history.answers import AnswerTable

DRAWS, ANSWERS, TOPICS = 20, 679, 7
MIN_USERS, MAX_USERS = 4, 10
TRAINED_SHARE = 0.8

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


def judge(table: AnswerTable) -> Job:
    """Train on the older 80 % of a draw, and score the newest 20 %: served, LNIRT alone, the mean."""
    from training_job.scores import holdout_scores, log_losses, root_mean_square

    newest = np.zeros(len(table), dtype=np.bool_)
    newest[np.argsort(table.order, kind="stable")[round(TRAINED_SHARE * len(table)) :]] = True
    predictor, _ = trained(table.select(~newest))
    scores = holdout_scores(predictor, table, newest)
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


def run_job(table: AnswerTable, folder: Path) -> Job:
    """Return one draw's scores and ``job_s``, from a fresh process."""
    path = folder / "draw"
    path.write_bytes(pickle.dumps(table))
    begun = time.monotonic()
    command = [sys.executable, "-m", "evaluation.small_data", "--job", str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {**json.loads(done.stdout.splitlines()[-1]), "job_s": time.monotonic() - begun}


def summary(jobs: Sequence[Job]) -> Job:
    """Return the figures over all draws. Those of times are None when no draw has any."""

    def ratios(name: str, base: str) -> list[float]:
        pairs = [(job[name], job[base]) for job in jobs]
        return [ours / theirs for ours, theirs in pairs if ours is not None and theirs]

    figures: dict[str, float | None] = {}
    for name in ("log_loss", "log_time_rmse"):
        to_lnirt, to_mean = ratios(name, f"lnirt_{name}"), ratios(name, f"mean_{name}")
        figures[f"mean_{name}_ratio_to_lnirt"] = statistics.fmean(to_lnirt) if to_lnirt else None
        figures[f"worst_{name}_ratio_to_lnirt"] = max(to_lnirt, default=None)
        figures[f"mean_{name}_ratio_to_mean"] = statistics.fmean(to_mean) if to_mean else None
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
    parser.add_argument("--data", type=Path, help="answers, .csv or .csv.gz")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(judge(pickle.loads(options.job.read_bytes()))))  # noqa: S301 - own data
        return 0
    table = source(options.data)
    jobs: list[Job] = []
    with tempfile.TemporaryDirectory(prefix="studysmart-") as folder:
        for seed in range(options.draws):
            jobs.append(run_job(draw(table, seed), Path(folder)))
            note(options, f"draw {seed}: {jobs[-1]}")
    return print_figures(summary(jobs))


if __name__ == "__main__":
    sys.exit(main())
