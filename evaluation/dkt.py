"""Deep knowledge tracing, a yardstick: a GRU of 64 over topics and outcomes (Piech et al. 2015)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import FloatArray, IntArray
from training_job.history.answers import AnswerTable, Rows
from training_job.history.scan import group_bounds

UNITS = 64
WINDOW = 200
"""Number of answers of one sequence in training. A prediction knows all earlier answers of its student."""

BATCH = 64
MAX_EPOCHS = 100
PATIENCE = 3
"""Epochs without a better loss on the validation sequences, a tenth, before the training ends."""


class Sequences(NamedTuple):
    """B sequences of answers, padded to L. All (B, L)."""

    before: npt.NDArray[np.int32]
    """Topic and outcome of the answer before: 1 + 2 * topic + outcome, 0 for none."""
    topic: npt.NDArray[np.int32]
    correct: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]
    """1 for an answer, 0 for padding."""

    @classmethod
    def of(cls, table: AnswerTable, sequences: Sequence[IntArray]) -> Sequences:
        """Return the sequences whose rows of the table are given."""
        shape = (len(sequences), max(map(len, sequences)))
        before, topic = np.zeros((2, *shape), dtype=np.int32)
        correct, weight = np.zeros((2, *shape), dtype=np.float32)
        for line, rows in enumerate(sequences):
            n = len(rows)
            topic[line, :n], correct[line, :n], weight[line, :n] = table.topic[rows], table.is_correct[rows], 1.0
            before[line, 1:n] = 1 + 2 * table.topic[rows[:-1]] + table.is_correct[rows[:-1]]
        return cls(before, topic, correct, weight)


def dkt_chances(table: AnswerTable, test: Rows, seconds: float, seed: int) -> FloatArray:
    """Train on all but the ``test`` (N,) answers, for at most ``seconds``, and predict these (n,)."""
    import keras

    keras.utils.set_random_seed(seed)
    students = _groups(table.user)
    tested = [rows for rows in students if test[rows].any()]
    known = [kept for rows in students if len(kept := rows[~test[rows]])]
    windows = [rows[begin : begin + WINDOW] for rows in known for begin in range(0, len(rows), WINDOW)]
    drawn = [windows[i] for i in np.random.default_rng(seed).permutation(len(windows))]
    n_validation = max(1, len(drawn) // 10)
    model = _model(len(table.topics))
    _fit(model, table, drawn[n_validation:] or drawn, drawn[:n_validation], seconds)
    chances = np.full(len(table), np.nan)
    for batch, predicted in _predictions(model, table, tested):
        for rows, line in zip(batch, predicted, strict=True):
            chances[rows] = line[: len(rows)]
    bounded: FloatArray = np.clip(chances[test], 0.01, 0.99)
    return bounded


def _groups(user: npt.NDArray[np.integer]) -> list[IntArray]:
    """Return the rows of each student."""
    bounds = group_bounds(user)
    return [np.arange(begin, end) for begin, end in pairwise(bounds)]


def _model(n_topics: int) -> Any:
    import keras

    before, topic = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    state = keras.layers.GRU(UNITS, return_sequences=True)(keras.layers.Embedding(2 * n_topics + 1, UNITS)(before))
    # Only the row of the output layer that belongs to the answered topic: the chance is the same, in less memory.
    weights, bias = (keras.layers.Embedding(n_topics, width)(topic) for width in (UNITS, 1))
    logit = keras.ops.sum(state * weights, axis=-1, keepdims=True) + bias
    model = keras.Model([before, topic], keras.ops.sigmoid(logit))
    model.compile(keras.optimizers.Adam(2e-3), "binary_crossentropy", weighted_metrics=[])
    return model


def _fit(
    model: Any, table: AnswerTable, training: Sequence[IntArray], validation: Sequence[IntArray], seconds: float
) -> None:
    """Train in epochs until the time is up or the validation gets worse, and keep the best weights."""
    deadline, best, waited, weights = time.monotonic() + seconds, np.inf, 0, model.get_weights()
    rng = np.random.default_rng(0)
    for _epoch in range(MAX_EPOCHS):
        order = rng.permutation(len(training))
        for begin in range(0, len(order), BATCH):
            part = Sequences.of(table, [training[i] for i in order[begin : begin + BATCH]])
            model.train_on_batch([part.before, part.topic], part.correct[..., None], sample_weight=part.weight)
            if time.monotonic() > deadline:
                break
        loss = _loss(model, table, validation)
        waited = 0 if loss < best else waited + 1
        if not waited:
            best, weights = loss, model.get_weights()
        if waited == PATIENCE or time.monotonic() > deadline:
            break
    model.set_weights(weights)


def _loss(model: Any, table: AnswerTable, sequences: Sequence[IntArray]) -> float:
    """Return the mean log-loss of sequences."""
    total = 0.0
    for batch, predicted in _predictions(model, table, sequences):
        part = Sequences.of(table, batch)
        likelihood = np.clip(np.where(part.correct > 0, predicted, 1.0 - predicted), 1e-6, 1.0)
        total -= float((np.log(likelihood) * part.weight).sum())
    return total / sum(map(len, sequences))


def _predictions(
    model: Any, table: AnswerTable, sequences: Sequence[IntArray]
) -> Iterator[tuple[list[IntArray], npt.NDArray[np.float32]]]:
    """Yield batches of sequences of alike length, and their chances (B, L)."""
    ordered = sorted(sequences, key=len)
    for begin in range(0, len(ordered), BATCH):
        batch = ordered[begin : begin + BATCH]
        part = Sequences.of(table, batch)
        yield batch, np.asarray(model.predict_on_batch([part.before, part.topic]))[..., 0]
