"""The check that numpy serves what Keras trained."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from chalicelib.domain.lnirt_json import from_json
from chalicelib.prediction.archive import read_keras
from chalicelib.prediction.network import Network
from chalicelib.prediction.vocabulary import read_vocabulary
from training_job.fit.samples import Samples, samples_of
from training_job.history.answers import AnswerTable
from training_job.history.replay import read_history
from training_job.history.summaries import user_chunks

PROBE_ANSWERS = 512


def parity(files: Mapping[str, bytes], table: AnswerTable) -> float:
    """Return the largest absolute difference between numpy and Keras over both models, on a probe of the table.

    numpy runs each model layer by layer and as it serves. The outputs are logits and log seconds. Returns NaN where
    an output is not finite. Raises ModelError when a file cannot be served at all.
    """
    lnirt, vocabulary = from_json(files["lnirt.json"]), read_vocabulary(files["vocabulary.json"])
    chunk = next(user_chunks(table, PROBE_ANSWERS), slice(0, 0))
    part = table.select(np.arange(chunk.start, chunk.stop))
    samples = samples_of(part, lnirt, vocabulary, read_history(part, lnirt, vocabulary))
    pairs = zip(("correctness_model.keras", "time_model.keras"), samples, strict=True)
    return float(np.max([_difference(files[name], sample) for name, sample in pairs]))


def _difference(archive: bytes, samples: Samples) -> float:
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
            # Unlike max(), np.maximum keeps a NaN.
            worst = float(np.maximum(worst, np.abs(found - expected).max()))
    return worst
