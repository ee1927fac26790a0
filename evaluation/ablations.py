"""The worth of each part of the correctness network's inputs, on students that it was not trained on.

``python -m evaluation.ablations --data FILE --json`` trains a network with all inputs, and one without each part, on
the same students with the same seed, and predicts the answers of the first fold's students. For each part, ``auc`` and
``log_loss`` are the figures without it minus those with all inputs, and ``auc_se`` and ``log_loss_se`` their standard
errors over students. So a negative ``auc`` and a positive ``log_loss`` say that the part earns its place. The last line
is one JSON object.

To leave a part out, its inputs get one constant value in training and test. LNIRT's prediction, to which the network
adds, stays the same; only without the items it has no item effects. The answers are those of students drawn at random,
``--answers`` at most. Scale and temperature are not fitted here.

``additive_model`` is not a part: it compares a model without interactions with the network
(:mod:`evaluation.additive`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from chalicelib.domain.lnirt import FloatArray
from chalicelib.features.inputs import N_ITEM_COLUMNS
from chalicelib.features.sequences import ATTEMPTS
from chalicelib.prediction.chain import bounded_probability
from chalicelib.prediction.vocabulary import OUT_OF_VOCABULARY
from evaluation.additive import additive_chances
from evaluation.answers import folds_of, read_answers
from evaluation.program import note, parser_of, print_figures
from training_job.fit.optimise import fit_network, predict_rows
from training_job.fit.passes import Part, Stage, stage_of
from training_job.fit.population import Population
from training_job.fit.samples import Samples, samples_of
from training_job.fit.split import validation_rows
from training_job.history.answers import AnswerTable
from training_job.history.replay import read_history
from training_job.scores import auc, log_losses, resampled_aucs

MAX_ANSWERS = 120_000
RESAMPLES = 200

Change = Callable[[Samples, FloatArray], Samples]
"""Returns samples without a part. The array (N,) is the effect of the item in the prior, in logits."""


def _without_columns(*columns: int) -> Change:
    """Return a change that sets standardised dense columns to 0, their mean in training."""

    def change(samples: Samples, _: FloatArray) -> Samples:
        dense = samples.dense.copy()
        dense[:, list(columns)] = 0.0
        return replace(samples, dense=dense)

    return change


def _without_items(samples: Samples, effect: FloatArray) -> Samples:
    columns = range(samples.dense.shape[1] - N_ITEM_COLUMNS, samples.dense.shape[1])
    return replace(_without_columns(*columns)(samples, effect), prior=samples.prior - effect)


def _without_pooled(samples: Samples, _: FloatArray) -> Samples:
    return replace(samples, pooled=replace(samples.pooled, steps=np.zeros_like(samples.pooled.steps)))


def _with_code(name: str, code: int) -> Change:
    """Return a change that gives all answers the same embedding row."""

    def change(samples: Samples, _: FloatArray) -> Samples:
        same = np.full_like(getattr(samples.history, name), code)
        return replace(samples, history=msgspec.structs.replace(samples.history, **{name: same}))

    return change


def _without_last(samples: Samples, _: FloatArray) -> Samples:
    return _without_monotone(samples, slice(0, 1))


def _without_pauses(samples: Samples, _: FloatArray) -> Samples:
    return _without_monotone(samples, slice(1, None))


def _without_monotone(samples: Samples, columns: slice) -> Samples:
    monotone = samples.history.monotone.copy()
    monotone[:, columns] = 0.0
    return replace(samples, history=msgspec.structs.replace(samples.history, monotone=monotone))


N_OTHERS = 73
"""Dense columns before those of the item."""

PARTS: Mapping[str, Change] = {
    "items": _without_items,
    "pooled_topics": _without_pooled,
    "user_embedding": _with_code("user", OUT_OF_VOCABULARY),
    "topic_embedding": _with_code("topic", OUT_OF_VOCABULARY),
    "difficulty_embedding": _with_code("level", 0),
    "last_outcome": _without_last,
    "amounts": _without_columns(*range(8, 14)),
    "traits": _without_columns(15, 18),
    "attempts_and_records": _without_columns(16, 17),
    "sequences": _without_columns(*range(N_OTHERS - ATTEMPTS, N_OTHERS)),
    "decay_of_400_answers": _without_columns(*range(22, 43, 4), *range(46, 55, 4), 58, 62),
    "pauses": _without_pauses,
}
"""The parts by name. :func:`chalicelib.features.inputs.dense_columns` gives the columns their numbers."""


def predicted(stage: Stage, part: Part, test: Samples, seed: int) -> FloatArray:
    """Train a network on a stage's older answers, stopped by the newest, and return the chances of all test answers."""
    newest = validation_rows(stage.table)
    quiet: Callable[[Mapping[str, Any]], None] = lambda _: None  # noqa: E731 - a name for the type
    fitted = fit_network(part.samples, part.shape, part.known & ~newest, newest, seed=seed, on_progress=quiet)
    chances: FloatArray = bounded_probability(
        predict_rows(fitted.model, test, np.ones(len(test.target), dtype=np.bool_))
    )
    return chances


def without(stage: Stage, test: Samples, table: AnswerTable, change: Change, seed: int) -> FloatArray:
    """Return the chances of the test answers by a network without a part. ``table`` holds the test answers."""
    items, part = stage.vocabulary.items, stage.correctness
    train = change(part.samples, items.lookup(stage.table.item)[:, 0])
    return predicted(stage, part._replace(samples=train), change(test, items.lookup(table.item)[:, 0]), seed)


def difference(table: AnswerTable, full: FloatArray, less: FloatArray, seed: int) -> dict[str, float]:
    """Return the figures of one part from the chances (N,) with and without it."""
    correct, user = table.is_correct, table.user
    aucs = resampled_aucs(correct, less, user, seed, RESAMPLES) - resampled_aucs(correct, full, user, seed, RESAMPLES)
    lost = log_losses(correct, less) - log_losses(correct, full)
    of_student = np.bincount(np.unique(user, return_inverse=True)[1].ravel(), weights=lost - lost.mean())
    return {
        "auc": float((auc(correct, less) or np.nan) - (auc(correct, full) or np.nan)),
        "auc_se": float(np.nanstd(aucs)),
        "log_loss": float(lost.mean()),
        "log_loss_se": float(np.sqrt((of_student**2).sum()) / len(lost)),
    }


def main() -> int:
    parser = parser_of("ablations", __doc__)
    parser.add_argument("--data", type=Path, required=True, help="answers, .csv or .csv.gz")
    parser.add_argument("--seed", type=int, default=0, help="of the users' folds and of the training")
    parser.add_argument("--answers", type=int, default=MAX_ANSWERS, help="maximum number of answers")
    options = parser.parse_args()
    answers = read_answers(options.data)
    test = folds_of(answers, options.seed)[0]
    train = answers.table.select(~test).sample(options.answers)
    table = answers.table.select(test).sample(options.answers)
    begun = time.monotonic()
    stage = stage_of(Population.of(train), ~validation_rows(train), options.seed, lambda _: None)
    tested, _ = samples_of(table, stage.lnirt, stage.vocabulary, read_history(table, stage.lnirt, stage.vocabulary))
    full = predicted(stage, stage.correctness, tested, options.seed)
    figures: dict[str, Any] = {
        "auc": auc(table.is_correct, full),
        "log_loss": float(log_losses(table.is_correct, full).mean()),
        "answers": len(train),
    }
    for name, change in PARTS.items():
        figures[name] = difference(table, full, without(stage, tested, table, change, options.seed), options.seed)
        note(options, f"{time.monotonic() - begun:6.1f} s without {name}: {figures[name]}")
    additive = additive_chances(stage.correctness, validation_rows(train), tested, options.seed)
    figures["additive_model"] = difference(table, full, additive, options.seed)
    return print_figures(figures)


if __name__ == "__main__":
    sys.exit(main())
