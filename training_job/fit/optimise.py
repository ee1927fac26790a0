"""Trains one network on its samples: Adam with a cosine schedule, and early stopping on the validation answers.

The training step is traced once per member of a network. The members start from different weights and see the answers
in different orders, each in a thread of its own, so their mean is more accurate than one member. The loss is a mean
over the answers of equal batches, so an answer of a long history counts as much as one of a short history.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chalicelib.domain.lnirt import FloatArray, IntArray
from training_job.fit.networks import POOLED_DROPOUT, NetworkShape, build_network, combined, copied
from training_job.fit.samples import Samples, with_dropped_users
from training_job.history.answers import Rows
from training_job.history.pooled import StoredVectors

LEARNING_RATE, LAST_RATE = 2e-3, 0.02
"""Learning rate at first, and the share of it to which a cosine lowers it."""

FINAL_RATE = 0.4
"""Share of the learning rate with which a trained network goes on."""

REPLAYED = 3
"""Number of older answers for each of the newest ones when a network goes on: about as many as there are in all."""

MIN_BATCH, MAX_BATCH = 64, 1024
TARGET_STEPS = 500
MIN_EPOCHS, MAX_EPOCHS = 4, 20
PATIENCE = 3
AS_GOOD = 5e-4
"""Relative distance to the smallest validation loss within which an epoch is as good. The last such epoch is kept,
because its learning rate had fallen furthest."""

WEIGHT_DECAY = 1e-4
USER_DROPPED = 0.5
PREDICT_BATCH = 8192

Progress = Callable[[Mapping[str, Any]], object]
"""Is told the progress of a training: its phase and, in the networks' phases, epoch, epochs, loss and val_loss."""

Step = Callable[[Mapping[str, Any], Any, float], Any]
"""Trains on a batch of inputs and targets at a learning rate, and returns its mean loss."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a batch, and how many epochs and steps a network is trained for."""

    batch: int
    epochs: int
    steps: int

    @classmethod
    def for_rows(cls, n_rows: int, epochs: int | None = None) -> Plan:
        """Return the plan for a number of answers, with small batches and many epochs for little data."""
        batch = int(np.clip(2 ** round(math.log2(max(n_rows, 1) / 64 + 1)), MIN_BATCH, MAX_BATCH))
        per_epoch = max(1, math.ceil(n_rows / batch))
        epochs = epochs or int(np.clip(math.ceil(TARGET_STEPS / per_epoch), MIN_EPOCHS, MAX_EPOCHS))
        return cls(batch, epochs, epochs * per_epoch)


@dataclass(frozen=True, slots=True)
class Member:
    """A model with its traced training step, and its own source of random numbers."""

    model: Any
    step: Step
    rng: np.random.Generator


@dataclass(frozen=True, slots=True)
class FittedNetwork:
    """A trained model (residual scale 1), and the number of epochs after which it was best.

    The model is the mean of the members, which can go on training with the ``vectors`` of their samples.
    """

    model: Any
    shape: NetworkShape
    best_epoch: int
    members: tuple[Member, ...] = ()
    vectors: StoredVectors | None = None


def fit_network(
    samples: Samples,
    shape: NetworkShape,
    trained: Rows,
    validated: Rows,
    *,
    members: int = 1,
    seed: int,
    on_progress: Progress,
) -> FittedNetwork:
    """Train on the ``trained`` rows until the loss on the ``validated`` ones rises, and keep the best weights."""
    plan, vectors = Plan.for_rows(int(trained.sum())), samples.pooled.stored()
    parts = _members(shape, members, seed)
    known, judged = np.flatnonzero(trained), np.flatnonzero(validated)
    best, best_loss, best_epoch = _weights(parts), math.inf, 0
    for epoch in range(1, plan.epochs + 1):
        begin = (epoch - 1) / plan.epochs
        loss = _run_epoch(samples, vectors, known, plan, parts, (begin, epoch / plan.epochs))
        losses = losses_of(_mean_output(parts, samples, vectors, judged), samples.target[judged], shape.binary)
        val_loss = float(losses.mean()) if len(losses) else math.nan
        on_progress(_epoch_note(shape.name, epoch, plan.epochs, loss, val_loss))
        if not len(losses) or val_loss <= best_loss * (1.0 + AS_GOOD):
            best, best_loss, best_epoch = _weights(parts), min(val_loss, best_loss), epoch
        elif epoch - best_epoch >= PATIENCE:
            break
    _set_weights(parts, best)
    return _fitted(parts, shape, best_epoch, vectors)


def go_on(
    fitted: FittedNetwork, samples: Samples, learnable: Rows, newest: Rows, *, seed: int, on_progress: Progress
) -> FittedNetwork:
    """Train a network once on the ``newest`` answers too, mixed with older ones. Both are masks (N,).

    The network knows the older ones. Without them it would forget them. The rows are those that are ``learnable`` (N,).
    """
    new, old = np.flatnonzero(learnable & newest), np.flatnonzero(learnable & ~newest)
    rows = np.concatenate([new, np.random.default_rng(seed).permutation(old)[: REPLAYED * len(new)]])
    if not len(new) or fitted.vectors is None:
        return fitted
    before = _weights(fitted.members)
    plan = replace(Plan.for_rows(len(rows)), batch=Plan.for_rows(len(learnable)).batch)
    loss = _run_epoch(samples, fitted.vectors, rows, plan, fitted.members, (0.0, 1.0), FINAL_RATE)
    on_progress(_epoch_note(f"final {fitted.shape.name}", 1, 1, loss, math.nan))
    finished = _fitted(fitted.members, replace(fitted.shape, members=1), fitted.best_epoch, fitted.vectors)
    _set_weights(fitted.members, before)
    return finished


def _members(shape: NetworkShape, members: int, seed: int) -> tuple[Member, ...]:
    import keras

    keras.utils.set_random_seed(seed)
    models = [build_network(shape) for _ in range(members)]
    return tuple(
        Member(model, _traced_step(model, shape), np.random.default_rng([seed, n])) for n, model in enumerate(models)
    )


def _fitted(members: tuple[Member, ...], shape: NetworkShape, best_epoch: int, vectors: StoredVectors) -> FittedNetwork:
    """Return the mean of the members, as they are now, as one network."""
    model, shape = combined([copied(member.model, shape) for member in members], shape)
    return FittedNetwork(model, shape, best_epoch, members, vectors)


def _weights(members: tuple[Member, ...]) -> list[Any]:
    return [member.model.get_weights() for member in members]


def _set_weights(members: tuple[Member, ...], weights: list[Any]) -> None:
    for member, values in zip(members, weights, strict=True):
        member.model.set_weights(values)


def _epoch_note(phase: str, epoch: int, epochs: int, loss: float, val_loss: float) -> Mapping[str, Any]:
    note: dict[str, Any] = {"phase": phase, "epoch": epoch, "epochs": epochs, "loss": loss}
    # NaN, where nothing was validated, is not JSON.
    return note if math.isnan(val_loss) else {**note, "val_loss": val_loss}


def _traced_step(model: Any, shape: NetworkShape) -> Step:
    import keras
    import tensorflow as tf

    optimizer = keras.optimizers.AdamW(LEARNING_RATE, weight_decay=WEIGHT_DECAY, clipnorm=1.0)
    optimizer.build(model.trainable_variables)
    losses = tf.nn.sigmoid_cross_entropy_with_logits if shape.binary else tf.math.squared_difference

    def run(inputs: Mapping[str, Any], target: Any, rate: Any) -> Any:
        optimizer.learning_rate.assign(rate)
        with tf.GradientTape() as tape:
            output = model(inputs, training=True)
            loss = tf.reduce_mean(losses(target, output))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    inputs = {item.name: tf.TensorSpec((None, *item.shape[1:]), item.dtype, name=item.name) for item in model.inputs}
    signature = (inputs, tf.TensorSpec((None, 1), tf.float32), tf.TensorSpec((), tf.float32))
    traced = tf.function(run, input_signature=signature, autograph=False)
    # Members share threads, but only one graph is traced at a time.
    traced.get_concrete_function()
    step: Step = traced
    return step


def _run_epoch(
    samples: Samples,
    vectors: StoredVectors,
    rows: IntArray,
    plan: Plan,
    members: tuple[Member, ...],
    part: tuple[float, float],
    share: float = 1.0,
) -> float:
    """Pass once over ``rows`` (n,) with each member, and return the mean loss.

    ``part`` are begin and end of the epoch in the training, of which 0 is the begin and 1 the end. They and the
    ``share`` of the learning rate decide on the rate.
    """
    n_batches = max(1, round(len(rows) / plan.batch))

    def run(member: Member) -> float:
        total = 0.0
        for number, batch in enumerate(np.array_split(member.rng.permutation(rows), n_batches)):
            pooled = vectors.vectors(batch, POOLED_DROPOUT, member.rng)
            inputs = with_dropped_users(samples.inputs(batch, pooled), USER_DROPPED, member.rng)
            target = samples.target[batch, None].astype(np.float32)
            done = part[0] + (part[1] - part[0]) * number / n_batches
            rate = LAST_RATE + (1.0 - LAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * done))
            total += float(member.step(inputs, target, share * LEARNING_RATE * rate)) * len(batch)
        return total / max(len(rows), 1)

    return float(np.mean(_of_each(run, members)))


def _of_each(run: Callable[[Member], Any], members: tuple[Member, ...]) -> list[Any]:
    """Call a function with each member, each in a thread of its own."""
    if len(members) == 1:
        return [run(members[0])]
    with ThreadPoolExecutor(len(members)) as pool:
        return list(pool.map(run, members))


def _mean_output(members: tuple[Member, ...], samples: Samples, vectors: StoredVectors, rows: IntArray) -> FloatArray:
    """Return the mean of the members' outputs for ``rows`` (n,)."""

    def output(member: Member) -> FloatArray:
        return _outputs(member.model, samples, vectors, rows)

    mean: FloatArray = np.mean(_of_each(output, members), axis=0)
    return mean


def _outputs(model: Any, samples: Samples, vectors: StoredVectors, rows: IntArray) -> FloatArray:
    out = np.full(len(rows), np.nan)
    for begin in range(0, len(rows), PREDICT_BATCH):
        batch = rows[begin : begin + PREDICT_BATCH]
        inputs = samples.inputs(batch, vectors.vectors(batch))
        out[begin : begin + len(batch)] = np.asarray(model(inputs, training=False))[:, 0]
    return out


def outputs_of(fitted: FittedNetwork, samples: Samples, requested: Rows) -> FloatArray:
    """Return the network's outputs for the ``requested`` (N,) rows of the samples that it was trained with."""
    if fitted.vectors is None:
        return predict_rows(fitted.model, samples, requested)
    return _outputs(fitted.model, samples, fitted.vectors, np.flatnonzero(requested))


def predict_rows(model: Any, samples: Samples, requested: Rows) -> FloatArray:
    """Return the model's outputs for the ``requested`` (N,) rows, in the table's order."""
    out = np.full(len(requested), np.nan)
    for rows, vectors in samples.blocks(requested):
        for begin in range(0, len(rows), PREDICT_BATCH):
            part = slice(begin, begin + PREDICT_BATCH)
            out[rows[part]] = np.asarray(model(samples.inputs(rows[part], vectors[part]), training=False))[:, 0]
    return out[requested]


def losses_of(output: FloatArray, target: FloatArray, binary: bool) -> FloatArray:
    """Return the loss of each answer: log-loss of logits, or squared error of log seconds. All (N,)."""
    return np.logaddexp(0.0, output) - target * output if binary else np.square(output - target)
