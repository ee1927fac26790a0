"""The gate: whether a challenger takes the champion's place, judged on the time-ordered hold-out.

Both are scored answer by answer, by log-loss and by squared error of log seconds, and the challenger loses when it is
worse in one of the two with 95 % confidence (paired bootstrap) and by more than a tolerance. A version that is
published has learnt from every answer of its snapshot, so two comparisons are possible (docs/decisions/0006):

* on hold-out answers that came after the champion's snapshot. For the challenger stand the networks that were
  validated, which have not learnt from the hold-out either; answers on topics that they cannot know are left out,
  since the published version does know them.
* on hold-out answers that both versions have learnt from, while fewer than ``MIN_UNSEEN`` came later. What a version
  remembers flatters it, so this one finds only what is clearly worse.

Whether the networks beat LNIRT alone was decided before, on the hold-out, while training
(:func:`training_job.fit.calibrate.calibrated`): where they do not, the challenger *is* LNIRT.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import FloatArray
from chalicelib.prediction.predictor import Predictor
from training_job.bootstrap import mean_difference, short
from training_job.fit.calibrate import MIN_VALIDATION
from training_job.fit.lnirt import clipped_times
from training_job.fit.split import validation_rows
from training_job.history.answers import AnswerTable
from training_job.history.replay import predict_history
from training_job.history.summaries import topic_codes
from training_job.publish import Incumbent, Judge, Verdict
from training_job.scores import log_losses

MIN_UNSEEN = 50
"""Hold-out answers after the champion's snapshot from which they alone decide."""

MIN_COMPARED = MIN_VALIDATION
"""Answers below which nothing is concluded. A version with a smaller hold-out is LNIRT in any case."""

UNSEEN_TOLERANCE = 0.005
"""By how much of the champion's loss a challenger may be worse on answers that neither has learnt from."""

SEEN_TOLERANCE = 0.05
"""The same on answers that both have learnt from: a network that was trained longer remembers more of them."""

NEWEST_ANSWER = "newest_answer_at"
"""In ``metadata.json``: how far the snapshot reached, in seconds since the epoch, null where no answer has a time."""

MEASURES = {"log_loss": "log-loss", "log_time_mse": "squared log-time error"}
"""What is compared, and how a reason calls it."""

Rows = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Contest:
    """Who stands for the challenger, on which answers, and by what share of the champion's loss it may be worse."""

    entrant: Predictor
    rows: Rows
    tolerance: float
    kind: str


def reach(table: AnswerTable) -> float | None:
    """The time of the newest answer of a snapshot: every answer with a later one is not in it. None without times."""
    known = table.at[~np.isnan(table.at)]
    return float(known.max()) if len(known) else None


def unseen_rows(table: AnswerTable, metadata: Mapping[str, Any]) -> Rows:
    """Which answers a version's snapshot surely lacked, (N,), by what its metadata say of its reach.

    Answers without a time, and imported ones with an old time, count as seen; so does everything where the metadata
    of an older version say nothing.
    """
    reached = metadata.get(NEWEST_ANSWER)
    if isinstance(reached, bool) or not isinstance(reached, int | float) or not math.isfinite(reached):
        return np.zeros(len(table), dtype=np.bool_)
    return table.at > reached


def judge_on(table: AnswerTable, validated: Predictor) -> Judge:
    """A judge over the hold-out of ``table``, the challenger's snapshot.

    ``validated`` has the challenger's networks as they were when the hold-out was still unknown to them.
    """
    holdout = validation_rows(table)
    # Times are pulled in as for training, so that one of 20 hours does not decide.
    log_seconds = (clipped_times(table) if table.timed.any() else table).log_seconds
    concerned = np.isin(table.user, table.user[holdout])
    table, holdout, log_seconds = table.select(concerned), holdout[concerned], log_seconds[concerned]
    known = (topic_codes(table.topics, validated.lnirt) != validated.lnirt.average_row)[table.topic]

    def judge(champion: Incumbent | None, challenger: Predictor) -> Verdict:
        if champion is None:
            return Verdict(True, "there is no champion to compare with", {})
        later = holdout & unseen_rows(table, champion.metadata)
        contest = _contest(validated, later & known, challenger, holdout & ~later, holdout)
        return _decide(contest, champion.predictor, table, log_seconds, int(later.sum()))

    return judge


def _contest(validated: Predictor, unseen: Rows, challenger: Predictor, seen: Rows, holdout: Rows) -> _Contest:
    if unseen.sum() >= MIN_UNSEEN:
        return _Contest(validated, unseen, UNSEEN_TOLERANCE, "that neither has learnt from")
    if seen.sum() >= MIN_COMPARED:
        return _Contest(challenger, seen, SEEN_TOLERANCE, "that both have learnt from")
    return _Contest(challenger, holdout, SEEN_TOLERANCE, "of the hold-out")


def _decide(
    contest: _Contest, champion: Predictor, table: AnswerTable, log_seconds: FloatArray, unseen: int
) -> Verdict:
    rows = contest.rows
    ours, theirs = (_losses(version, table, rows, log_seconds) for version in (contest.entrant, champion))
    for losses, promoted, whose in ((ours, False, "the challenger"), (theirs, True, "the champion")):
        if not all(np.isfinite(loss).all() for loss in losses.values()):
            return Verdict(promoted, f"{whose} gives values that are not finite", {})
    n, students = int(rows.sum()), table.user[rows]
    figures: dict[str, float] = {"n": n, "n_unseen": unseen, "n_students": len(np.unique(students))}
    words, worse = [], []
    for name, scored in (("log_loss", np.ones(n, dtype=np.bool_)), ("log_time_mse", table.timed[rows])):
        if not scored.any():
            continue
        mine, other = ours[name][scored], theirs[name][scored]
        found = mean_difference(mine, other, students[scored])
        figures |= {f"challenger_{name}": short(float(mine.mean())), f"champion_{name}": short(float(other.mean()))}
        figures |= {f"{name}_{key}": value for key, value in found.figures().items()}
        words.append(f"{MEASURES[name]} {mine.mean():.4f} against {other.mean():.4f}")
        if found.n >= MIN_COMPARED and found.low > contest.tolerance * float(other.mean()):
            worse.append(MEASURES[name])
    reason = f"{', '.join(words)} on {n} answers {contest.kind}"
    if worse:
        return Verdict(False, f"worse in {' and '.join(worse)}: {reason}", figures)
    return Verdict(True, reason if n >= MIN_COMPARED else f"{reason}, too few to tell", figures)


def _losses(version: Predictor, table: AnswerTable, rows: Rows, log_seconds: FloatArray) -> dict[str, FloatArray]:
    """Losses of what a version would have served, (n,) each, against ``log_seconds`` (N,)."""
    served = predict_history(version, table, rows)
    return {
        "log_loss": log_losses(table.is_correct[rows], served.correct),
        "log_time_mse": np.square(log_seconds[rows] - served.log_seconds),
    }
