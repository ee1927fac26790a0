"""The check that numpy serves what Keras trained."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from chalicelib.domain.lnirt import FloatArray
from chalicelib.domain.lnirt_json import from_json
from chalicelib.prediction.archive import read_keras
from chalicelib.prediction.chain import bounded_probability
from chalicelib.prediction.network import Network
from chalicelib.prediction.vocabulary import read_vocabulary
from training_job.fit.samples import Samples, samples_of
from training_job.history.answers import AnswerTable
from training_job.history.replay import read_history
from training_job.history.summaries import user_chunks

PROBE_ANSWERS = 512

_SERVED: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    "correctness_model.keras": bounded_probability,
    "time_model.keras": lambda log_seconds: log_seconds,
}
"""What is served of a model's output. Logits of a hundred, which histories without any exception lead to, differ by the
rounding of 32 bits, and their probabilities do not."""


def parity(files: Mapping[str, bytes], table: AnswerTable) -> float:
    """Return the largest absolute difference between numpy and Keras over both models, on a probe of the table.

    numpy runs each model layer by layer and as it serves. Probabilities and log seconds are compared. Returns NaN where
    an output is not finite. Raises ModelError when a file cannot be served at all.
    """
    lnirt, vocabulary = from_json(files["lnirt.json"]), read_vocabulary(files["vocabulary.json"])
    chunk = next(user_chunks(table, PROBE_ANSWERS), slice(0, 0))
    part = table.select(np.arange(chunk.start, chunk.stop))
    samples = samples_of(part, lnirt, vocabulary, read_history(part, lnirt, vocabulary))
    pairs = zip(_SERVED.items(), samples, strict=True)
    return float(np.max([_difference(files[name], sample, of) for (name, of), sample in pairs]))


def _difference(archive: bytes, samples: Samples, served_of: Callable[[FloatArray], FloatArray]) -> float:
    import keras

    plain = read_keras(archive)
    served = Network(plain)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(archive)
        trained = keras.saving.load_model(path, compile=False, safe_mode=True)
    worst = 0.0
    for rows, vectors in samples.blocks(np.ones(len(samples.target), dtype=np.bool_)):
        inputs = samples.inputs(rows[-PROBE_ANSWERS:], vectors[-PROBE_ANSWERS:])
        expected = np.asarray(trained(inputs, training=False))[:, 0]
        for found in (plain(inputs)[:, 0], served(inputs)):
            if not (np.isfinite(found).all() and np.isfinite(expected).all()):
                return math.nan
            difference = served_of(found.astype(np.float64)) - served_of(expected.astype(np.float64))
            worst = max(worst, float(np.abs(difference).max()))
    return worst
