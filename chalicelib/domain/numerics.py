"""Formulas that are written once, for one prediction and for many.

A *column* is one quantity: a float for one prediction, or an array (N,) for N predictions. A formula takes columns and
the :class:`Functions` for their kind. Both kinds are needed for speed: a numpy call on one number takes ten times as
long as Python's own arithmetic and one prediction needs several hundred operations, while arrays win for many
predictions. Several columns are a list of columns, or an array (N, number of columns).
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
"""Nested columns: lists of floats, or an array (N, a) or (N, a, b)."""

Row = int | IntArray
"""The row of a table that one prediction reads, or the rows (N,) of N predictions."""


class Functions(msgspec.Struct, frozen=True):
    """The functions of formulas, for floats or for arrays.

    ``where(condition, yes, no)`` gets both values computed. ``any_true(condition)`` is True if any prediction fulfils
    the condition.
    """

    exp: Callable[[Column], Column]
    log: Callable[[Column], Column]
    log1p: Callable[[Column], Column]
    sqrt: Callable[[Column], Column]
    tanh: Callable[[Column], Column]
    minimum: Callable[[Column, Column], Column]
    maximum: Callable[[Column, Column], Column]
    where: Callable[[Column, Column, Column], Column]
    any_true: Callable[[Column], bool]

    def logistic(self, logit: Column) -> Column:
        """Return the logistic function of a logit, without overflow."""
        return 0.5 * (1.0 + self.tanh(0.5 * logit))

    def bounded(self, value: Column, low: float, high: float) -> Column:
        """Return the value, limited to the range from ``low`` to ``high``."""
        return self.minimum(self.maximum(value, low), high)


def _where(condition: bool, yes: float, no: float) -> float:
    return yes if condition else no


def _any_true(condition: npt.NDArray[np.bool_]) -> bool:
    return bool(condition.any())


OF_FLOATS = Functions(math.exp, math.log, math.log1p, math.sqrt, math.tanh, min, max, _where, bool)
OF_ARRAYS = Functions(np.exp, np.log, np.log1p, np.sqrt, np.tanh, np.minimum, np.maximum, np.where, _any_true)


def functions_for(column: Column) -> Functions:
    """Return the functions for the kind of this column."""
    return OF_ARRAYS if isinstance(column, np.ndarray) else OF_FLOATS


def columns_of(values: Columns) -> Any:
    """Return an array (N, a) as a list of a columns, and (N, a, b) as a list of lists of columns.

    A column or a list is returned as it is.
    """
    if not isinstance(values, np.ndarray) or values.ndim == 1:
        return values
    return [columns_of(values[:, i]) for i in range(values.shape[1])]


def table_columns(table: npt.NDArray[Any], row: Row) -> Any:
    """Return the columns of a table at one row, as floats, or at N rows, as arrays."""
    return columns_of(table[row]) if isinstance(row, np.ndarray) else table[row].tolist()


def side_by_side(columns: Sequence[Column], like: Column) -> npt.NDArray[np.float32]:
    """Return columns as an array (N, number of columns), where N is the length of ``like``.

    A float among arrays holds for all N predictions.
    """
    if not isinstance(like, np.ndarray):
        return np.array([columns], dtype=np.float32)
    values = np.empty((len(like), len(columns)), dtype=np.float32)
    for number, column in enumerate(columns):
        values[:, number] = column
    return values
