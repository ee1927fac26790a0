"""Chooses the answers that a training learns from, so that a few hostile accounts do not move the model.

* An account is left out if a coin, or somebody who prefers incorrect answers, explains its outcomes better than any
  ability does: a mixture model of aberrant responses (Meijer & Sijtsma 2001, "Methodology review: evaluating person
  fit"). The topics' easiness comes from the other accounts, in rounds.
* An account counts on a topic with a limited number of answers.
* Where accounts that have hardly answered on other topics dominate a topic, those of them that are a little suspicious
  count with a few answers only.

Students whose answers are not learnt from are served as any other student. Where there are few students, nothing shows
who is unusual, so all answers are learnt from.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import LOG_PRIOR, N_LEVELS, FloatArray, IntArray, grid_log_likelihoods
from training_job.fit.lnirt import fit_success
from training_job.fit.sums import Sums, sums_of
from training_job.history.answers import AnswerTable, Rows
from training_job.history.scan import group_bounds

MIN_STUDENTS = 60
"""Number of students below which all answers are learnt from."""

MAX_ANSWERS, MAX_SHARE = 30, 0.05
"""Maximum number of answers of an account on a topic, unless the share of the topic's answers allows more."""

EXPERIENCED_SHARE = 0.25
"""Share of the median student's answers on other topics from which an account is experienced."""

INEXPERIENCED_SHARE = 0.1
"""Share of a topic's answers by experienced accounts that those of the other accounts may amount to."""

EVIDENCE = 3.0
"""Logarithm of the odds above which an account is left out."""

SUSPICION = 0.5
"""Logarithm of the odds from which the experience of an account matters."""

MAX_LEFT_OUT = 0.25
"""Share of the accounts above which none is left out: then it is the model that does not describe them."""

MAX_EVIDENT = 4.0
"""Number of answers of an account on a topic that count as evidence, since such answers resemble each other."""

TRIMMED = (0.15, 0.15, 0.15, 0.0, 0.0)
"""Share of the accounts that fit least, which the model of students is fitted without in the next round."""

MAX_FITTED = 50_000
"""Maximum number of answers that the model of students is fitted to."""

SLIP = 0.03
"""Chance of a correct answer of somebody who prefers incorrect ones."""

EM_ROUNDS = 8

_LOG_WEIGHT: FloatArray = LOG_PRIOR - np.log(np.exp(LOG_PRIOR).sum())

_LOG = logging.getLogger("studysmart.training")


def trusted_answers(table: AnswerTable) -> AnswerTable:
    """Return the answers to learn from, without the names of accounts that are left out."""
    n_students = len(np.unique(table.user))
    if n_students < MIN_STUDENTS:
        return table
    students, odds = evidence(table)
    strongest = np.full(len(table.user_ids), -np.inf)
    strongest[students] = odds.max(axis=0)
    left_out = strongest > EVIDENCE
    if left_out.sum() > MAX_LEFT_OUT * n_students:
        _LOG.warning("%d of %d accounts answer unlike students: all are learnt from", left_out.sum(), n_students)
    elif left_out.any():
        _LOG.info("%d of %d accounts answer unlike students, and are not learnt from", left_out.sum(), n_students)
        table, strongest = without_students(table, left_out), strongest[~left_out]
    return table.select(limited_rows(table, strongest > SUSPICION))


def without_students(table: AnswerTable, left_out: Rows) -> AnswerTable:
    """Return the table without the answers and names of some students, a mask (U,) of ``user_ids``.

    The training is then the same as if they had never been there.
    """
    kept = np.flatnonzero(~left_out)
    code = np.cumsum(~left_out, dtype=np.int32) - 1
    part = table.select(~left_out[table.user])
    names = tuple(table.user_ids[user] for user in kept)
    return replace(part, user=code[part.user].astype(np.int32), user_ids=names)


def limited_rows(table: AnswerTable, suspicious: Rows) -> Rows:
    """Return a mask (N,) of the answers that count: the first ones of an account on a topic.

    The experience of an account matters if it is ``suspicious``, a mask (U,) of ``user_ids``.
    """
    n = len(table)
    by_topic = np.lexsort((np.arange(n), table.topic, table.user))
    pair = table.user[by_topic].astype(np.int64) * len(table.topics) + table.topic[by_topic]
    bounds = group_bounds(pair)
    first, size = bounds[:-1], np.diff(bounds)
    user, topic = table.user[by_topic][first], table.topic[by_topic][first]
    of_topic = np.bincount(topic, weights=size, minlength=len(table.topics))[topic]
    counted = np.maximum(MAX_ANSWERS, MAX_SHARE * of_topic)
    counted = np.where(suspicious[user], np.minimum(counted, _experienced(table, user, topic, size)), counted)
    limited: Rows = np.empty(n, dtype=np.bool_)
    limited[by_topic] = np.arange(n) - np.repeat(first, size) < np.repeat(counted, size)
    return limited


def _experienced(
    table: AnswerTable, user: npt.NDArray[np.int32], topic: npt.NDArray[np.int32], size: IntArray
) -> FloatArray:
    """Return how many of the answers of accounts on topics (P,) may count, by the accounts' other answers."""
    own = np.bincount(user, weights=size, minlength=len(table.user_ids))
    longest = np.zeros(len(own))
    np.maximum.at(longest, user, size)
    required = EXPERIENCED_SHARE * float(np.median((own - longest)[own > 0]))
    # Where most students practise one topic only, nobody has experience elsewhere.
    experience = np.minimum(1.0, (own[user] - size) / required) if required > 0 else np.ones(len(user))
    trusted, other = (
        np.bincount(topic, weights=size * share, minlength=len(table.topics)) for share in (experience, 1 - experience)
    )
    allowed = np.minimum(1.0, INEXPERIENCED_SHARE * trusted / np.maximum(other, 1.0))[topic]
    counted: FloatArray = np.maximum(1.0, np.rint(size * (experience + (1.0 - experience) * allowed)))
    return counted


def evidence(table: AnswerTable) -> tuple[IntArray, FloatArray]:
    """Return the codes (U,) of all students of a table, and the log odds (3, U) of :func:`log_odds` for each.

    All answers are evidence. The model of students comes from the limited ones, without the accounts that fit least:
    otherwise many bots would look normal (the concentration steps of Rousseeuw & Van Driessen 2006, "Computing LTS
    regression for large data sets").
    """
    sums, students = _tempered(sums_of(table)), np.unique(table.user).astype(np.int64)
    chunks = sums.chunks()
    apart, odds = np.zeros(len(table.user_ids), dtype=np.bool_), np.zeros((3, len(students)))
    for trimmed in TRIMMED:
        others = table.select(~apart[table.user])
        normal = _equal(_tempered(sums_of(others.select(limited_rows(others, ~apart)).sample(MAX_FITTED))))
        fitted = fit_success(normal, len(table.topics), EM_ROUNDS)
        odds = np.concatenate([log_odds(chunk, *fitted) for chunk in chunks], axis=1)
        strongest = odds.max(axis=0)
        apart[students] = strongest > min(EVIDENCE, float(np.quantile(strongest, 1.0 - trimmed)))
    return students, odds


def _tempered(sums: Sums) -> Sums:
    """Return sums in which a student's answers on a topic count as MAX_EVIDENT answers at most."""
    topic = sums.cell // N_LEVELS
    pair = np.unique(sums.user * (int(topic.max()) + 1) + topic, return_inverse=True)[1].ravel()
    return _weighted(sums, np.minimum(1.0, MAX_EVIDENT / np.bincount(pair, weights=sums.attempts)[pair]))


def _equal(sums: Sums) -> Sums:
    """Return sums in which no student counts more than the median student."""
    answers = np.bincount(sums.user, weights=sums.attempts)
    return _weighted(sums, np.minimum(1.0, np.median(answers) / answers)[sums.user])


def _weighted(sums: Sums, weight: FloatArray) -> Sums:
    return replace(sums, attempts=sums.attempts * weight, correct=sums.correct * weight)


def log_odds(sums: Sums, discrimination: FloatArray, easiness: FloatArray) -> FloatArray:
    """Return log odds of three kinds of bots against a student, for each student of ``sums``. Shape (3, U).

    The bots throw a coin, answer the opposite of what a student of unknown ability would, and answer incorrectly.
    """
    attempts, correct, first = sums.attempts, sums.correct, group_bounds(sums.user)[:-1]
    known = sums.matrices()
    topic, level = np.divmod(known.cells, N_LEVELS)
    outcomes = grid_log_likelihoods(discrimination[topic], easiness[topic, level])
    student, opposite = (
        np.logaddexp.reduce(known.log_likelihoods(*order) + _LOG_WEIGHT, axis=1) for order in (outcomes, outcomes[::-1])
    )

    coin = np.add.reduceat(attempts, first) * np.log(0.5)
    wrong = np.add.reduceat(correct * np.log(SLIP) + (attempts - correct) * np.log(1.0 - SLIP), first)
    odds: FloatArray = np.stack([coin, opposite, wrong]) - student
    return odds
