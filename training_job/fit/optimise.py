"""Trains one network on its samples: Adam with a cosine schedule, early stopping on the validation rows.

The step is traced once per network; validation runs in numpy-sized batches through the same graph. The loss is a
mean over the answers of equal batches, so that long and short histories count the same per answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import FloatArray
from training_job.fit.networks import NetworkShape, build_network, combined
from training_job.fit.samples import Samples, with_dropped_users

LEARNING_RATE = 2e-3
SMALL_BATCH, LARGE_BATCH = 64, 1024
STEPS_WANTED = 1600
LEAST_EPOCHS, MOST_EPOCHS = 6, 20
PATIENCE = 3
AS_GOOD = 5e-4
"""An epoch whose validation loss is within this share of the least one is as good: of such, the last is kept, whose
learning rate had fallen further."""

WEIGHT_DECAY = 1e-4
USER_DROPPED = 0.5
PREDICT_BATCH = 8192

Progress = Callable[[Mapping[str, Any]], None]
Rows = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and in which batches a network is trained."""

    batch: int
    epochs: int
    steps: int

    @classmethod
    def for_rows(cls, n_rows: int, epochs: int | None = None) -> Plan:
        """Small batches and up to 20 epochs for little data, large ones and few epochs for much; or just ``epochs``."""
        batch = int(np.clip(2 ** round(math.log2(max(n_rows, 1) / 64 + 1)), SMALL_BATCH, LARGE_BATCH))
        per_epoch = max(1, math.ceil(n_rows / batch))
        epochs = epochs or int(np.clip(math.ceil(STEPS_WANTED / per_epoch), LEAST_EPOCHS, MOST_EPOCHS))
        return cls(batch, epochs, epochs * per_epoch)


@dataclass(frozen=True, slots=True)
class FittedNetwork:
    """A trained model (residual scale 1) and the number of epochs after which it was best."""

    model: Any
    shape: NetworkShape
    best_epoch: int


def fit_network(
    samples: Samples, shape: NetworkShape, trained: Rows, validated: Rows, *, seed: int, on_progress: Progress
) -> FittedNetwork:
    """Train on the ``trained`` rows until the loss on the ``validated`` ones rises, and keep the best weights.

    ``on_progress`` gets phase, epoch, epochs, loss and val_loss after each epoch.
    """
    import keras

    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    binary = shape.name == "correctness"
    model = build_network(shape)
    plan = Plan.for_rows(int(trained.sum()))
    steps = [_traced_step(model, plan, binary=binary)]
    best, best_loss, best_epoch = model.get_weights(), math.inf, 0
    for epoch in range(1, plan.epochs + 1):
        loss = _run_epoch(samples, trained, plan, steps, rng)
        val_loss = mean_loss(samples, predict_rows(model, samples, validated), validated, binary)
        on_progress(_epoch_note(shape.name, epoch, plan.epochs, loss, val_loss))
        if not validated.any() or val_loss <= best_loss * (1.0 + AS_GOOD):
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
    """Train for just that many epochs; the network is the mean of ``members``.

    They start from different weights and see the answers in different orders. ``on_progress`` gets phase, epoch, epochs
    and loss after each epoch.
    """
    import keras

    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    parts = [build_network(shape) for _ in range(members)]
    plan = Plan.for_rows(int(trained.sum()), epochs)
    steps = [_traced_step(part, plan, binary=shape.name == "correctness") for part in parts]
    for epoch in range(1, epochs + 1):
        loss = _run_epoch(samples, trained, plan, steps, rng)
        on_progress(_epoch_note(f"final {shape.name}", epoch, epochs, loss, math.nan))
    model, shape = combined(parts, shape)
    return FittedNetwork(model, shape, epochs)


def _epoch_note(phase: str, epoch: int, epochs: int, loss: float, val_loss: float) -> Mapping[str, Any]:
    """What the progress says of an epoch; ``val_loss`` only where something was validated (NaN is no JSON)."""
    note: dict[str, Any] = {"phase": phase, "epoch": epoch, "epochs": epochs, "loss": loss}
    return note if math.isnan(val_loss) else {**note, "val_loss": val_loss}


def _traced_step(model: Any, plan: Plan, *, binary: bool) -> Callable[[Mapping[str, Any], Any], Any]:
    import keras
    import tensorflow as tf

    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, plan.steps, alpha=0.02)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY, clipnorm=1.0)
    optimizer.build(model.trainable_variables)

    losses = tf.nn.sigmoid_cross_entropy_with_logits if binary else tf.math.squared_difference

    def run(inputs: Mapping[str, Any], target: Any) -> Any:
        with tf.GradientTape() as tape:
            output = model(inputs, training=True)
            loss = tf.reduce_mean(losses(target, output))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    inputs = {item.name: tf.TensorSpec((None, *item.shape[1:]), item.dtype, name=item.name) for item in model.inputs}
    signature = (inputs, tf.TensorSpec((None, 1), tf.float32))
    traced: Callable[[Mapping[str, Any], Any], Any] = tf.function(run, input_signature=signature, autograph=False)
    return traced


def _run_epoch(
    samples: Samples,
    trained: Rows,
    plan: Plan,
    steps: Sequence[Callable[..., Any]],
    rng: np.random.Generator,
) -> float:
    """One pass over the ``trained`` rows by each member's step; the mean loss."""
    total, seen = 0.0, 0
    for rows, vectors in samples.blocks(trained, rng):
        n_batches = max(1, round(len(rows) / plan.batch))
        for step in steps:
            # The rows of a block come shuffled; what is made for one member serves the others in another order.
            order = np.arange(len(rows)) if step is steps[0] else rng.permutation(len(rows))
            for part in np.array_split(order, n_batches):
                inputs = with_dropped_users(samples.inputs(rows[part], vectors[part]), USER_DROPPED, rng)
                target = samples.target[rows[part], None].astype(np.float32)
                total += float(step(inputs, target)) * len(part)
                seen += len(part)
    return total / max(seen, 1)


def predict_rows(model: Any, samples: Samples, wanted: Rows) -> FloatArray:
    """The model's outputs for the ``wanted`` rows, in the table's order."""
    out = np.full(len(wanted), np.nan)
    for rows, vectors in samples.blocks(wanted):
        for begin in range(0, len(rows), PREDICT_BATCH):
            part = slice(begin, begin + PREDICT_BATCH)
            out[rows[part]] = np.asarray(model(samples.inputs(rows[part], vectors[part]), training=False))[:, 0]
    return out[wanted]


def losses_of(output: FloatArray, target: FloatArray, binary: bool) -> FloatArray:
    """Loss per answer: log-loss of logits, or squared error of log seconds."""
    return np.logaddexp(0.0, output) - target * output if binary else np.square(output - target)


def mean_loss(samples: Samples, output: FloatArray, rows: Rows, binary: bool) -> float:
    """Mean loss over ``rows``, NaN when there are none."""
    return float(losses_of(output, samples.target[rows], binary).mean()) if rows.any() else math.nan
