"""Formulas written once, for one prediction and for many.

A *column* is one quantity: an array (N,) of N predictions, or a plain float of a single one. A formula takes columns
and the functions for them. A numpy call on one number takes ten times as long as Python's own arithmetic, and a
prediction is several hundred such operations; for many predictions it is the other way round. Several columns are a
list of them, or an array (N, number of columns).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

Column = Any
"""A float, or an array (N,)."""

Columns = Any
"""Columns, nested as they are laid out: lists of floats, or an array (N, a) or (N, a, b)."""

Row = int | IntArray
"""Which row of a table is meant, by one prediction or by each of N."""


class Functions(msgspec.Struct, frozen=True):
    """What formulas need beyond arithmetic, of floats or of arrays; ``where(condition, yes, no)`` computes both.

    ``some(condition)`` says whether it holds for any prediction.
    """

    exp: Callable[[Column], Column]
    log: Callable[[Column], Column]
    log1p: Callable[[Column], Column]
    sqrt: Callable[[Column], Column]
    tanh: Callable[[Column], Column]
    least: Callable[[Column, Column], Column]
    most: Callable[[Column, Column], Column]
    where: Callable[[Column, Column, Column], Column]
    some: Callable[[Column], bool]

    def logistic(self, logit: Column) -> Column:
        """The logistic function, without overflow."""
        return 0.5 * (1.0 + self.tanh(0.5 * logit))

    def bounded(self, value: Column, low: float, high: float) -> Column:
        """The value, or the bound beyond which it lies."""
        return self.least(self.most(value, low), high)


def _either(condition: bool, yes: float, no: float) -> float:
    return yes if condition else no


def _any(condition: npt.NDArray[np.bool_]) -> bool:
    return bool(condition.any())


OF_FLOATS = Functions(math.exp, math.log, math.log1p, math.sqrt, math.tanh, min, max, _either, bool)
OF_ARRAYS = Functions(np.exp, np.log, np.log1p, np.sqrt, np.tanh, np.minimum, np.maximum, np.where, _any)


def functions_for(column: Column) -> Functions:
    """The functions for columns like this one."""
    return OF_ARRAYS if isinstance(column, np.ndarray) else OF_FLOATS


def columns_of(values: Columns) -> Any:
    """(N, a) as a list of a columns, (N, a, b) as a list of lists; what is a column or a list is left as it is."""
    if not isinstance(values, np.ndarray) or values.ndim == 1:
        return values
    return [columns_of(values[:, i]) for i in range(values.shape[1])]


def picked(table: npt.NDArray[Any], row: Row) -> Any:
    """The columns of rows of a table."""
    return columns_of(table[row]) if isinstance(row, np.ndarray) else table[row].tolist()


def side_by_side(columns: Sequence[Column], like: Column) -> npt.NDArray[np.float32]:
    """Columns as (N, number of columns), of as many predictions as ``like`` has; a float among arrays is all theirs."""
    if not isinstance(like, np.ndarray):
        return np.array([columns], dtype=np.float32)
    values = np.empty((len(like), len(columns)), dtype=np.float32)
    for number, column in enumerate(columns):
        values[:, number] = column
    return values
