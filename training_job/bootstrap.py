"""How sure the mean difference of two versions' losses on the same answers is: a paired bootstrap.

Answers of one student are alike, so whole students are drawn with replacement (the cluster bootstrap, Field & Welsh
2007, "Bootstrapping clustered data"). A handful of students cannot be resampled: there single answers are drawn, and
the bounds are a little too narrow. Seeded: the same losses give the same bounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import FloatArray

RESAMPLES = 1000
CONFIDENCE = 0.95
"""Of each of the two bounds: the true difference lies above the lower one with this probability."""

MIN_STUDENTS = 10
"""Students below which answers are drawn instead."""

DRAWN_AT_ONCE = 2_000_000


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of ours minus theirs over ``n`` answers (positive: ours is worse), with its two one-sided bounds."""

    mean: float
    low: float
    high: float
    n: int

    def figures(self) -> dict[str, float]:
        """The numbers by name, for ``metadata.json``."""
        return {"difference": short(self.mean), "low": short(self.low), "high": short(self.high), "n": self.n}


def mean_difference(
    ours: FloatArray, theirs: FloatArray, user: npt.NDArray[np.integer], *, seed: int = 0
) -> Difference:
    """The mean difference of two losses of the same answers, all (N,), clustered by ``user``.

    Raises ``ValueError`` where there are no answers, or a loss is not finite.
    """
    difference = ours - theirs
    if not len(difference) or not np.isfinite(difference).all():
        raise ValueError(f"{len(difference)} answers, of which {int(np.isfinite(difference).sum())} have finite losses")
    groups = np.unique(user, return_inverse=True)[1].ravel()
    if int(groups.max()) + 1 < MIN_STUDENTS:
        groups = np.arange(len(difference))
    means = _resampled_means(np.bincount(groups, weights=difference), np.bincount(groups), seed)
    low, high = np.quantile(means, [1.0 - CONFIDENCE, CONFIDENCE])
    return Difference(float(difference.mean()), float(low), float(high), len(difference))


def _resampled_means(sums: FloatArray, counts: npt.NDArray[np.integer], seed: int) -> FloatArray:
    """Mean over the answers of each resample of the groups, (RESAMPLES,), from the groups' sums and counts (G,)."""
    rng = np.random.default_rng(seed)
    means: list[FloatArray] = []
    left = RESAMPLES
    while left:
        size = min(left, max(1, DRAWN_AT_ONCE // len(sums)))
        drawn = rng.integers(len(sums), size=(size, len(sums)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
        left -= size
    return np.concatenate(means)


def short(value: float) -> float:
    """To five significant digits."""
    return float(f"{value:.5g}")
