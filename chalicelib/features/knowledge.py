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

import numpy as np

from chalicelib.domain.lnirt import ABILITY_GRID, N_LEVELS, FloatArray, IntArray, LnirtParameters, grid_log_likelihoods
from chalicelib.features.population import Population


@dataclass(frozen=True, slots=True)
class Evidence:
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
        attempts, correct, timed, log_seconds = statistics.T @ constants
        of_attempts, of_correct, of_timed, of_log_seconds = self._of_traits
        traits = attempts[of_attempts] + timed[of_timed]
        traits[self.population.traits.n_traits**2 :] += correct[of_correct] + log_seconds[of_log_seconds]
        return Evidence(
            log_likelihood=attempts[_GRID] + correct[_DISCRIMINATION] * ABILITY_GRID,
            speed_precision=float(timed[_WEIGHT]),
            speed_weighted=float(timed[_WEIGHTED_INTENSITY] - log_seconds[_WEIGHT]),
            traits=traits,
        )

    @cached_property
    def _of_traits(self) -> list[slice]:
        """The columns of the table that attempts, correct, timed and log seconds are multiplied with for the traits."""
        k = self.population.traits.n_traits
        bounds = accumulate((k * k + k, k, k * k + k, k), initial=_GRID.stop)
        return [slice(begin, end) for begin, end in pairwise(bounds)]

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
