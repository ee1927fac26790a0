"""Formulas written once, for one prediction and for many.

A *column* is one quantity of N predictions: an array (N,), or, when N is 1, a plain float. A formula takes columns and
the functions for them. A numpy call on one number takes ten times as long as Python's own arithmetic, and a prediction
is several hundred such operations; for many predictions it is the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

Column = Any
"""A float, or an array (N,)."""


@dataclass(frozen=True, slots=True)
class Functions:
    """What formulas need beyond arithmetic, of floats or of arrays; ``where(condition, yes, no)`` computes both."""

    exp: Callable[[Column], Column]
    log: Callable[[Column], Column]
    log1p: Callable[[Column], Column]
    sqrt: Callable[[Column], Column]
    tanh: Callable[[Column], Column]
    least: Callable[[Column, Column], Column]
    most: Callable[[Column, Column], Column]
    where: Callable[[Column, Column, Column], Column]

    def logistic(self, logit: Column) -> Column:
        """The logistic function, without overflow."""
        return 0.5 * (1.0 + self.tanh(0.5 * logit))

    def bounded(self, value: Column, low: float, high: float) -> Column:
        """The value, or the bound beyond which it lies."""
        return self.least(self.most(value, low), high)


OF_FLOATS = Functions(
    math.exp, math.log, math.log1p, math.sqrt, math.tanh, min, max, lambda condition, yes, no: yes if condition else no
)
OF_ARRAYS = Functions(np.exp, np.log, np.log1p, np.sqrt, np.tanh, np.minimum, np.maximum, np.where)


def functions_for(n: int) -> Functions:
    """The functions for columns of ``n`` predictions."""
    return OF_FLOATS if n == 1 else OF_ARRAYS


def columns_of(values: npt.NDArray[Any]) -> Any:
    """(N,) as a column, (N, a) as a list of a columns, (N, a, b) as a list of lists."""
    if len(values) == 1:
        return values[0].tolist()
    return values if values.ndim == 1 else [columns_of(values[:, i]) for i in range(values.shape[1])]


def picked(table: npt.NDArray[Any], rows: IntArray) -> Any:
    """The columns of some rows of a table: :func:`columns_of` ``table[rows]``."""
    return table[rows[0]].tolist() if len(rows) == 1 else columns_of(table[rows])


def array_of(column: Column) -> FloatArray:
    """A column as (N,)."""
    return column if isinstance(column, np.ndarray) else np.array([column], dtype=np.float64)


def side_by_side(columns: Sequence[Column], n: int) -> FloatArray:
    """Columns of ``n`` predictions as (N, number of columns); a float among arrays is the same for all."""
    if n == 1:
        return np.array([columns], dtype=np.float64)
    values = np.empty((n, len(columns)))
    for number, column in enumerate(columns):
        values[:, number] = column
    return values
