"""LNIRT parameters and constants of versions with random values."""

from __future__ import annotations

import numpy as np

from chalicelib.domain.lnirt import LnirtParameters, TimeParameters
from chalicelib.features.constants import VersionConstants
from chalicelib.features.sequences import SequenceTable
from chalicelib.features.traits import TraitModel
from tests.support.histories import simulate
from training_job.history.sequences import keys_of_history


def model_of(n_topics: int, *, times: bool = True, subjects: tuple[str, ...] = ()) -> LnirtParameters:
    rng = np.random.default_rng(1)
    rows = n_topics + 1 + len(subjects)
    time = TimeParameters(
        intensity=np.sort(rng.normal(4, 0.5, (rows, 4)), axis=1),
        intensity_variance=rng.uniform(0.01, 0.1, (rows, 4)),
        residual_variance=rng.uniform(0.1, 0.5, rows),
        practice=rng.normal(0, 0.1, (rows, 2)),
        speed_variance=0.2,
        offset_variance=0.05,
        low=-1.3,
        high=1.2,
    )
    return LnirtParameters(
        topics=tuple(f"topic {i}" for i in range(n_topics)),
        discrimination=rng.uniform(0.5, 1.5, rows),
        easiness=-np.sort(-rng.normal(0.5, 1, (rows, 4)), axis=1),
        practice=rng.normal(0, 0.2, (rows, 2)),
        offset_variance=0.4,
        time=time if times else None,
        subjects=subjects,
    )


def constants_of(lnirt: LnirtParameters) -> VersionConstants:
    """Two traits with random loadings, and random values for half of the sequences of random histories."""
    rng = np.random.default_rng(2)
    rows = len(lnirt.easiness)
    parts = rng.normal(0, 0.2, (rows, 2)), rng.uniform(0.1, 0.3, rows), rng.normal(0, 0.3, (rows, 2)), np.ones(rows)
    traits = TraitModel(*(part.astype(np.float32).astype(np.float64) for part in parts))
    table = simulate(100, rows, 2000, seed=3)
    keys = np.unique(keys_of_history(table, table.topic.astype(np.int64)))
    kept = keys[rng.random(len(keys)) < 0.5]
    values = rng.normal(0, 0.1, len(kept)).astype(np.float16).astype(np.float64)
    return VersionConstants(lnirt, traits, SequenceTable(kept, values))
