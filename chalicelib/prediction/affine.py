"""Values of a graph as affine functions of what is not affine: inputs, rows of tables, and non-linear units.

    value = term_1 + term_2 + ... + bias,    term = source @ matrix, or a row of a table

Matrices and tables are float64 and are rounded once, when a program is made of them (:mod:`.stages`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import force_setattr, replace

from chalicelib.prediction.layers import LayerNormalization

FloatArray = npt.NDArray[np.float64]

MAX_TABLE = 1 << 20
"""Numbers of a table that may come of an embedding times a kernel; a larger one is looked up and then multiplied."""

LINEAR, MULTIPLY, NORMALISE = "linear", "multiply", "normalise"
"""Kinds of units beside the activations' names: a value computed for its own sake, a product of two, a layer."""


class Numbers(msgspec.Struct, frozen=True, eq=False):
    """A float input of the program."""

    name: str
    width: int
    level: ClassVar[int] = 0


class Codes(msgspec.Struct, frozen=True):
    """One column of an integer input: which row of a table is meant."""

    name: str
    column: int
    level: ClassVar[int] = 0


class Unit(msgspec.Struct, frozen=True, eq=False):
    """What is computed by a non-linear function of its operands, which are of its width.

    ``level`` is 1 more than the highest among its operands' sources, so that units of one level do not need each other.
    """

    kind: str
    operands: tuple[Affine, ...]
    layer: LayerNormalization | None = None
    level: int = 0

    def __post_init__(self) -> None:
        force_setattr(self, "level", 1 + max((source.level for source in self.sources), default=0))

    @property
    def width(self) -> int:
        """Numbers per row."""
        return self.operands[0].width

    @property
    def sources(self) -> list[Source]:
        """What the operands are made of."""
        return [term.source for operand in self.operands for term in operand.terms]


Source = Numbers | Codes | Unit


class Term(msgspec.Struct, frozen=True, eq=False):
    """``source @ matrix`` in the columns from ``start`` on; for codes a row of ``matrix``.

    Without a matrix it is the source itself times ``factor``.
    """

    source: Source
    start: int
    matrix: FloatArray | None
    factor: float = 1.0

    @property
    def width(self) -> int:
        """Columns that the term covers."""
        if self.matrix is not None:
            return int(self.matrix.shape[1])
        assert not isinstance(self.source, Codes)
        return self.source.width

    def dense(self) -> FloatArray:
        """The matrix, also of a term that has none."""
        return self.factor * np.eye(self.width) if self.matrix is None else self.matrix

    def scaled(self, factor: float) -> Term:
        """``factor`` times the term."""
        if self.matrix is None:
            return replace(self, factor=factor * self.factor)
        return replace(self, matrix=factor * self.matrix)


class Affine(msgspec.Struct, frozen=True, eq=False):
    """A sum of terms and a ``bias`` (width,)."""

    terms: tuple[Term, ...]
    bias: FloatArray

    @property
    def width(self) -> int:
        """Columns of the value."""
        return len(self.bias)


def of_source(source: Numbers | Unit) -> Affine:
    """The source as it is."""
    return Affine((Term(source, 0, None),), np.zeros(source.width))


def of_table(codes: Codes, table: npt.NDArray[np.floating]) -> Affine:
    """The rows of ``table`` that are meant by ``codes``."""
    return Affine((Term(codes, 0, table.astype(np.float64)),), np.zeros(table.shape[1]))


def rescaled(value: Affine, factor: float, offset: float = 0.0) -> Affine:
    """``factor * value + offset``."""
    return Affine(tuple(term.scaled(factor) for term in value.terms), factor * value.bias + offset)


def side_by_side(values: Sequence[Affine]) -> Affine:
    """The values' columns one after the other."""
    terms: list[Term] = []
    start = 0
    for value in values:
        terms += [replace(term, start=start + term.start) for term in value.terms]
        start += value.width
    return Affine(tuple(terms), np.concatenate([value.bias for value in values]))


def added(values: Sequence[Affine]) -> Affine:
    """The sum of values of one width."""
    found: dict[tuple[Source, int, int], Term] = {}
    for term in (term for value in values for term in value.terms):
        place = (term.source, term.start, term.width)
        before = found.get(place)
        found[place] = term if before is None else _sum_of_two(before, term)
    return Affine(tuple(found.values()), np.sum([value.bias for value in values], axis=0))


def _sum_of_two(one: Term, other: Term) -> Term:
    if one.matrix is None and other.matrix is None:
        return replace(one, factor=one.factor + other.factor)
    return replace(one, matrix=one.dense() + other.dense(), factor=1.0)


def through(value: Affine, kernel: FloatArray, bias: FloatArray | None = None) -> Affine:
    """``value @ kernel + bias``, each term's matrix multiplied with its part of the kernel where that saves work."""
    terms = [_through(term, kernel[term.start : term.start + term.width]) for term in value.terms]
    constant = value.bias @ kernel
    return added([Affine((term,), np.zeros(kernel.shape[1])) for term in terms] + [
        Affine((), constant if bias is None else constant + bias)
    ])  # fmt: skip


def _through(term: Term, kernel: FloatArray) -> Term:
    if term.matrix is None:
        return Term(term.source, 0, term.factor * kernel)
    rows, between = term.matrix.shape
    wide = kernel.shape[1]
    if isinstance(term.source, Codes):
        worthwhile = wide <= between or rows * wide <= MAX_TABLE
    else:
        worthwhile = rows * wide <= between * (rows + wide)
    if worthwhile:
        return Term(term.source, 0, term.matrix @ kernel)
    alone = Affine((replace(term, start=0),), np.zeros(between))
    return Term(Unit(LINEAR, (alone,)), 0, kernel)
