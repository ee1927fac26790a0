"""An additive model of correctness over LNIRT: a baseline without interactions between columns.

    logit P(correct) = prior + sum over columns f(column) + bias(topic)

Each f is piecewise linear with knots at three quantiles. The contributions of the columns add up to the logit exactly,
so explanations would be exact. The columns are those of the networks without their pooled vectors and embeddings.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import FloatArray
from chalicelib.prediction.chain import bounded_probability
from training_job.fit.passes import Part
from training_job.fit.samples import Samples
from training_job.history.answers import Rows

QUANTILES = (0.2, 0.5, 0.8)
EPOCHS, PATIENCE, BATCH = 30, 3, 512
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 1e-4

Float32Array = npt.NDArray[np.float32]


def additive_chances(part: Part, validated: Rows, test: Samples, seed: int) -> FloatArray:
    """Train on the part's known answers except the ``validated`` (N,) ones, and return the test chances (M,).

    The validated answers decide on early stopping.
    """
    import keras

    columns, others = _columns(part.samples), _columns(test)
    knots = np.quantile(columns[part.known], QUANTILES, axis=0).astype(np.float32)
    model = _model(columns.shape[1] * (1 + len(QUANTILES)), part.shape.n_topics)
    keras.utils.set_random_seed(seed)
    rows, judged = part.known & ~validated, validated
    model.compile(
        keras.optimizers.AdamW(LEARNING_RATE, WEIGHT_DECAY), keras.losses.BinaryCrossentropy(from_logits=True)
    )
    model.fit(
        _inputs(part.samples, columns, knots, rows),
        part.samples.target[rows],
        validation_data=(_inputs(part.samples, columns, knots, judged), part.samples.target[judged]),
        batch_size=BATCH,
        epochs=EPOCHS,
        verbose=0,
        callbacks=[keras.callbacks.EarlyStopping(patience=PATIENCE, restore_best_weights=True)],
    )
    everything = np.ones(len(test.target), dtype=np.bool_)
    logits = model.predict(_inputs(test, others, knots, everything), batch_size=8192, verbose=0)[:, 0]
    chances: FloatArray = bounded_probability(logits.astype(np.float64))
    return chances


def _columns(samples: Samples) -> Float32Array:
    return np.concatenate([samples.dense, samples.history.monotone], axis=1).astype(np.float32)


def _inputs(samples: Samples, columns: Float32Array, knots: Float32Array, rows: Rows) -> dict[str, npt.NDArray[Any]]:
    """Return the prior, the topic, and the columns followed by their distances beyond each knot."""
    mine = columns[rows]
    beyond = [np.maximum(mine - knot, 0.0) for knot in knots]
    return {
        "prior": samples.prior[rows].astype(np.float32)[:, None],
        "topic": samples.history.topic[rows].astype(np.int32)[:, None],
        "columns": np.concatenate([mine, *beyond], axis=1),
    }


def _model(width: int, n_topics: int) -> Any:
    import keras
    from keras import layers

    prior, columns = (keras.Input((size,), name=name) for name, size in (("prior", 1), ("columns", width)))
    topic = keras.Input((1,), dtype="int32", name="topic")
    bias = layers.Flatten()(layers.Embedding(n_topics, 1, embeddings_initializer="zeros")(topic))
    return keras.Model(
        {"prior": prior, "topic": topic, "columns": columns},
        layers.Add()([prior, layers.Dense(1, kernel_initializer="zeros")(columns), bias]),
    )
