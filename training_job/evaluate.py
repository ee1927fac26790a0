"""Scores a version on held-out answers, and compares numpy's outputs with Keras's."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt_json import from_json
from chalicelib.prediction.archive import read_keras
from chalicelib.prediction.chain import bounded_probability
from chalicelib.prediction.network import Network
from chalicelib.prediction.predictor import Predictor
from chalicelib.prediction.vocabulary import read_vocabulary
from training_job.bootstrap import mean_difference
from training_job.fit.samples import Samples, samples_of
from training_job.history.answers import AnswerTable
from training_job.history.replay import predict_history, read_history
from training_job.history.summaries import user_chunks
from training_job.scores import auc, expected_calibration_error, log_losses, root_mean_square

PROBE_ANSWERS = 512


def holdout_scores(predictor: Predictor, table: AnswerTable, holdout_mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Scores of what ``predictor`` would have served for the held-out rows of ``table``, each from earlier answers.

    ``log_loss``, ``auc``, ``ece``, ``log_time_rmse``, ``coverage80`` and the same with ``lnirt_`` for LNIRT alone;
    None where the rows do not allow a figure. ``losses`` (n,) and ``log_time_squared_errors`` (n,) (NaN where
    the time is unknown), and the same with ``lnirt_``, are per held-out row, in the table's order, for paired
    comparisons; ``users`` (n,) their students' codes.
    """
    concerned = np.isin(table.user, table.user[holdout_mask])
    table, holdout_mask = table.select(concerned), holdout_mask[concerned]
    served = predict_history(predictor, table, holdout_mask)
    history = read_history(table, predictor.lnirt, predictor.vocabulary)
    rows = table.select(holdout_mask)
    logs, timed = rows.log_seconds, rows.timed
    lnirt_correct = bounded_probability(history.logit[holdout_mask])
    lnirt_losses = log_losses(rows.is_correct, lnirt_correct)
    lnirt_errors = np.where(timed, logs - history.log_seconds[holdout_mask], np.nan)
    errors = np.where(timed, logs - served.log_seconds, np.nan)
    losses = log_losses(rows.is_correct, served.correct)
    inside = ((logs >= served.low) & (logs <= served.high))[timed & ~np.isnan(served.low)]
    return {
        "n": len(rows),
        "n_timed": int(timed.sum()),
        "log_loss": _mean(losses),
        "auc": auc(rows.is_correct, served.correct),
        "ece": expected_calibration_error(rows.is_correct, served.correct),
        "log_time_rmse": root_mean_square(errors[timed]),
        "coverage80": _mean(inside.astype(np.float64)),
        "lnirt_log_loss": _mean(lnirt_losses),
        "lnirt_auc": auc(rows.is_correct, lnirt_correct),
        "lnirt_log_time_rmse": root_mean_square(lnirt_errors[timed]),
        "losses": losses,
        "lnirt_losses": lnirt_losses,
        "log_time_squared_errors": np.square(errors),
        "lnirt_log_time_squared_errors": np.square(lnirt_errors),
        "users": rows.user,
    }


def against_lnirt(scores: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The served losses minus those of LNIRT alone with their bounds, from :func:`holdout_scores`.

    ``log_loss`` and, where there are times, ``log_time_mse``.
    """
    figures: dict[str, dict[str, float]] = {}
    for name, losses in (("log_loss", "losses"), ("log_time_mse", "log_time_squared_errors")):
        ours, theirs = scores[losses], scores[f"lnirt_{losses}"]
        known = np.isfinite(ours) & np.isfinite(theirs)
        if known.any():
            figures[name] = mean_difference(ours[known], theirs[known], scores["users"][known]).figures()
    return figures


def parity(files: Mapping[str, bytes], table: AnswerTable) -> float:
    """The largest absolute difference between numpy and Keras over both models, on a probe batch of the table.

    numpy runs each model layer by layer, and as it serves. Outputs are logits and
    log seconds; NaN where one of them is not finite. Raises ModelError when a file cannot be served at all.
    """
    lnirt, vocabulary = from_json(files["lnirt.json"]), read_vocabulary(files["vocabulary.json"])
    chunk = next(user_chunks(table, PROBE_ANSWERS), slice(0, 0))
    part = table.select(np.arange(chunk.start, chunk.stop))
    samples = samples_of(part, lnirt, vocabulary, read_history(part, lnirt, vocabulary))
    pairs = zip(("correctness_model.keras", "time_model.keras"), samples, strict=True)
    return float(np.max([_difference(files[name], sample) for name, sample in pairs]))


def _difference(archive: bytes, samples: Samples) -> float:
    import keras

    everything = np.ones(len(samples.target), dtype=np.bool_)
    plain = read_keras(archive)
    served = Network(plain)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(archive)
        trained = keras.saving.load_model(path, compile=False, safe_mode=True)
    worst = 0.0
    for rows, vectors in samples.blocks(everything):
        inputs = samples.inputs(rows[-PROBE_ANSWERS:], vectors[-PROBE_ANSWERS:])
        expected = np.asarray(trained(inputs, training=False))
        for found in (plain(inputs)[:, 0], served(inputs)):
            worst = float(np.maximum(worst, np.abs(found - expected[:, 0]).max()))
    return worst


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None
