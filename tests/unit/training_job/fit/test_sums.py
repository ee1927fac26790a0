"""Sums of answers as sparse matrices, against the single answers that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from chalicelib.domain.lnirt import ABILITY_GRID, N_LEVELS, grid_log_likelihoods
from tests.support.histories import simulate
from training_job.fit import sums
from training_job.fit.lnirt import fit_success


@pytest.mark.parametrize("rows", [10, 8_000])
def test_a_students_likelihood_is_that_of_all_answers(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(sums, "CHUNK_ROWS", rows)
    table, rng = simulate(30, 5, 600), np.random.default_rng(1)
    outcomes = grid_log_likelihoods(rng.uniform(0.5, 2.0, 5 * N_LEVELS), rng.normal(size=5 * N_LEVELS))
    chunks = [chunk.matrices() for chunk in sums.sums_of(table).chunks()]
    assert (len(chunks) > 1) == (rows == 10)
    for correct in (table.is_correct, ~table.is_correct):
        expected = np.zeros((30, len(ABILITY_GRID)))
        np.add.at(expected, table.user, np.where(correct[:, None], *(part[sums.cells_of(table)] for part in outcomes)))
        order = outcomes if correct is table.is_correct else outcomes[::-1]
        found = [chunk.log_likelihoods(*(part[chunk.cells] for part in order)) for chunk in chunks]
        np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-9)


def test_the_fit_is_the_same_however_students_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    summed = sums.sums_of(simulate(60, 4, 2_000))
    whole = fit_success(summed, 4)
    monkeypatch.setattr(sums, "CHUNK_ROWS", 20)
    for part, one in zip(fit_success(summed, 4), whole, strict=True):
        np.testing.assert_allclose(part, one, atol=1e-9)
