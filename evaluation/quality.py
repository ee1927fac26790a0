"""How well a version predicts the answers of students that it was not trained on.

``python -m evaluation.quality --data FILE --json [--seed 0]`` trains one version as the worker would, from the training
users only, and predicts the test users' answers one by one, each from that user's earlier answers. The last line is
one JSON object; what the file has no times for is null.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import FloatArray
from chalicelib.prediction.predictor import Predictor
from evaluation.answers import read_answers, rows_to_test, short
from evaluation.counterfactual import predictions_after
from training_job.fit.train import TrainedVersion, train_version
from training_job.history.answers import AnswerTable
from training_job.history.replay import predict_history
from training_job.scores import auc, holdout_scores, log_losses

Rows = npt.NDArray[np.bool_]


def measure(table: AnswerTable, test: Rows, seed: int, verbose: bool = False) -> dict[str, Any]:
    """All figures of a version trained on the rows outside ``test`` (N,), and judged on those in it."""
    begun = time.monotonic()

    def report(progress: Mapping[str, Any]) -> None:
        if verbose:
            print(f"{time.monotonic() - begun:6.1f} s {dict(progress)}", file=sys.stderr, flush=True)

    trained = train_version(table.select(~test), version="benchmark", seed=seed, on_progress=report)
    train_s = time.monotonic() - begun
    predictor = predictor_of(trained)
    tested = np.isin(table.user, np.unique(table.user[test]))
    return {
        **_scores(predictor, table.select(tested), test[tested]),
        **_topic_mean(table, test),
        "train_s": train_s,
        "artifact_kb": sum(map(len, trained.files.values())) / 1024,
    }


def predictor_of(trained: TrainedVersion) -> Predictor:
    """The version as serving reads it."""
    return Predictor.from_files({**trained.files, "metadata.json": json.dumps(trained.metadata).encode()})


def _scores(predictor: Predictor, table: AnswerTable, test: Rows) -> dict[str, Any]:
    scores = holdout_scores(predictor, table, test)
    right, wrong = (after[test] for after in predictions_after(predictor, table))
    names = ("auc", "log_loss", "ece", "lnirt_auc", "lnirt_log_loss")
    times = ("log_time_rmse", "lnirt_log_time_rmse", "coverage80")
    rmse, base = scores["log_time_rmse"], scores["lnirt_log_time_rmse"]
    known = bool(scores["n_timed"]) and predictor.lnirt.time is not None
    return {
        **{name: scores[name] for name in names},
        "directional_consistency": float((right >= wrong).mean()),
        **{name: scores[name] if known else None for name in times},
        "log_time_rmse_ratio_to_lnirt": rmse / base if known else None,
        "median_abs_pct_error": _pct_error(predictor, table, test) if known else None,
    }


def _pct_error(predictor: Predictor, table: AnswerTable, test: Rows) -> float:
    """Median of |predicted - actual| / actual seconds, in percent."""
    timed = test & table.timed
    seconds = np.exp(predict_history(predictor, table, timed).log_seconds)
    actual = table.seconds[timed]
    return float(100.0 * np.median(np.abs(seconds - actual) / actual))


def _topic_mean(table: AnswerTable, test: Rows) -> dict[str, float | None]:
    """Scores of each topic's share of correct answers in training, two imagined answers at the overall share added."""
    probability = topic_means(table, ~test)[table.topic[test]]
    correct = table.is_correct[test]
    return {
        "topic_mean_auc": auc(correct, probability),
        "topic_mean_log_loss": float(log_losses(correct, probability).mean()),
    }


def topic_means(table: AnswerTable, known: Rows) -> FloatArray:
    """Smoothed share of correct answers per topic over the ``known`` rows. Shape (T,)."""
    share = float(np.clip(table.is_correct[known].mean(), 0.01, 0.99))
    attempts = np.bincount(table.topic[known], minlength=len(table.topics))
    correct = np.bincount(table.topic[known], weights=table.is_correct[known], minlength=len(table.topics))
    means: FloatArray = (correct + 2.0 * share) / (attempts + 2.0)
    return means


def main() -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.quality", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="answers, .csv or .csv.gz")
    parser.add_argument("--seed", type=int, default=0, help="of the users' split and of the training")
    parser.add_argument("--json", action="store_true", help="only the JSON line, no progress")
    options = parser.parse_args()
    answers = read_answers(options.data)
    if answers.skipped:
        print(f"{answers.skipped} rows without a user, a topic or a result were skipped", file=sys.stderr)
    figures = measure(answers.table, rows_to_test(answers, options.seed), options.seed, verbose=not options.json)
    print(json.dumps(short(figures)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
