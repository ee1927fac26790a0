"""How well a version predicts the answers of students that it was not trained on.

``python -m evaluation.quality --data FILE --json [--seed 0]`` trains one version as the worker would, from the training
students only, and predicts the test students' answers one by one, each from the earlier answers of its student. The
last line is one JSON object. Figures of time are null for a file without times.

``directional_consistency`` is the share of test answers after which the same task is predicted at least as likely to be
correct if the answer was correct as if it was incorrect. It is measured on some test answers, drawn at random.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from chalicelib.domain.lnirt import FloatArray, IntArray
from chalicelib.features.state import Answer
from chalicelib.prediction.predictor import Predictor
from evaluation.answers import read_answers, rows_to_test
from evaluation.program import Practice, note, parser_of, print_figures, trained
from training_job.history.answers import AnswerTable, Rows
from training_job.history.replay import predict_history
from training_job.scores import auc, holdout_scores, log_losses

CONSISTENCY_ANSWERS = 2000
"""Maximum number of test answers of which the directional consistency is measured."""

SCORES = ("auc", "log_loss", "ece", "lnirt_auc", "lnirt_log_loss")
TIME_SCORES = ("log_time_rmse", "lnirt_log_time_rmse", "coverage80")


def scores(predictor: Predictor, table: AnswerTable, test: Rows, seed: int) -> dict[str, Any]:
    """Return the scores of a version for the ``test`` (N,) answers."""
    found = holdout_scores(predictor, table, test)
    known = bool(found["n_timed"]) and predictor.lnirt.time is not None
    drawn = np.random.default_rng(seed).permutation(np.flatnonzero(test))[:CONSISTENCY_ANSWERS]
    if_correct, if_incorrect = predictions_after(predictor, table, np.sort(drawn))
    return {
        **{name: found[name] for name in SCORES},
        "directional_consistency": float((if_correct >= if_incorrect).mean()),
        **{name: found[name] if known else None for name in TIME_SCORES},
        "log_time_rmse_ratio_to_lnirt": found["log_time_rmse"] / found["lnirt_log_time_rmse"] if known else None,
        "median_abs_pct_error": median_abs_pct_error(predictor, table, test) if known else None,
    }


def predictions_after(predictor: Predictor, table: AnswerTable, rows: IntArray) -> FloatArray:
    """Predict the same task right after each of ``rows`` (n,), had the answer been correct, and incorrect. (2, n)."""
    after: list[list[float]] = []
    for user in np.unique(table.user[rows]):
        practice = Practice(table.user_ids[user])
        begin, end = np.searchsorted(table.user, [user, user + 1])
        requested = set(rows[(rows >= begin) & (rows < end)].tolist())
        for row in range(begin, end):
            answer = answer_of(table, row)
            if row in requested:
                states = [practice.state_after(msgspec.structs.replace(answer, is_correct=b)) for b in (True, False)]
                task = (answer.topic, answer.difficulty, answer.at or datetime.now(UTC))
                after.append([predictor.predict(state, *task).correct for state in states])
            practice.add(answer)
    return np.array(after).reshape(-1, 2).T


def answer_of(table: AnswerTable, row: int) -> Answer:
    """Return one row of a table as the practice state takes it."""
    at = float(table.at[row])
    return Answer(
        table.topics[table.topic[row]],
        int(table.difficulty[row]),
        bool(table.is_correct[row]),
        float(table.seconds[row]) if table.timed[row] else None,
        None if np.isnan(at) else datetime.fromtimestamp(at, UTC),
    )


def median_abs_pct_error(predictor: Predictor, table: AnswerTable, test: Rows) -> float:
    """Return the median of \\|predicted - actual\\| / actual seconds over the timed ``test`` answers, in percent."""
    timed = test & table.timed
    seconds = np.exp(predict_history(predictor, table, timed).log_seconds)
    return float(100.0 * np.median(np.abs(seconds - table.seconds[timed]) / table.seconds[timed]))


def topic_means(table: AnswerTable, known: Rows) -> FloatArray:
    """Return the share of correct answers per topic over the ``known`` rows. Shape (T,).

    Two imagined answers at the overall share are added to each topic.
    """
    share = float(np.clip(table.is_correct[known].mean(), 0.01, 0.99))
    attempts = np.bincount(table.topic[known], minlength=len(table.topics))
    correct = np.bincount(table.topic[known], weights=table.is_correct[known], minlength=len(table.topics))
    means: FloatArray = (correct + 2.0 * share) / (attempts + 2.0)
    return means


def main() -> int:
    parser = parser_of("quality", __doc__)
    parser.add_argument("--data", type=Path, required=True, help="answers, .csv or .csv.gz")
    parser.add_argument("--seed", type=int, default=0, help="of the users' split and of the training")
    options = parser.parse_args()
    answers = read_answers(options.data)
    if answers.skipped:
        print(f"{answers.skipped} rows without a user, a topic or a result were skipped", file=sys.stderr)
    table, test = answers.table, rows_to_test(answers, options.seed)
    begun = time.monotonic()

    def on_progress(progress: Mapping[str, Any]) -> None:
        note(options, f"{time.monotonic() - begun:6.1f} s {dict(progress)}")

    predictor, files = trained(table.select(~test), options.seed, on_progress=on_progress)
    train_s = time.monotonic() - begun
    tested = np.isin(table.user, np.unique(table.user[test]))
    by_topic, correct = topic_means(table, ~test)[table.topic[test]], table.is_correct[test]
    return print_figures(
        {
            **scores(predictor, table.select(tested), test[tested], options.seed),
            "topic_mean_auc": auc(correct, by_topic),
            "topic_mean_log_loss": float(log_losses(correct, by_topic).mean()),
            "train_s": train_s,
            "artifact_kb": sum(map(len, files.values())) / 1024,
        }
    )


if __name__ == "__main__":
    sys.exit(main())
