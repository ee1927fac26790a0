"""Trains one network on its samples: Adam with a cosine schedule, and early stopping on the validation answers.

The training step is traced once per network. The loss is a mean over the answers of equal batches, so an answer of a
long history counts as much as one of a short history.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chalicelib.domain.lnirt import FloatArray
from training_job.fit.networks import NetworkShape, build_network, combined
from training_job.fit.samples import Samples, with_dropped_users
from training_job.history.answers import Rows

LEARNING_RATE = 2e-3
MIN_BATCH, MAX_BATCH = 64, 1024
TARGET_STEPS = 1600
MIN_EPOCHS, MAX_EPOCHS = 6, 20
PATIENCE = 3
AS_GOOD = 5e-4
"""Relative distance to the smallest validation loss within which an epoch is as good. The last such epoch is kept,
because its learning rate had fallen furthest."""

WEIGHT_DECAY = 1e-4
USER_DROPPED = 0.5
PREDICT_BATCH = 8192

Progress = Callable[[Mapping[str, Any]], object]
"""Is told the progress of a training: its phase and, in the networks' phases, epoch, epochs, loss and val_loss."""

Step = Callable[[Mapping[str, Any], Any], Any]
"""Trains on a batch of inputs and targets, and returns its mean loss."""


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
class FittedNetwork:
    """A trained model (residual scale 1), and the number of epochs after which it was best."""

    model: Any
    shape: NetworkShape
    best_epoch: int


def fit_network(
    samples: Samples, shape: NetworkShape, trained: Rows, validated: Rows, *, seed: int, on_progress: Progress
) -> FittedNetwork:
    """Train on the ``trained`` rows until the loss on the ``validated`` ones rises, and keep the best weights."""
    model, plan, rng = _seeded(seed, shape, trained)
    steps = [_traced_step(model, plan, shape)]
    best, best_loss, best_epoch = model.get_weights(), math.inf, 0
    for epoch in range(1, plan.epochs + 1):
        loss = _run_epoch(samples, trained, plan, steps, rng)
        losses = losses_of(predict_rows(model, samples, validated), samples.target[validated], shape.binary)
        val_loss = float(losses.mean()) if len(losses) else math.nan
        on_progress(_epoch_note(shape.name, epoch, plan.epochs, loss, val_loss))
        if not len(losses) or val_loss <= best_loss * (1.0 + AS_GOOD):
            best, best_loss, best_epoch = model.get_weights(), min(val_loss, best_loss), epoch
        elif epoch - best_epoch >= PATIENCE:
            break
    model.set_weights(best)
    return FittedNetwork(model, shape, best_epoch)


def fit_members(
    samples: Samples,
    shape: NetworkShape,
    trained: Rows,
    *,
    epochs: int,
    members: int,
    seed: int,
    on_progress: Progress,
) -> FittedNetwork:
    """Train several networks, the ``members``, on the ``trained`` rows, and return their mean as one network.

    The members start from different weights and see the answers in different orders, so their mean is more accurate
    than one member. The number of epochs is given, because no answers are held out here that could stop the training.
    """
    first, plan, rng = _seeded(seed, shape, trained, epochs)
    parts = [first, *(build_network(shape) for _ in range(members - 1))]
    steps = [_traced_step(part, plan, shape) for part in parts]
    for epoch in range(1, epochs + 1):
        loss = _run_epoch(samples, trained, plan, steps, rng)
        on_progress(_epoch_note(f"final {shape.name}", epoch, epochs, loss, math.nan))
    model, shape = combined(parts, shape)
    return FittedNetwork(model, shape, epochs)


def _seeded(
    seed: int, shape: NetworkShape, trained: Rows, epochs: int | None = None
) -> tuple[Any, Plan, np.random.Generator]:
    """Return a new network, the plan for its training, and a source of random numbers."""
    import keras

    keras.utils.set_random_seed(seed)
    return build_network(shape), Plan.for_rows(int(trained.sum()), epochs), np.random.default_rng(seed)


def _epoch_note(phase: str, epoch: int, epochs: int, loss: float, val_loss: float) -> Mapping[str, Any]:
    note: dict[str, Any] = {"phase": phase, "epoch": epoch, "epochs": epochs, "loss": loss}
    # NaN, where nothing was validated, is not JSON.
    return note if math.isnan(val_loss) else {**note, "val_loss": val_loss}


def _traced_step(model: Any, plan: Plan, shape: NetworkShape) -> Step:
    import keras
    import tensorflow as tf

    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, plan.steps, alpha=0.02)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY, clipnorm=1.0)
    optimizer.build(model.trainable_variables)
    losses = tf.nn.sigmoid_cross_entropy_with_logits if shape.binary else tf.math.squared_difference

    def run(inputs: Mapping[str, Any], target: Any) -> Any:
        with tf.GradientTape() as tape:
            output = model(inputs, training=True)
            loss = tf.reduce_mean(losses(target, output))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    inputs = {item.name: tf.TensorSpec((None, *item.shape[1:]), item.dtype, name=item.name) for item in model.inputs}
    signature = (inputs, tf.TensorSpec((None, 1), tf.float32))
    traced: Step = tf.function(run, input_signature=signature, autograph=False)
    return traced


def _run_epoch(samples: Samples, trained: Rows, plan: Plan, steps: Sequence[Step], rng: np.random.Generator) -> float:
    """Pass once over the ``trained`` rows with the step of each member, and return the mean loss."""
    total, seen = 0.0, 0
    for rows, vectors in samples.blocks(trained, rng):
        n_batches = max(1, round(len(rows) / plan.batch))
        for step in steps:
            # The rows of a block come shuffled. Other members get the same pooled vectors in another order.
            order = np.arange(len(rows)) if step is steps[0] else rng.permutation(len(rows))
            for part in np.array_split(order, n_batches):
                inputs = with_dropped_users(samples.inputs(rows[part], vectors[part]), USER_DROPPED, rng)
                target = samples.target[rows[part], None].astype(np.float32)
                total += float(step(inputs, target)) * len(part)
                seen += len(part)
    return total / max(seen, 1)


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
