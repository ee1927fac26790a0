"""The steps of a compiled program (:mod:`chalicelib.prediction.compiled`): sums of products, and functions of them.

A program keeps its arrays in a list: inputs, columns of codes, and what each stage gave. Steps know positions in that
list. Everything is decided when a program is made; a call only multiplies and adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from chalicelib.prediction.affine import (
    LINEAR,
    MULTIPLY,
    NORMALISE,
    Affine,
    Codes,
    FloatArray,
    Source,
    Unit,
    side_by_side,
)
from chalicelib.prediction.layers import Float32Array

SMALL = 4096
"""A matrix of up to so many numbers is multiplied as one piece, even if it is mostly zeros."""

SPARSE = 32_768
"""From so many numbers on, a product of one row reads only the part of the kernel that meets numbers other than 0."""

Known = Sequence[npt.NDArray[Any]]


class Place(NamedTuple):
    """Where a source lies: the position of its array in the list, its first column there, and how many there are."""

    array: int
    begin: int
    width: int


class _Part(msgspec.Struct, frozen=True):
    """One addend of a sum, in the sum's columns from ``begin`` to ``end``."""

    begin: int
    end: int

    def __call__(self, known: Known) -> Float32Array:
        raise NotImplementedError


class _Zeros(_Part, frozen=True):
    """Nothing: for columns that only a bias gives."""

    def __call__(self, known: Known) -> Float32Array:
        return np.zeros((len(known[0]), self.end - self.begin), dtype=np.float32)


class _Looked(_Part, frozen=True):
    """The rows of ``table`` that the codes at position ``array`` mean."""

    array: int
    table: Float32Array

    def __call__(self, known: Known) -> Float32Array:
        return self.table.take(known[self.array], axis=0)


class _Reader(_Part, frozen=True):
    """A part that reads ``columns`` of the array at position ``array``, or all of it."""

    array: int
    columns: slice | None


class _Product(_Reader, frozen=True):
    """``kernel`` (n, m) applied to n columns."""

    kernel: Float32Array

    def __call__(self, known: Known) -> Float32Array:
        source, kernel = known[self.array], self.kernel
        if self.columns is not None:
            source = source[:, self.columns]
        if kernel.size >= SPARSE and len(source) == 1:
            used = source[0].astype(np.bool_).nonzero()[0]
            if 2 * len(used) < len(kernel):
                source, kernel = source.take(used, axis=1), kernel.take(used, axis=0)
        product: Float32Array = source @ kernel
        return product


class _Stacked(_Reader, frozen=True):
    """``kernel`` (M, n, m): M products, each of the next n columns."""

    kernel: Float32Array

    def __call__(self, known: Known) -> Float32Array:
        source = known[self.array]
        if self.columns is not None:
            source = source[:, self.columns]
        many, reads, gives = self.kernel.shape
        if len(source) == 1:
            product: Float32Array = source.reshape(many, 1, reads) @ self.kernel
            return product.reshape(1, many * gives)
        out = np.empty((len(source), many, gives), dtype=np.float32)
        parts = source.reshape(len(source), many, reads).transpose(1, 0, 2)
        np.matmul(parts, self.kernel, out.transpose(1, 0, 2))
        return out.reshape(len(source), many * gives)


class _Copied(_Reader, frozen=True):
    """Columns times ``factors``; without factors they are the array's own, which must not be changed."""

    factors: Float32Array | None

    def __call__(self, known: Known) -> Float32Array:
        source: Float32Array = known[self.array]
        if self.columns is not None:
            source = source[:, self.columns]
        return source if self.factors is None else source * self.factors


class Sum(msgspec.Struct, frozen=True):
    """An affine value: (N, width) of a program's arrays.

    ``tiles`` cover all columns once; ``rest`` is added to some or all of them, and then ``bias``.
    """

    width: int
    tiles: tuple[tuple[slice, _Part], ...]
    rest: tuple[tuple[slice | None, _Part], ...]
    bias: Float32Array | None

    def __call__(self, known: Known) -> Float32Array:
        """The value; it may be a view of an array, so it must not be changed."""
        if len(self.tiles) == 1:
            total = self.tiles[0][1](known)
        else:
            total = np.empty((len(known[0]), self.width), dtype=np.float32)
            for columns, part in self.tiles:
                total[:, columns] = part(known)
        for some, part in self.rest:
            target = total if some is None else total[:, some]
            np.add(target, part(known), target)
        if self.bias is not None:
            np.add(total, self.bias, total)
        return total

    def constants(self) -> Iterator[Float32Array]:
        """All numbers that the sum holds."""
        if self.bias is not None:
            yield self.bias
        for _, part in (*self.tiles, *self.rest):
            if isinstance(part, _Looked):
                yield part.table
            elif isinstance(part, _Product | _Stacked):
                yield part.kernel
            elif isinstance(part, _Copied) and part.factors is not None:
                yield part.factors


def sum_of(value: Affine, places: Mapping[Source, Place]) -> Sum:
    """The steps that compute ``value`` from arrays at ``places``."""
    width, bias = value.width, value.bias
    # A lookup comes first, because the bias can be a part of its table; a copy last, because it cannot be added to.
    parts = sorted([*_lookups(value, places), *_products(value, places)], key=_preference)
    tiles = _tiles(parts, width)
    rest = [part for part in parts if part not in tiles]
    (first, *others) = tiles
    if isinstance(first, _Looked) and not others:
        tiles = [_Looked(0, width, first.array, _single(first.table + bias))]
        bias = np.zeros(width)
    elif isinstance(first, _Copied) and not others and first.factors is None and (rest or bias.any()):
        tiles = [_Copied(0, width, first.array, first.columns, np.ones(width, dtype=np.float32))]
    placed = tuple((slice(part.begin, part.end), part) for part in tiles)
    added = tuple((None if part.end - part.begin == width else slice(part.begin, part.end), part) for part in rest)
    return Sum(width, placed, added, _single(bias) if bias.any() else None)


def _preference(part: _Part) -> tuple[int, int]:
    """The widest parts first, and of equally wide ones lookups before products before copies."""
    return part.begin - part.end, 0 if isinstance(part, _Looked) else 2 if isinstance(part, _Copied) else 1


def _tiles(parts: Sequence[_Part], width: int) -> list[_Part]:
    """Parts that cover all columns once, from the first column on; zeros where there is none."""
    tiles: list[_Part] = []
    done = 0
    while done < width:
        found = next((part for part in parts if part.begin == done), None)
        if found is None:
            end = min((part.begin for part in parts if part.begin > done), default=width)
            found = _Zeros(done, end)
        tiles.append(found)
        done = found.end
    return tiles


def _single(numbers: npt.NDArray[np.floating[Any]]) -> Float32Array:
    # What is too large becomes infinite, and the program is given up for it.
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(numbers, dtype=np.float32)


class _Block(msgspec.Struct, frozen=True):
    """A matrix that reads an array from column ``row`` on and gives the sum's columns from ``column`` on."""

    row: int
    column: int
    matrix: FloatArray

    @property
    def ends(self) -> tuple[int, int]:
        """Where its rows and columns end."""
        return self.row + self.matrix.shape[0], self.column + self.matrix.shape[1]

    def meets(self, other: _Block) -> bool:
        """Whether the two share rows or columns."""
        ends, others = self.ends, other.ends
        rows = self.row < others[0] and other.row < ends[0]
        return rows or (self.column < others[1] and other.column < ends[1])


def _joined(blocks: Sequence[_Block]) -> _Block:
    """One block that does what several do."""
    row, column = min(block.row for block in blocks), min(block.column for block in blocks)
    ends = [max(ends) for ends in zip(*(block.ends for block in blocks), strict=True)]
    matrix = np.zeros((ends[0] - row, ends[1] - column))
    for block in blocks:
        until = block.ends
        matrix[block.row - row : until[0] - row, block.column - column : until[1] - column] += block.matrix
    return _Block(row, column, matrix)


def _lookups(value: Affine, places: Mapping[Source, Place]) -> Iterator[_Part]:
    """A table for each column of codes, one that gives everything that it means for the value."""
    tables: dict[int, list[_Block]] = {}
    for term in value.terms:
        if isinstance(term.source, Codes):
            tables.setdefault(places[term.source].array, []).append(_Block(0, term.start, term.dense()))
    for array, blocks in tables.items():
        # Tables of one input may have different numbers of rows: a code that some lack is out of range.
        rows = min(len(block.matrix) for block in blocks)
        whole = _joined([_Block(0, block.column, block.matrix[:rows]) for block in blocks])
        yield _Looked(whole.column, whole.ends[1], array, _single(whole.matrix))


def _products(value: Affine, places: Mapping[Source, Place]) -> Iterator[_Part]:
    blocks: dict[tuple[int, int], list[_Block]] = {}
    copies: dict[tuple[int, int], list[_Block]] = {}
    for term in value.terms:
        if not isinstance(term.source, Codes):
            place = places[term.source]
            kind = copies if term.matrix is None else blocks
            kind.setdefault((place.array, place.width), []).append(_Block(place.begin, term.start, term.dense()))
    for array, found in copies.items():
        runs = _runs(found)
        if len(runs) == 1:
            yield _copy_of(array, runs[0])
        else:
            blocks.setdefault(array, []).extend(found)
    for array, found in blocks.items():
        yield from _products_of(array, found)


def _read(array: tuple[int, int], run: Sequence[_Block]) -> tuple[int, slice | None]:
    """What neighbouring blocks read of an array (position, width)."""
    begin, end = run[0].row, run[-1].ends[0]
    return array[0], None if (begin, end) == (0, array[1]) else slice(begin, end)


def _runs(blocks: Sequence[_Block]) -> list[list[_Block]]:
    """Blocks in lists within which each is of the first one's shape and begins where the one before ends."""
    runs: list[list[_Block]] = []
    for block in sorted(blocks, key=lambda block: (block.row, block.column)):
        last = runs[-1][-1] if runs else None
        if last is not None and last.ends == (block.row, block.column) and last.matrix.shape == block.matrix.shape:
            runs[-1].append(block)
        else:
            runs.append([block])
    return runs


def _copy_of(array: tuple[int, int], run: Sequence[_Block]) -> _Part:
    factors = np.concatenate([np.diag(block.matrix) for block in run])
    return _Copied(
        run[0].column, run[-1].ends[1], *_read(array, run), None if (factors == 1).all() else _single(factors)
    )


def _products_of(array: tuple[int, int], blocks: Sequence[_Block]) -> Iterator[_Part]:
    """One product, or, where most of its matrix would be zeros, products of the rest of it, stacked if alike."""
    pieces: list[_Block] = []
    for block in blocks:
        apart = [piece for piece in pieces if not piece.meets(block)]
        pieces = [*apart, _joined([block, *(piece for piece in pieces if piece.meets(block))])]
    whole = _joined(blocks)
    if whole.matrix.size <= max(SMALL, 2 * sum(piece.matrix.size for piece in pieces)):
        pieces = [whole]
    for run in _runs(pieces):
        begin, end = run[0].column, run[-1].ends[1]
        if len(run) == 1:
            yield _Product(begin, end, *_read(array, run), _single(run[0].matrix))
        else:
            yield _Stacked(begin, end, *_read(array, run), _single(np.stack([block.matrix for block in run])))


class Stage(msgspec.Struct, frozen=True):
    """Units of one kind side by side: a function of sums."""

    operands: tuple[Sum, ...]
    function: Callable[..., Float32Array]

    def __call__(self, known: Known) -> Float32Array:
        """What the units give. Shape (N, sum of the units' widths)."""
        return self.function(*[operand(known) for operand in self.operands])


def stage_of(units: Sequence[Unit], places: Mapping[Source, Place]) -> Stage:
    """The stage of alike units, in their order."""
    kind = units[0].kind
    operands = [side_by_side(parts) for parts in zip(*(unit.operands for unit in units), strict=True)]
    if kind in _OF_HALF:
        halves = [Affine(tuple(term.scaled(0.5) for term in value.terms), 0.5 * value.bias) for value in operands]
        return Stage(tuple(sum_of(half, places) for half in halves), _OF_HALF[kind])
    layer = units[0].layer
    function = (lambda x: layer([x])) if kind == NORMALISE and layer is not None else _FUNCTIONS[kind]
    return Stage(tuple(sum_of(value, places) for value in operands), function)


def _sigmoid_of_half(half: Float32Array) -> Float32Array:
    result = np.tanh(half)
    result += 1.0
    result *= 0.5
    return result


def _silu_of_half(half: Float32Array) -> Float32Array:
    result = np.tanh(half)
    result += 1.0
    result *= half
    return result


_OF_HALF: Mapping[str, Callable[[Float32Array], Float32Array]] = {
    "sigmoid": _sigmoid_of_half,
    "silu": _silu_of_half,
    "swish": _silu_of_half,
}
"""Activations that are computed from half of their argument."""

_ZERO = np.float32(0)

_FUNCTIONS: Mapping[str, Callable[..., Float32Array]] = {
    LINEAR: lambda x: x,
    MULTIPLY: np.multiply,
    "relu": lambda x: np.maximum(x, _ZERO),
    "softplus": lambda x: np.logaddexp(_ZERO, x),
    "tanh": np.tanh,
}
