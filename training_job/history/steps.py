"""What each answer of a history adds to the decayed sums."""

from __future__ import annotations

import numpy as np

from chalicelib.domain.lnirt import FloatArray, IntArray, LnirtParameters


def answer_steps(
    topic: IntArray,
    level: IntArray,
    correct: FloatArray,
    timed: FloatArray,
    log_seconds: FloatArray,
    model: LnirtParameters,
) -> FloatArray:
    """What each answer adds to the decayed sums of a summary. All (n,); the result is (n, 5)."""
    expected = model.expected_success[topic, level]
    intensity = model.time.intensity[topic, level] if model.time is not None else 0.0
    return np.stack([correct, 1.0 - correct, expected, timed * (log_seconds - intensity), timed], axis=1)
