"""The gate: champion and challenger on the same time-ordered hold-out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from chalicelib.features.answers import AnswerTable
from chalicelib.prediction.predictor import Predictor
from training_job.evaluate import holdout_scores
from training_job.publish import Verdict

HOLDOUT_SHARE = 0.2
"""The newest share of all answers on which champion and challenger meet."""

STANDARD_ERRORS = 1.0
"""A challenger loses when it is worse by more than this many standard errors of the paired difference."""


def newest(table: AnswerTable, share: float = HOLDOUT_SHARE) -> npt.NDArray[np.bool_]:
    """Which answers are the newest ``share`` in the order of time. Shape (N,)."""
    first = np.sort(table.order)[len(table) - max(1, round(share * len(table)))]
    return np.asarray(table.order >= first)


def judge_on(table: AnswerTable) -> Callable[[Predictor | None, Predictor], Verdict]:
    """A judge that scores both on the newest answers of ``table``, each from the answers before it."""
    holdout = newest(table)

    def judge(champion: Predictor | None, challenger: Predictor) -> Verdict:
        if champion is None:
            return Verdict(True, "there is no champion yet", {})
        theirs = holdout_scores(champion, table, holdout)
        ours = holdout_scores(challenger, table, holdout)
        worse = np.asarray(ours["losses"]) - np.asarray(theirs["losses"])
        error = float(worse.std(ddof=1) / np.sqrt(len(worse))) if len(worse) > 1 else 0.0
        figures = {
            "champion_log_loss": float(theirs["log_loss"]),
            "challenger_log_loss": float(ours["log_loss"]),
            "difference": float(worse.mean()),
            "standard_error": error,
        }
        promoted = bool(worse.mean() <= STANDARD_ERRORS * error)
        comparison = f"log-loss {figures['challenger_log_loss']:.4f} against {figures['champion_log_loss']:.4f}"
        reason = f"{comparison} on the newest {int(holdout.sum())} answers"
        return Verdict(promoted, reason, figures)

    return judge
