"""The contribution of each answer to the decayed sums, for summaries and pooled vectors alike."""

from __future__ import annotations

import numpy as np

from chalicelib.domain.lnirt import FloatArray, LnirtParameters
from training_job.history.answers import AnswerTable


def answer_steps(table: AnswerTable, lnirt: LnirtParameters) -> FloatArray:
    """Return what each answer adds to the five decayed sums of a summary. Shape (N, 5)."""
    topic, level = table.topic_rows(lnirt), table.level
    correct, timed = table.is_correct.astype(np.float64), table.timed.astype(np.float64)
    intensity = lnirt.time.intensity[topic, level] if lnirt.time is not None else 0.0
    beyond = timed * (table.counted_log_seconds - intensity)
    return np.stack([correct, 1.0 - correct, lnirt.expected_success[topic, level], beyond, timed], axis=1)
