"""The comparison of numpy with Keras finds a difference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor

import numpy as np
import pytest

from chalicelib.prediction.archive import KerasModel, read_keras
from tests.support.histories import rebuilt, simulate
from training_job import parity
from training_job.fit.population import Population
from training_job.fit.train import train_version
from training_job.pipeline import PARITY_TOLERANCE

pytestmark = pytest.mark.slow


def reading(swapped: Mapping[bytes, bytes]) -> Callable[[bytes], KerasModel]:
    return lambda raw: read_keras(swapped.get(raw, raw))


def differences() -> list[float]:
    """Return the difference, and those of a numpy which reads one network with other weights. The process ends then."""
    table = simulate(4, 2, 800)
    # Right and wrong in turn, with exceptions: networks learn that, LNIRT cannot.
    in_turn = (np.arange(800) % 2 == 1) ^ (np.random.default_rng(0).random(800) < 0.15)
    table = rebuilt(table, is_correct=in_turn)
    population = Population.of(table)
    files, others = (
        train_version(population, version="v1", seed=seed, on_progress=lambda _: None).files for seed in (0, 1)
    )
    found = [parity.parity(files, table)]
    for name in ("correctness_model.keras", "time_model.keras"):
        parity.read_keras = reading({files[name]: others[name]})  # type: ignore[assignment, attr-defined]
        found.append(parity.parity(files, table))
    return found


def test_numpy_must_predict_what_keras_predicts(processes: Executor) -> None:
    usual, *spoiled = processes.submit(differences).result()
    assert usual < PARITY_TOLERANCE / 10
    assert min(spoiled) > PARITY_TOLERANCE * 10
