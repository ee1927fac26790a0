"""What would be predicted for the same topic right after an answer, had that answer been right or wrong.

The arithmetic of :mod:`training_job.history.replay`, moved by one answer: everything before the answer, plus the
answer with the outcome in question. A test holds it equal to the serving predictor.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import N_LEVELS, FloatArray, IntArray, LnirtParameters, ability_from, grid_log_likelihoods
from chalicelib.domain.predictions import Source
from chalicelib.features.constants import VersionConstants
from chalicelib.features.inputs import dense_columns, standardise, success_priors, time_priors
from chalicelib.features.sequences import Keys
from chalicelib.features.state import DECAY_ANSWERS
from chalicelib.features.summary import Summary
from chalicelib.prediction.chain import bounded_probability, choose_each
from chalicelib.prediction.network import network_inputs
from chalicelib.prediction.predictor import Predictor
from training_job.history.answers import AnswerTable
from training_job.history.replay import POOLED_CHUNK, both_pooled
from training_job.history.scan import exclusive_sums, group_starts
from training_job.history.sequences import keys_of_history
from training_job.history.steps import answer_steps
from training_job.history.summaries import summarise_history, topic_codes, user_chunks


def predictions_after(predictor: Predictor, table: AnswerTable) -> tuple[FloatArray, FloatArray]:
    """Probabilities of success at the same task right after each answer, had it been right, and wrong. Two (N,)."""
    lnirt, vocabulary = predictor.lnirt, predictor.vocabulary
    codes, constants = topic_codes(table.topics, lnirt), vocabulary.constants(lnirt)
    pooled = both_pooled(table, lnirt, vocabulary)[0]
    users = np.array([vocabulary.user_embedding(name) for name in table.user_ids], dtype=np.int64)[table.user]
    topics = np.array([vocabulary.topic_embedding(name) for name in table.topics], dtype=np.int64)[table.topic]
    after = np.zeros((2, len(table)))
    for rows in user_chunks(table, POOLED_CHUNK):
        vectors = pooled.vectors(np.arange(rows.start, rows.stop), after=True)
        before = summarise_history(table, rows, constants, codes)
        for out, correct in zip(after, (True, False), strict=True):
            past = _advanced(before, table, rows, constants, correct)
            success, time = success_priors(past, lnirt), time_priors(past, lnirt)
            dense = standardise(dense_columns(past, lnirt, time), vocabulary.mean, vocabulary.scale)
            values = network_inputs(
                success.logit, users[rows], topics[rows], past.level, past.last_outcome, dense, vectors
            )
            chosen = choose_each(np.not_equal(past.topic_row, lnirt.average_row), past.n_answers)
            out[rows] = np.where(chosen[Source.EMBEDDING], predictor.networks.correctness(values), success.logit)
    return bounded_probability(after[0]), bounded_probability(after[1])


def _advanced(
    before: Summary,
    table: AnswerTable,
    rows: slice,
    constants: VersionConstants,
    correct: bool,
) -> Summary:
    """The summaries as of the next question on the same topic and level, asked at once, with the outcome forced."""
    n, model = rows.stop - rows.start, constants.lnirt
    # The summaries of a history are arrays.
    topic_row, level = np.asarray(before.topic_row), np.asarray(before.level)
    outcome = np.full(n, float(correct))
    timed, logs = table.timed[rows].astype(np.float64), table.log_seconds[rows]
    steps = answer_steps(topic_row, level, outcome, timed, logs, model)
    fade = np.exp(-1.0 / DECAY_ANSWERS)
    ability, ability_sd = _ability_after(before, table, rows, model, correct)
    precision, weighted = before.speed_precision, before.speed_weighted
    if model.time is not None:
        noise = model.time.residual_variance[before.topic_row]
        precision = precision + timed / noise
        weighted = weighted + timed * (model.time.intensity[before.topic_row, before.level] - logs) / noise
    trait_success, trait_log_seconds = _traits_after(before, table, rows, constants)
    elapsed = np.where(np.isnan(table.at[rows]), np.nan, 0.0)
    return Summary(
        topic_row=before.topic_row,
        level=before.level,
        n_answers=before.n_answers + 1.0,
        attempts=_plus(before.attempts, level, np.ones(n)),
        correct=_plus(before.correct, level, outcome),
        timed=_plus(before.timed, level, timed),
        log_seconds=_plus(before.log_seconds, level, timed * logs),
        ability=ability,
        ability_sd=ability_sd,
        speed_precision=precision,
        speed_weighted=weighted,
        topic_decayed=(before.topic_decayed + steps[:, :, None]) * fade,
        overall_decayed=(before.overall_decayed + steps[:, :, None]) * fade,
        hours_since_topic=elapsed,
        hours_since_any=elapsed,
        last_outcome=2.0 * outcome - 1.0,
        ability_if_incorrect=ability if not correct else _ability_after(before, table, rows, model, False)[0],
        trait_success=trait_success,
        trait_log_seconds=trait_log_seconds,
        sequences=constants.sequences.lookup(_sequences_after(before, table, rows)),
        answers_since_topic=np.ones(n),
        n_topics=before.n_topics + (before.answers_since_topic == 0.0),
    )


def _plus(by_level: FloatArray, level: IntArray, step: FloatArray) -> FloatArray:
    grown = by_level.copy()
    grown[np.arange(len(level)), level] += step
    return grown


def _sequences_after(before: Summary, table: AnswerTable, rows: slice) -> Keys:
    user, topic = table.user[rows].astype(np.int64), table.topic[rows].astype(np.int64)
    attempts, right = (counts.sum(axis=1).astype(np.int64) for counts in (before.attempts, before.correct))
    return keys_of_history(user, topic, np.asarray(before.topic_row), attempts, right, after=True)


def _traits_after(
    before: Summary, table: AnswerTable, rows: slice, constants: VersionConstants
) -> tuple[FloatArray, FloatArray]:
    """Return what the traits predict on the same topic after each answer, counted as incorrect."""
    model, traits, topic_row = constants.lnirt, constants.traits, np.asarray(before.topic_row)
    timed = np.zeros(len(topic_row))
    expected, slow = model.expected_success[before.topic_row, before.level], timed
    if model.time is not None:
        timed = table.timed[rows].astype(np.float64)
        slow = timed * (table.log_seconds[rows] - model.time.intensity[before.topic_row, before.level])
    ones, actual = np.ones(len(timed)), table.is_correct[rows].astype(np.float64)
    told = traits.evidence(topic_row, ones, actual - expected, timed, slow)
    wrong = traits.evidence(topic_row, ones, -expected, timed, slow)
    scores = traits.scores(exclusive_sums(told, group_starts(table.user[rows])) + wrong)
    return traits.expected(topic_row, scores)


def _ability_after(
    before: Summary, table: AnswerTable, rows: slice, model: LnirtParameters, correct: bool
) -> tuple[FloatArray, FloatArray]:
    cells, cell = np.unique(before.topic_row * N_LEVELS + before.level, return_inverse=True)
    right, wrong = grid_log_likelihoods(
        model.discrimination[cells // N_LEVELS], model.easiness[cells // N_LEVELS, cells % N_LEVELS]
    )
    actual: npt.NDArray[np.bool_] = table.is_correct[rows]
    seen = np.where(actual[:, None], right[cell], wrong[cell])
    earlier = exclusive_sums(seen, group_starts(table.user[rows]))
    return ability_from(earlier + (right if correct else wrong)[cell])
