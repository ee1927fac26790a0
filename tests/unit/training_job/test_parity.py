"""The comparison of numpy with Keras finds a difference."""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np
import pytest

from chalicelib.prediction.archive import read_keras
from tests.support.histories import rebuilt, simulate
from training_job import parity
from training_job.fit.population import Population
from training_job.fit.train import train_version
from training_job.pipeline import PARITY_TOLERANCE

pytestmark = pytest.mark.slow


def differences() -> tuple[float, float]:
    """Return the difference, and that of a numpy which reads networks with other weights. The process ends after it."""
    table = simulate(4, 2, 800)
    # Right and wrong in turn, with exceptions: networks learn that, LNIRT cannot.
    in_turn = (np.arange(800) % 2 == 1) ^ (np.random.default_rng(0).random(800) < 0.15)
    table = rebuilt(table, is_correct=in_turn)
    population = Population.of(table)
    files, others = (
        train_version(population, version="v1", seed=seed, on_progress=lambda _: None).files for seed in (0, 1)
    )
    usual = parity.parity(files, table)
    swapped = {files[name]: others[name] for name in files}
    parity.read_keras = lambda raw: read_keras(swapped[raw])  # type: ignore[attr-defined]
    return usual, parity.parity(files, table)


def test_numpy_must_predict_what_keras_predicts(processes: Executor) -> None:
    usual, spoiled = processes.submit(differences).result()
    assert usual < PARITY_TOLERANCE / 10
    assert spoiled > PARITY_TOLERANCE * 10
