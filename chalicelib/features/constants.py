"""What a version knows of topics and difficulties, laid out for reading a student's state.

Beside the decayed sums, all that is needed of a state's rows are sums of its four statistics (attempts, correct, timed,
log seconds) times constants of the row's topic and difficulty:

* log-likelihoods of abilities: attempts times log P(wrong), plus correct times the logit;
* precision and weighted sum of the speed: timed and log seconds times 1 / variance;
* evidence of the traits: attempts and timed times squares of loadings, what was unexplained times loadings.

So the constants stand side by side in one table, and one product of the statistics with the rows that a state picks
gives all sums. What is the same for all abilities is left out of the log-likelihoods.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import msgspec
import numpy as np

from chalicelib.domain.lnirt import ABILITY_GRID, N_LEVELS, FloatArray, IntArray, LnirtParameters, grid_log_likelihoods
from chalicelib.features.population import Population


class Evidence(msgspec.Struct, frozen=True):
    """What a state tells: ``log_likelihood`` (G,) of abilities, the speed's sums, ``traits`` (K * K + K,)."""

    log_likelihood: FloatArray
    speed_precision: float
    speed_weighted: float
    traits: FloatArray


@dataclass(frozen=True)
class Knowledge:
    """LNIRT and the population of one version."""

    model: LnirtParameters
    population: Population

    def constants(self, topic: IntArray, level: IntArray) -> FloatArray:
        """The constants of R topics and levels. Shape (R, F)."""
        return self._table.take(topic * N_LEVELS + level, axis=0)

    @staticmethod
    def expected(constants: FloatArray) -> FloatArray:
        """The expected success of each. Shape (R,)."""
        return constants[:, _EXPECTED]

    @staticmethod
    def intensity(constants: FloatArray) -> FloatArray:
        """The intensity of each, 0 for a version without times. Shape (R,)."""
        return constants[:, _INTENSITY]

    def evidence(self, statistics: FloatArray, constants: FloatArray) -> Evidence:
        """What a state's rows tell, from their statistics (R, 4) and their constants."""
        which, factors = self._terms
        sums = ((statistics.T @ constants).take(which) * factors).sum(axis=0)
        precision, weighted = sums[_SPEED].tolist()
        return Evidence(sums[_LOG_LIKELIHOOD], precision, weighted, sums[_SPEED.stop :])

    @cached_property
    def _terms(self) -> tuple[IntArray, FloatArray]:
        """What the numbers of an evidence are sums of, (4, M): for each statistic one of its products, times a factor.

        Products are told by their places in the statistics' products with the table's columns, laid out in a line.
        """
        k = self.population.traits.n_traits
        width = self._table.shape[1]
        which = np.zeros((4, _SPEED.stop + k * k + k), dtype=np.int64)
        factors = np.zeros(which.shape)
        column = np.arange(width)
        successes, loadings, times, time_loadings = (
            column[begin:end] for begin, end in pairwise(accumulate((k * k + k, k, k * k + k, k), initial=_GRID.stop))
        )
        all_of_traits, weighted = slice(_SPEED.stop, None), slice(_SPEED.stop + k * k, None)
        for statistic, numbers, columns, factor in (
            (_ATTEMPTS, _LOG_LIKELIHOOD, column[_GRID], 1.0),
            (_CORRECT, _LOG_LIKELIHOOD, _DISCRIMINATION, ABILITY_GRID),
            (_TIMED, _SPEED, [_WEIGHT, _WEIGHTED_INTENSITY], 1.0),
            (_LOG_SECONDS, _SPEED, [_WEIGHT, _WEIGHT], [0.0, -1.0]),
            (_ATTEMPTS, all_of_traits, successes, 1.0),
            (_CORRECT, weighted, loadings, 1.0),
            (_TIMED, all_of_traits, times, 1.0),
            (_LOG_SECONDS, weighted, time_loadings, 1.0),
        ):
            which[statistic, numbers] = statistic * width + np.asarray(columns)
            factors[statistic, numbers] = factor
        return which, factors

    @cached_property
    def _table(self) -> FloatArray:
        """Shape ((T+1) * 4, F), by topic and within it by level."""
        model, traits = self.model, self.population.traits
        rows = np.repeat(np.arange(len(model.discrimination)), N_LEVELS)
        success, time = traits.steps[0, rows], traits.steps[1, rows]
        expected, discrimination = model.expected_success().ravel(), model.discrimination[rows]
        if model.time is None:
            intensity, weight, time = np.zeros(len(rows)), np.zeros(len(rows)), np.zeros_like(time)
        else:
            intensity, weight = model.time.intensity.ravel(), 1.0 / model.time.residual_variance[rows]
        _, log_wrong = grid_log_likelihoods(discrimination, model.easiness.ravel())
        loadings = slice(traits.n_traits**2, None)
        unexplained = [success.copy(), time.copy()]
        for steps, known in zip(unexplained, (expected, intensity), strict=True):
            steps[:, loadings] *= -known[:, None]
        return np.column_stack(
            [
                *(expected, intensity, discrimination, weight, weight * intensity, log_wrong),
                *(unexplained[0], success[:, loadings], unexplained[1], time[:, loadings]),
            ]
        )


_EXPECTED, _INTENSITY, _DISCRIMINATION, _WEIGHT, _WEIGHTED_INTENSITY = range(5)
_GRID = slice(5, 5 + len(ABILITY_GRID))
_ATTEMPTS, _CORRECT, _TIMED, _LOG_SECONDS = range(4)
_LOG_LIKELIHOOD, _SPEED = slice(0, len(ABILITY_GRID)), slice(len(ABILITY_GRID), len(ABILITY_GRID) + 2)
"""Where the numbers of an evidence stand; the traits' follow."""
