"""The interval around a predicted time, which is to contain 80 % of the times.

Relative to the predicted time, errors are larger for short times. So the bounds depend on the predicted time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chalicelib.domain.lnirt import FloatArray


@dataclass(frozen=True, slots=True)
class TimeInterval:
    """Bounds at K predicted times: 10 % and 90 % quantiles of residuals, in standard deviations of LNIRT's prediction.

    ``log_seconds`` are the predicted times, ascending. Between two of them the bounds are interpolated, and beyond the
    first and the last one they are constant.
    """

    log_seconds: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def constant(cls, low: float, high: float) -> TimeInterval:
        """Return an interval with the same bounds at all times."""
        return cls((0.0,), (low,), (high,))

    def bounds(self, log_seconds: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the lower and the upper bounds at predicted times (n,), in standard deviations. Shapes (n,)."""
        low, high = (np.interp(log_seconds, self.log_seconds, bound) for bound in (self.low, self.high))
        return np.asarray(low), np.asarray(high)
