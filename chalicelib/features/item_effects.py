"""Item effects: how much easier and faster an item is than its topic and difficulty."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from chalicelib.domain.lnirt import FloatArray, IntArray

NO_ITEM = 0
"""The key of an answer without a known item."""


@dataclass(frozen=True)
class ItemTable:
    """The effects of M items. Every other item has the effect 0.

    ``keys`` (M,) are the items' keys in rising order. ``success`` and ``time`` (M,) are in the same order.
    """

    keys: IntArray
    success: FloatArray
    """Logits that are added to those of the topic and difficulty."""
    time: FloatArray
    """Log seconds that are added to those of the topic and difficulty."""

    @cached_property
    def _effects(self) -> FloatArray:
        """Both effects, side by side, and zeros in the last row. Shape (M+1, 2)."""
        return np.vstack([np.column_stack([self.success, self.time]), np.zeros((1, 2))])

    def lookup(self, keys: IntArray) -> FloatArray:
        """Return success and time of N keys, 0 for unknown items. Shape (N, 2)."""
        at = np.searchsorted(self.keys, keys)
        found = self.keys.take(at, mode="clip") == keys if len(self.keys) else np.zeros(len(keys), dtype=np.bool_)
        return self._effects[np.where(found, at, len(self.keys))]

    def lookup_one(self, key: int | None) -> tuple[float, float]:
        """Return success and time of one key, 0 for an unknown item or None."""
        if key is None or not len(self.keys):
            return 0.0, 0.0
        ((success, time),) = self.lookup(np.array([key], dtype=np.int64)).tolist()
        return success, time


def no_items() -> ItemTable:
    """Return a table without any item."""
    return ItemTable(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0))
