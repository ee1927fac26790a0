"""The constants of one version: LNIRT, traits and sequences, laid out for reading a student's state.

Ability, speed and traits need, from each row of a state, its four statistics (attempts, correct, timed, log seconds)
times constants of the row's topic and level:

* log-likelihood of abilities: attempts times log P(incorrect), plus correct times the logit;
* precision and weighted sum of the speed: timed and log seconds times 1 / variance;
* evidence of the traits: attempts and timed times products of loadings, and residuals times loadings.

All these constants stand side by side in one table. So one matrix product of the statistics with the table's rows gives
every sum. Terms that are the same for all abilities are left out of the log-likelihoods.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise

import msgspec
import numpy as np

from chalicelib.domain.lnirt import ABILITY_GRID, N_LEVELS, FloatArray, IntArray, LnirtParameters, grid_log_likelihoods
from chalicelib.features.item_effects import ItemTable, no_items
from chalicelib.features.sequences import SequenceTable, no_sequences
from chalicelib.features.traits import TraitModel, no_traits


class Evidence(msgspec.Struct, frozen=True):
    """The sums over a state from which ability, speed and traits are estimated."""

    log_likelihood: FloatArray
    """Of the abilities on the grid, up to a constant. Shape (G,)."""
    speed_precision: float
    speed_weighted: float
    traits: FloatArray
    """Precision and weighted sum of the traits. Shape (K*K + K,)."""


@dataclass(frozen=True)
class VersionConstants:
    """LNIRT, and what a version has learnt about the population in addition."""

    lnirt: LnirtParameters
    traits: TraitModel
    sequences: SequenceTable
    items: ItemTable = field(default_factory=no_items)

    @classmethod
    def of_lnirt(cls, lnirt: LnirtParameters) -> VersionConstants:
        """Return the constants of a version that has LNIRT only: no traits, no sequences."""
        return cls(lnirt, no_traits(len(lnirt.easiness) - 1), no_sequences())

    def cells(self, topic_row: IntArray, level: IntArray) -> FloatArray:
        """Return the F constants of each cell, a topic and a level. Two (R,) give (R, F)."""
        return self._table.take(topic_row * N_LEVELS + level, axis=0)

    @staticmethod
    def expected(cells: FloatArray) -> FloatArray:
        """Return the expected success of each cell. Shape (R,)."""
        return cells[:, _EXPECTED]

    @staticmethod
    def intensity(cells: FloatArray) -> FloatArray:
        """Return the time intensity of each cell, 0 for a version without times. Shape (R,)."""
        return cells[:, _INTENSITY]

    def evidence(self, statistics: FloatArray, cells: FloatArray) -> Evidence:
        """Return the sums over a state's rows, from their statistics (R, 4) and their constants (R, F)."""
        products, factors = self._terms
        sums = ((statistics.T @ cells).take(products) * factors).sum(axis=0)
        precision, weighted = sums[_SPEED].tolist()
        return Evidence(sums[_LOG_LIKELIHOOD], precision, weighted, sums[_SPEED.stop :])

    @cached_property
    def _terms(self) -> tuple[IntArray, FloatArray]:
        """The terms of each number of an evidence, two arrays (4, M).

        A number is a sum of at most one product of each statistic with a column of the table, times a factor. The first
        array holds the position of that product in the flattened matrix (4, F) of all products, the second the factor.
        """
        k = self.traits.n_traits
        width = self._table.shape[1]
        products = np.zeros((4, _SPEED.stop + k * k + k), dtype=np.int64)
        factors = np.zeros(products.shape)
        column = np.arange(width)
        success_evidence, success_loadings, time_evidence, time_loadings = (
            column[begin:end] for begin, end in pairwise(accumulate((k * k + k, k, k * k + k, k), initial=_GRID.stop))
        )
        traits, traits_weighted = slice(_SPEED.stop, None), slice(_SPEED.stop + k * k, None)
        for statistic, numbers, columns, factor in (
            (_ATTEMPTS, _LOG_LIKELIHOOD, column[_GRID], 1.0),
            (_CORRECT, _LOG_LIKELIHOOD, _DISCRIMINATION, ABILITY_GRID),
            (_TIMED, _SPEED, [_WEIGHT, _WEIGHTED_INTENSITY], 1.0),
            (_LOG_SECONDS, _SPEED, [_WEIGHT, _WEIGHT], [0.0, -1.0]),
            (_ATTEMPTS, traits, success_evidence, 1.0),
            (_CORRECT, traits_weighted, success_loadings, 1.0),
            (_TIMED, traits, time_evidence, 1.0),
            (_LOG_SECONDS, traits_weighted, time_loadings, 1.0),
        ):
            products[statistic, numbers] = statistic * width + np.asarray(columns)
            factors[statistic, numbers] = factor
        return products, factors

    @cached_property
    def _table(self) -> FloatArray:
        """The constants by row of LNIRT, and within it by level. Shape ((T+1+S) * 4, F)."""
        lnirt, traits = self.lnirt, self.traits
        rows = np.repeat(np.arange(len(lnirt.discrimination)), N_LEVELS)
        success, time = traits.steps[0, rows], traits.steps[1, rows]
        expected, discrimination = lnirt.expected_success.ravel(), lnirt.discrimination[rows]
        if lnirt.time is None:
            intensity, weight, time = np.zeros(len(rows)), np.zeros(len(rows)), np.zeros_like(time)
        else:
            intensity, weight = lnirt.time.intensity.ravel(), 1.0 / lnirt.time.residual_variance[rows]
        _, log_incorrect = grid_log_likelihoods(discrimination, lnirt.easiness.ravel())
        loadings = slice(traits.n_traits**2, None)
        # The weighted sum of the traits needs residuals, so an answer also subtracts its expectation.
        evidence = [success.copy(), time.copy()]
        for steps, expectation in zip(evidence, (expected, intensity), strict=True):
            steps[:, loadings] *= -expectation[:, None]
        return np.column_stack(
            [
                *(expected, intensity, discrimination, weight, weight * intensity, log_incorrect),
                *(evidence[0], success[:, loadings], evidence[1], time[:, loadings]),
            ]
        )


_EXPECTED, _INTENSITY, _DISCRIMINATION, _WEIGHT, _WEIGHTED_INTENSITY = range(5)
_GRID = slice(5, 5 + len(ABILITY_GRID))
"""Columns of the table; those of the traits follow."""

_ATTEMPTS, _CORRECT, _TIMED, _LOG_SECONDS = range(4)
"""Rows of the statistics."""

_LOG_LIKELIHOOD, _SPEED = slice(0, len(ABILITY_GRID)), slice(len(ABILITY_GRID), len(ABILITY_GRID) + 2)
"""Positions in the numbers of an evidence; those of the traits follow."""
