"""Topic sequences: the order in which a student came to a target topic, and their attempts on it so far.

Students of one course meet the topics in the same order, so the order shows which course a student follows before their
own answers show much. The effect of a first, second or third attempt also differs from topic to topic. So a version
keeps, for each common sequence and target topic, how much better or worse than average students with that sequence
performed on the topic. There are N_SEQUENCES kinds of sequences (columns), from short to long. Where a longer sequence
is unknown, the value of the shorter one is used.

A table is searched by 32-bit hashes of the target topic and the sequence.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import N_LEVELS, FloatArray, IntArray
from chalicelib.features.columns import StateColumns

N_FIRST, N_LATEST = 3, 2
"""Topics that a sequence takes from the beginning of a student's practice, and from the latest practice."""

N_SEQUENCES = N_FIRST + N_LATEST + 2
"""Columns: the first topic, the first two, the first three; the latest other topic, the latest two; the number of
attempts on the target topic; and the attempts with the successes on it."""

FIRST_TOPIC = 0
"""The column of the first topic. Without answers it stands for the students who began with the target topic."""

ATTEMPTS = N_SEQUENCES - 2
"""The column of the number of attempts."""

RECORD = N_SEQUENCES - 1
"""The column of attempts and successes, which counts the last attempt as incorrect."""

MAX_ATTEMPTS, MAX_RECORD = 6, 12
"""Larger numbers of attempts, and of attempts or successes in a record, count as these."""

PARENTS = (None, 0, 1, None, 3, None, ATTEMPTS)
"""For each column, the column of the shorter sequence whose value is used where the longer one is unknown."""

_SHORTER = tuple((column, parent) for column, parent in enumerate(PARENTS) if parent is not None)

Keys = npt.NDArray[np.uint32]
_Hash = Any
"""The hash of one sequence (int) or of many (uint64 array); also a topic in a sequence."""

_64_BITS = 0xFFFFFFFFFFFFFFFF

NO_TOPIC = 0
"""The number of a missing topic in a sequence. Other topics have their row in the LNIRT parameters plus one."""


@dataclass(frozen=True)
class SequenceTable:
    """What students with the same sequence achieved: ``values`` by the hashes ``keys``.

    ``keys`` (M,) are in rising order; ``values`` (M,) are shares of correct answers less those expected of an average
    student.
    """

    keys: Keys
    values: FloatArray
    _sorted: array[int] = field(init=False, repr=False, compare=False)
    _found: array[float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_sorted", array("I", self.keys.tolist()))
        object.__setattr__(self, "_found", array("d", self.values.tolist()))

    def lookup_one(self, keys: Sequence[int]) -> list[float]:
        """Return the values of one prediction's N_SEQUENCES keys, as :meth:`lookup` does for many.

        Binary searches in Python are faster here than :meth:`lookup`, because numpy has a fixed cost for each call.
        """
        found: list[float] = []
        for key, parent in zip(keys, PARENTS, strict=True):
            at = bisect_left(self._sorted, key)
            if at < len(self._sorted) and self._sorted[at] == key:
                found.append(self._found[at])
            else:
                found.append(0.0 if parent is None else found[parent])
        return found

    def lookup(self, keys: Keys) -> FloatArray:
        """Return the values of keys (N, N_SEQUENCES), 0 where neither a sequence nor its shorter ones are known."""
        if not len(self.keys):
            return np.zeros(keys.shape)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        unknown = self.keys.take(at) != keys
        found = self.values.take(at)
        found[unknown] = 0.0
        for column, parent in _SHORTER:
            np.copyto(found[:, column], found[:, parent], where=unknown[:, column])
        return found


def no_sequences() -> SequenceTable:
    """Return a table without any sequence."""
    return SequenceTable(np.zeros(0, dtype=np.uint32), np.zeros(0))


def sequence_keys(target: IntArray, first: IntArray, latest: IntArray, attempts: IntArray, correct: IntArray) -> Keys:
    """Return the keys of N predictions. Shape (N, N_SEQUENCES).

    ``target`` (N,) are rows of the target topics. ``first`` (N, N_FIRST) and ``latest`` (N, N_LATEST) are rows plus
    one. ``attempts`` and ``correct`` (N,) are the answers on the target topic, and successes among all but the last.
    """
    own = np.stack([np.minimum(attempts, MAX_ATTEMPTS), _record(np.minimum, attempts, correct)])
    tokens = (columns.astype(np.uint64) for columns in (first.T, latest.T, own))
    hashes = _hashes(_roots(target.astype(np.uint64)), *tokens)
    return np.stack(hashes, axis=1).astype(np.uint32)


class StudentSequence:
    """The topics with which a student began, and the topics that they practised last."""

    def __init__(self, columns: StateColumns, topic_rows: IntArray) -> None:
        """Take a state of R rows and the rows of their topics in the LNIRT parameters, (R,)."""
        numbers = topic_rows + 1
        first = _distinct(columns.topics, numbers, columns.first_index.argsort(), N_FIRST)
        self._first = _padded(list(first.values()), N_FIRST)
        # One topic more than needed, because the target topic is left out.
        self._latest = _distinct(columns.topics, numbers, columns.last_index.argsort()[::-1], N_LATEST + 1)

    def keys(self, topic_row: int, topic: str, attempts: int, correct: int) -> list[int]:
        """Return the N_SEQUENCES keys for a target topic, given by its row and its key.

        ``attempts`` and ``correct`` are the answers on it so far, and the successes among all but the last of them.
        """
        latest = [number for other, number in self._latest.items() if other != topic]
        own = (min(attempts, MAX_ATTEMPTS), _record(min, attempts, correct))
        hashes: list[int] = _hashes(_roots_of_one(topic_row), self._first, _padded(latest, N_LATEST), own)
        return hashes


def _record(minimum: Any, attempts: Any, correct: Any) -> Any:
    """Return attempts and successes as one number, of one prediction or of many."""
    return minimum(attempts, MAX_RECORD) * (MAX_RECORD + 1) + minimum(correct, MAX_RECORD)


def _roots(target: _Hash) -> list[_Hash]:
    """Return the hashes of the empty sequences of the three kinds: first topics, latest topics, attempts."""
    return [_extended(kind + 1, target) for kind in (0, N_FIRST, ATTEMPTS)]


_roots_of_one = lru_cache(maxsize=4096)(_roots)


def _hashes(roots: Iterable[_Hash], *kinds: Iterable[_Hash]) -> list[_Hash]:
    """Return the N_SEQUENCES hashes of one prediction or of many, from the roots and the numbers of each kind."""
    hashes = []
    for sequence, numbers in zip(roots, kinds, strict=True):
        for number in numbers:
            sequence = _extended(sequence, number)
            hashes.append(sequence >> 32)
    return hashes


def _extended(sequence: _Hash, number: _Hash) -> _Hash:
    """Return the hash of a sequence extended by a number: the finaliser of SplitMix64 (Steele et al. 2014)."""
    value = (sequence * 0x9E3779B97F4A7C15 & _64_BITS) + number + 1 & _64_BITS
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _64_BITS
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _64_BITS
    return value ^ value >> 31


def _padded(numbers: list[int], length: int) -> list[int]:
    return [*numbers, *[NO_TOPIC] * length][:length]


def _distinct(topics: Sequence[str], numbers: IntArray, order: IntArray, count: int) -> dict[str, int]:
    """Return the first ``count`` distinct topics in an order of the rows, each with its number."""
    # A topic has at most one row per level.
    rows = order[: count * N_LEVELS].tolist()
    found = dict(zip([topics[row] for row in rows], numbers.take(rows).tolist(), strict=True))
    return dict(islice(found.items(), count))
