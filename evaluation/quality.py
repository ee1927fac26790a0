"""How well a version predicts the answers of students that it was not trained on.

``python -m evaluation.quality --data FILE --json`` trains versions as the worker would and predicts the answers of the
other students one by one, each from the earlier answers of its student. The last line is one JSON object.

A file with a column ``split`` has one part of test students. Any other file is cross-validated: its ``fold``, else a
fifth of the students, is left out in turn. A figure is then the mean over the folds, and ``NAME_sd`` the standard
deviation. Figures of time are null for a file without times.

- ``topic_mean_``, ``items_running_mean_``, ``dkt_`` and, for files with dates, ``fsrs_``: yardsticks on the same
  answers (:mod:`evaluation.baselines`, :mod:`evaluation.dkt`). DKT trains for as long as the version did.
- ``auc_gain_over_dkt``, and ``auc_gain_low`` and ``auc_gain_high``: the ends of its 95 % interval, from a paired
  bootstrap over students.
- ``log_loss_after_12h`` and ``bias_after_12h`` (mean predicted chance minus share of correct answers): the answers
  before which the student had paused for more than twelve hours.
- ``bias_first_answers``, ``worst_bias_by_activity`` and ``topic_bias``: the same for the first answers of students, for
  the tenth of the students (by number of answers) that is furthest off, and the root mean square over topics beyond
  what chance explains. ``topic_recalibration_gain`` is the log-loss that a shift of each topic would save
  (:mod:`evaluation.groups`).
- ``coverage80_low`` and ``coverage80_high``: the share of times in their interval, in the fifth of the predicted times
  where it is lowest and highest.
- ``directional_consistency``: share of answers after which the same task is predicted at least as likely to be correct
  if the answer was correct as if it was incorrect.
- ``shown_consistency``: share of answers after which the chance shown for the same topic and level does not fall if the
  answer was correct, and does not rise if it was incorrect.
- ``auc_if_held``: the AUC of predictions that are held to that rule, where a student repeats a task. It is the price of
  a guarantee.
- ``waiting_consistency``: share of answers, in files with dates, whose task is predicted no more likely to be correct a
  day later. If it is 1, waiting never raised a chance.

The consistencies are measured on some test answers, drawn at random. ``--protocol pykt`` cuts histories into windows of
200 answers, each of which starts anew, and leaves out the first answer of each, as published comparisons do.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from chalicelib.domain.lnirt import FloatArray, IntArray
from chalicelib.features.state import Answer
from chalicelib.prediction.predictor import Predictor
from evaluation.answers import AnswerFile, folds_of, read_answers
from evaluation.baselines import fsrs_chances, running_means, topic_means
from evaluation.dkt import dkt_chances
from evaluation.groups import (
    bias,
    coverage_by_fifth,
    held_to_outcomes,
    recalibration_gain,
    topic_bias,
    worst_bias_by_activity,
)
from evaluation.program import Practice, note, parser_of, print_figures, trained
from training_job.history.answers import AnswerTable, Rows
from training_job.history.replay import predict_history
from training_job.history.scan import group_bounds
from training_job.scores import auc, holdout_scores, log_losses, resampled_aucs

CONSISTENCY_ANSWERS = 2000
"""Maximum number of test answers of a fold of which the consistencies are measured."""

PAUSE_SECONDS = 12 * 3600
WINDOW = 200
"""Number of answers of a window of the protocol ``pykt``."""

SCORES = ("auc", "log_loss", "ece", "lnirt_auc", "lnirt_log_loss")
TIME_SCORES = ("log_time_rmse", "lnirt_log_time_rmse", "coverage80")

Figures = dict[str, float | None]


def scores(predictor: Predictor, table: AnswerTable, test: Rows, seed: int) -> tuple[Figures, FloatArray]:
    """Return the scores of a version for the ``test`` (N,) answers, and their chances (n,)."""
    found = holdout_scores(predictor, table, test)
    known = bool(found["n_timed"]) and predictor.lnirt.time is not None
    drawn = np.random.default_rng(seed).permutation(np.flatnonzero(test))[:CONSISTENCY_ANSWERS]
    before, later, if_correct, if_incorrect = predictions_around(predictor, table, np.sort(drawn))
    correct = table.is_correct[np.sort(drawn)]
    shown = np.where(correct, if_correct >= before, if_incorrect <= before)
    dated = np.isfinite(table.at[np.sort(drawn)])
    figures = {
        **{name: found[name] for name in SCORES},
        "directional_consistency": float((if_correct >= if_incorrect).mean()),
        "shown_consistency": float(shown.mean()),
        "waiting_consistency": float((later <= before)[dated].mean()) if dated.any() else None,
        **{name: found[name] if known else None for name in TIME_SCORES},
        "log_time_rmse_ratio_to_lnirt": found["log_time_rmse"] / found["lnirt_log_time_rmse"] if known else None,
        "median_abs_pct_error": median_abs_pct_error(predictor, table, test) if known else None,
    }
    fifths = coverage_by_fifth(found["inside"], found["log_seconds"]) if known else None
    figures["coverage80_low"], figures["coverage80_high"] = fifths or (None, None)
    return figures, found["chances"]


def predictions_around(predictor: Predictor, table: AnswerTable, rows: IntArray) -> FloatArray:
    """Predict the tasks of ``rows`` (n,) at four times. Shape (4, n).

    The times are when the student began, a day after that, and right after a correct and an incorrect answer.
    """
    around: list[list[float]] = []
    for user in np.unique(table.user[rows]):
        practice = Practice(table.user_ids[user])
        begin, end = np.searchsorted(table.user, [user, user + 1])
        requested = set(rows[(rows >= begin) & (rows < end)].tolist())
        for row in range(begin, end):
            answer, item = answer_of(table, row), int(table.item[row])
            if row in requested:
                ended = answer.at or datetime.now(UTC)
                begun = ended - timedelta(seconds=answer.seconds or 0.0)
                past = (practice.state(), practice.record(item))
                outcomes = [msgspec.structs.replace(answer, is_correct=correct) for correct in (True, False)]
                after = [(practice.state_after(other), practice.record_after(other, item)) for other in outcomes]
                moments = [(*past, begun), (*past, begun + timedelta(days=1)), *((*other, ended) for other in after)]
                around.append(
                    [
                        predictor.predict(state, answer.topic, answer.difficulty, moment, record).correct
                        for state, record, moment in moments
                    ]
                )
            practice.add(answer, item)
    return np.array(around).reshape(-1, 4).T


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


def in_windows(answers: AnswerFile, folds: Sequence[Rows]) -> tuple[AnswerFile, list[Rows]]:
    """Cut histories into windows, each a student of its own, and test no window's first answer."""
    table = answers.table
    first = group_bounds(table.user)
    place = np.arange(len(table)) - np.repeat(first[:-1], np.diff(first))
    user = np.cumsum(place % WINDOW == 0) - 1
    names = tuple(f"{table.user_ids[table.user[row]]}/{place[row]}" for row in np.flatnonzero(place % WINDOW == 0))
    cut = replace(table, user=user.astype(np.int32), user_ids=names)
    return replace(answers, table=cut), [test & (place % WINDOW > 0) for test in folds]


def after_pauses(table: AnswerTable) -> Rows:
    """Return a mask (N,) of the answers before which the student had paused for more than twelve hours."""
    pause = np.diff(table.at, prepend=np.nan)
    pause[group_bounds(table.user)[:-1]] = np.nan
    return np.nan_to_num(pause) > PAUSE_SECONDS


def fold_figures(answers: AnswerFile, test: Rows, seed: int, **how: Any) -> tuple[Figures, FloatArray]:
    """Return the figures of one fold, whose ``test`` (N,) answers are predicted, and resampled gains over DKT."""
    table, begun = answers.table, time.monotonic()
    tested = np.isin(table.user, np.unique(table.user[test]))
    predictor, files = trained(table.select(~test), seed, **how)
    train_s = time.monotonic() - begun
    figures, chances = scores(predictor, table.select(tested), test[tested], seed)
    correct, user = table.is_correct[test], table.user[test]
    running = running_means(table, answers.item, ~test)
    dkt = dkt_chances(table, test, train_s, seed)
    yardsticks = {
        "topic_mean": topic_means(table, ~test)[table.topic[test]],
        "items_running_mean": running[test],
        "dkt": dkt,
    }
    if np.isfinite(table.at[tested]).all():
        yardsticks["fsrs"] = fsrs_chances(table.select(tested), answers.item[tested], running[tested])[test[tested]]
    for name, predicted in yardsticks.items():
        figures |= {
            f"{name}_auc": auc(correct, predicted),
            f"{name}_log_loss": float(log_losses(correct, predicted).mean()),
        }
    late, topic = after_pauses(table)[test], table.topic[test]
    first = np.isin(np.flatnonzero(test), group_bounds(table.user)[:-1])
    figures |= {
        "log_loss_after_12h": float(log_losses(correct[late], chances[late]).mean()) if late.any() else None,
        "bias_after_12h": bias(correct, chances, late),
        "bias_first_answers": bias(correct, chances, first),
        "worst_bias_by_activity": worst_bias_by_activity(correct, chances, user),
        "topic_bias": topic_bias(correct, chances, topic),
        "auc_if_held": auc(correct, held_to_outcomes(correct, chances, *(key[test] for key in _same_task(table)))),
        "topic_recalibration_gain": recalibration_gain(correct, chances, topic, user),
        "train_s": train_s,
        "artifact_kb": sum(map(len, files.values())) / 1024,
    }
    gains = resampled_aucs(correct, chances, user, seed) - resampled_aucs(correct, dkt, user, seed)
    return figures, gains


def _same_task(table: AnswerTable) -> tuple[IntArray, ...]:
    """Return what two answers have in common if the same task was repeated, as codes (N,)."""
    columns = (table.user, table.topic, table.difficulty, table.item)
    return tuple(np.unique(column, return_inverse=True)[1].ravel() for column in columns)


def summary(parts: Sequence[Figures], gains: Sequence[FloatArray]) -> Figures:
    """Return mean and standard deviation of each figure over the folds, and the gain over DKT with its interval."""
    figures: Figures = {}
    for name in parts[0]:
        values = [value for part in parts if (value := part[name]) is not None]
        figures[name] = float(np.mean(values)) if len(values) == len(parts) else None
        if len(values) == len(parts) > 1:
            figures[f"{name}_sd"] = float(np.std(values, ddof=1))
    low, high = np.quantile(np.mean(gains, axis=0), [0.025, 0.975])
    if figures["auc"] is not None and figures["dkt_auc"] is not None:
        figures["auc_gain_over_dkt"] = figures["auc"] - figures["dkt_auc"]
    return figures | {"auc_gain_low": float(low), "auc_gain_high": float(high), "folds": len(parts)}


def main() -> int:
    parser = parser_of("quality", __doc__)
    parser.add_argument("--data", type=Path, required=True, help="answers, .csv or .csv.gz")
    parser.add_argument("--seed", type=int, default=0, help="of the users' folds and of the training")
    parser.add_argument("--folds", type=int, help="number of folds to evaluate (default: all)")
    parser.add_argument("--protocol", choices=("served", "pykt"), default="served", help="whole histories, or windows")
    options = parser.parse_args()
    answers = read_answers(options.data)
    if answers.skipped:
        print(f"{answers.skipped} rows without a user, a topic or a result were skipped", file=sys.stderr)
    folds = folds_of(answers, options.seed)[: options.folds]
    if options.protocol == "pykt":
        answers, folds = in_windows(answers, folds)
    begun = time.monotonic()

    def on_progress(progress: Mapping[str, Any]) -> None:
        note(options, f"{time.monotonic() - begun:6.1f} s {dict(progress)}")

    parts, gains = [], []
    for test in folds:
        figures, gain = fold_figures(answers, test, options.seed, on_progress=on_progress)
        note(options, f"{time.monotonic() - begun:6.1f} s {figures}")
        parts.append(figures)
        gains.append(gain)
    # On Linux the peak of the memory is counted in kilobytes.
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return print_figures({**summary(parts, gains), "rss_mb": rss_mb})


if __name__ == "__main__":
    sys.exit(main())
