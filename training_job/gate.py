"""The gate: decides on the time-ordered hold-out whether a challenger replaces the champion.

Both versions are scored answer by answer, by log-loss and by squared error of log seconds. The challenger loses when it
is worse in one of the two by more than a tolerance, with 95 % confidence (paired bootstrap). It also loses when it is
so much worse for the average student, or for students who had answered before the champion's snapshot: a few accounts
with many answers, or many new accounts, must not decide for the others (docs/decisions/0031).

A published version has learnt from every answer of its snapshot, so there are two comparisons (docs/decisions/0006):

* on hold-out answers that came after the champion's snapshot. The challenger is represented by the networks that were
  validated, because they have not learnt from the hold-out either. Answers on topics that these do not know are
  skipped, since the published version does know them.
* on hold-out answers that both versions have learnt from, while fewer than ``MIN_UNSEEN`` came later. A version
  remembers such answers, which makes it look good, so this comparison finds only what is clearly worse.

Networks that do not beat LNIRT on the hold-out were given up before, in training
(:func:`training_job.fit.calibrate.calibrated`). Then the challenger predicts exactly as LNIRT does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import FloatArray
from chalicelib.prediction.predictor import Predictor
from training_job.fit.calibrate import MIN_VALIDATION
from training_job.fit.lnirt import clipped_times
from training_job.fit.split import validation_rows
from training_job.history.answers import AnswerTable, Rows
from training_job.history.replay import predict_history
from training_job.scores import log_losses, mean_difference, short, student_means

MIN_UNSEEN = 50
"""Number of hold-out answers after the champion's snapshot from which they alone decide."""

MIN_COMPARED = MIN_VALIDATION
"""Number of answers below which nothing is concluded. A version with a smaller hold-out is LNIRT in any case."""

NEGLIGIBLE = 1e-4
"""A difference of mean losses that nobody would notice: 0.01 % of a chance, or 1 % of a time."""

UNSEEN_TOLERANCE = 0.005
"""Share of the champion's loss by which a challenger may be worse on answers that neither has learnt from."""

SEEN_TOLERANCE = 0.05
"""The same on answers that both have learnt from: a network that was trained longer remembers more of them."""

NEWEST_ANSWER = "newest_answer_at"
"""Field of ``metadata.json``: time of the snapshot's newest answer in seconds since the epoch, null without times."""

MEASURES = {"log_loss": "log-loss", "log_time_mse": "squared log-time error"}
"""The two losses, with their names in a verdict's reason."""


UnseenRows = Callable[[AnswerTable, Mapping[str, Any]], Rows]
"""Returns a mask (N,) of the answers that came after a version's snapshot, by its metadata."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision on a challenger, with the reason and the figures that ``metadata.json`` keeps."""

    promoted: bool
    reason: str
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The champion as it serves, and its ``metadata.json``."""

    predictor: Predictor
    metadata: Mapping[str, Any]


Judge = Callable[[Incumbent | None, Predictor], Verdict]
"""Compares the champion (None where none can be read) with a challenger on the same hold-out."""


@dataclass(frozen=True, slots=True)
class _Contest:
    """The answers on which a challenger is compared, by which predictor, and with which tolerance."""

    entrant: Predictor
    rows: Rows
    tolerance: float
    kind: str


def reach(table: AnswerTable) -> float | None:
    """Return the time of the newest answer in seconds since the epoch, None without times.

    An answer with a later time is not in the snapshot.
    """
    known = table.at[~np.isnan(table.at)]
    return float(known.max()) if len(known) else None


def unseen_rows(table: AnswerTable, metadata: Mapping[str, Any]) -> Rows:
    """Return the answers that came after a version's snapshot, by its metadata, as a mask (N,).

    An answer without a time, or an imported one with an old time, counts as seen. So does every answer where the
    metadata of an older version do not say how far its snapshot reached.
    """
    reached = metadata.get(NEWEST_ANSWER)
    if isinstance(reached, bool) or not isinstance(reached, int | float) or not math.isfinite(reached):
        return np.zeros(len(table), dtype=np.bool_)
    return table.at > reached


def judge_on(table: AnswerTable, validated: Predictor, unseen: UnseenRows = unseen_rows) -> Judge:
    """Return a judge over the hold-out of ``table``, the answers that the challenger's training learnt from.

    ``validated`` has the challenger's networks from before they learnt from the hold-out.
    """
    holdout = validation_rows(table)
    # Times are clipped as in training, so that one answer of 20 hours does not decide.
    log_seconds = (clipped_times(table) if table.timed.any() else table).log_seconds
    concerned = np.isin(table.user, table.user[holdout])
    table, holdout, log_seconds = table.select(concerned), holdout[concerned], log_seconds[concerned]
    known = validated.lnirt.knows(table.topic_rows(validated.lnirt))

    def judge(champion: Incumbent | None, challenger: Predictor) -> Verdict:
        if champion is None:
            return Verdict(True, "there is no champion to compare with", {})
        new = unseen(table, champion.metadata)
        later = holdout & new
        contest = _contest(validated, later & known, challenger, holdout & ~later, holdout)
        established = np.isin(table.user, table.user[~new])[contest.rows]
        return _decide(contest, champion.predictor, table, log_seconds, established, int(later.sum()))

    return judge


def _contest(validated: Predictor, unseen: Rows, challenger: Predictor, seen: Rows, holdout: Rows) -> _Contest:
    if unseen.sum() >= MIN_UNSEEN:
        return _Contest(validated, unseen, UNSEEN_TOLERANCE, "that neither has learnt from")
    if seen.sum() >= MIN_COMPARED:
        return _Contest(challenger, seen, SEEN_TOLERANCE, "that both have learnt from")
    return _Contest(challenger, holdout, SEEN_TOLERANCE, "of the hold-out")


def _decide(
    contest: _Contest,
    champion: Predictor,
    table: AnswerTable,
    log_seconds: FloatArray,
    established: Rows,
    unseen: int,
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
        for whose, view in _views(mine, other, students[scored], established[scored]).items():
            if _clearly_worse(*view, contest.tolerance):
                worse.append(f"{MEASURES[name]}{whose}")
                break
    reason = f"{', '.join(words)} on {n} answers {contest.kind}"
    if worse:
        return Verdict(False, f"worse in {' and '.join(worse)}: {reason}", figures)
    return Verdict(True, reason if n >= MIN_COMPARED else f"{reason}, too few to tell", figures)


View = tuple[FloatArray, FloatArray, npt.NDArray[np.integer]]
"""Our losses, theirs, and the students whose losses they are. (n,) each."""


def _views(
    ours: FloatArray, theirs: FloatArray, student: npt.NDArray[np.integer], established: Rows
) -> dict[str, View]:
    """Return the losses in which a challenger must not be worse, with the words for them in the reason."""
    students = np.unique(student)
    return {
        "": (ours, theirs, student),
        " of the average student": (student_means(ours, student), student_means(theirs, student), students),
        " of students with earlier answers": (ours[established], theirs[established], student[established]),
    }


def _clearly_worse(ours: FloatArray, theirs: FloatArray, student: npt.NDArray[np.integer], tolerance: float) -> bool:
    """Return True if our losses exceed the tolerated share of theirs, with confidence, and are enough to tell."""
    if len(ours) < MIN_COMPARED:
        return False
    # Where all times are equal, both errors are nearly zero, and a tolerated share of them would be nothing.
    return mean_difference(ours, theirs, student).low > max(tolerance * float(theirs.mean()), NEGLIGIBLE)


def _losses(version: Predictor, table: AnswerTable, rows: Rows, log_seconds: FloatArray) -> dict[str, FloatArray]:
    """Return the losses of what a version would have served for ``rows``, (n,) each, against ``log_seconds`` (N,)."""
    served = predict_history(version, table, rows)
    return {
        "log_loss": log_losses(table.is_correct[rows], served.correct),
        "log_time_mse": np.square(log_seconds[rows] - served.log_seconds),
    }
