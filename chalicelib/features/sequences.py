"""Paths to a question: the topics on which a student's course began, those they practised last, and their tries.

Students of one course meet the topics in one order, so the order tells which course a student follows before their
own answers tell much; and from topic to topic it differs what a first, second or third try is worth, and what it
says of the next when none or two of them went well. A version keeps, for a topic asked after a path, by how much
those who came that way did better or worse on it than students do on average. Each path that is kept was followed by
several students.

A path is looked up by a 32-bit hash; longer paths fall back to shorter ones.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import N_LEVELS, FloatArray, IntArray
from chalicelib.features.state import StateColumns

N_FIRST, N_LATEST = 3, 2
"""Topics of the beginning and of the latest practice that a path may hold."""

N_PATHS = N_FIRST + N_LATEST + 2
"""Columns: after the first topic, the first two, the first three, the latest other topic, the latest two, at the
number of the try on the topic, and with that record of tries and successes on it."""

BEGINNING = 0
"""The column of the first topic; without any, of those who began with the asked topic."""

TRIES = N_PATHS - 2
"""The column of the try's number."""

RECORD = N_PATHS - 1
"""The column of the tries and successes, which takes the last try for wrong."""

MAX_TRIES, MAX_RECORD = 6, 12
"""Tries, and tries or successes of a record, from which on all are the same path."""

PARENTS = (None, 0, 1, None, 3, None, TRIES)
"""The column that each column falls back to."""

_SHORTER = tuple((column, parent) for column, parent in enumerate(PARENTS) if parent is not None)

Keys = npt.NDArray[np.uint32]
_Hash = Any
"""A hash, or a topic, of one path (int) or of many (uint64 array)."""

_64_BITS = 0xFFFFFFFFFFFFFFFF

NOTHING = 0
"""Stands in a path for a topic that does not exist (yet); topics are their row plus one."""


@dataclass(frozen=True)
class PathTable:
    """``keys`` (M,) rising, ``values`` (M,) success beyond that expected of the average student, a share."""

    keys: Keys
    values: FloatArray
    _sorted: array[int] = field(init=False, repr=False, compare=False)
    _found: array[float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_sorted", array("I", self.keys.tolist()))
        object.__setattr__(self, "_found", array("d", self.values.tolist()))

    def lookup_one(self, keys: Sequence[int]) -> list[float]:
        """:meth:`lookup` of one student's paths, without numpy's cost for each call."""
        found: list[float] = []
        for key, parent in zip(keys, PARENTS, strict=True):
            at = bisect_left(self._sorted, key)
            if at < len(self._sorted) and self._sorted[at] == key:
                found.append(self._found[at])
            else:
                found.append(0.0 if parent is None else found[parent])
        return found

    def lookup(self, keys: Keys) -> FloatArray:
        """Values of the paths, 0 where neither a path nor its shorter ones are known. (N, N_PATHS) gives the same."""
        if not len(self.keys):
            return np.zeros(keys.shape)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        unknown = self.keys.take(at) != keys
        found = self.values.take(at)
        found[unknown] = 0.0
        for column, parent in _SHORTER:
            np.copyto(found[:, column], found[:, parent], where=unknown[:, column])
        return found


def no_paths() -> PathTable:
    """The table of a population without common paths."""
    return PathTable(np.zeros(0, dtype=np.uint32), np.zeros(0))


def path_keys(asked: IntArray, first: IntArray, latest: IntArray, attempts: IntArray, right: IntArray) -> Keys:
    """Hashes of the N_PATHS paths: asked (N,) rows, first (N, N_FIRST) and latest (N, N_LATEST) rows plus one.

    ``attempts`` and ``right`` (N,): answers on the asked topic so far, and successes among all but the last of them.
    """
    tries = np.stack([np.minimum(attempts, MAX_TRIES), _record(attempts, right)])
    tokens = (columns.astype(np.uint64) for columns in (first.T, latest.T, tries))
    hashes = _hashes(_roots(asked.astype(np.uint64)), *tokens)
    return np.stack(hashes, axis=1).astype(np.uint32)


def _roots(asked: _Hash) -> list[_Hash]:
    """What the three kinds of paths to a topic begin with: by the first topics, by the latest, by the tries."""
    return [_mixed(begin + 1, asked) for begin in (0, N_FIRST, TRIES)]


_roots_of_one = lru_cache(maxsize=4096)(_roots)


def _hashes(roots: Iterable[_Hash], *kinds: Iterable[_Hash]) -> list[_Hash]:
    """Hashes of the N_PATHS paths, of one or of many; the ``kinds`` are the first topics, the latest, and the tries."""
    hashes = []
    for path, topics in zip(roots, kinds, strict=True):
        for topic in topics:
            path = _mixed(path, topic)
            hashes.append(path >> 32)
    return hashes


def _record(attempts: IntArray, right: IntArray) -> IntArray:
    """Tries and successes as one number."""
    code: IntArray = np.minimum(attempts, MAX_RECORD) * (MAX_RECORD + 1) + np.minimum(right, MAX_RECORD)
    return code


def _mixed(path: _Hash, topic: _Hash) -> _Hash:
    """The hash of a path that is one topic longer (the finaliser of SplitMix64, Steele et al. 2014)."""
    value = (path * 0x9E3779B97F4A7C15 & _64_BITS) + topic + 1 & _64_BITS
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _64_BITS
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _64_BITS
    return value ^ value >> 31


class Course:
    """The topics on which one student's course began, and those they practised last; ``code`` gives a topic's row."""

    def __init__(self, columns: StateColumns, code: Callable[[str], int]) -> None:
        first = _distinct(columns.topics, columns.first_index.argsort(), N_FIRST)
        self._first = _filled([code(topic) + 1 for topic in first], N_FIRST)
        # One topic more than is needed: the asked one is left out.
        latest = _distinct(columns.topics, columns.last_index.argsort()[::-1], N_LATEST + 1)
        self._latest = {topic: code(topic) + 1 for topic in latest}

    def keys(self, asked: int, topic: str, tries: tuple[int, int]) -> list[int]:
        """N_PATHS keys of the paths to an asked topic, given by its row and its key.

        ``tries``: the student's answers on it so far, and successes among all but the last of them.
        """
        latest = [token for other, token in self._latest.items() if other != topic]
        attempts, right = tries
        record = min(attempts, MAX_RECORD) * (MAX_RECORD + 1) + min(right, MAX_RECORD)
        tokens = (self._first, _filled(latest, N_LATEST), (min(attempts, MAX_TRIES), record))
        hashes: list[int] = _hashes(_roots_of_one(asked), *tokens)
        return hashes


def _filled(topics: list[int], wanted: int) -> list[int]:
    """So many topics, :data:`NOTHING` for those that there are not."""
    return [*topics, *[NOTHING] * wanted][:wanted]


def _distinct(topics: Sequence[str], order: IntArray, wanted: int) -> list[str]:
    """The first ``wanted`` topics of rows in ``order``; a topic has at most one row per difficulty."""
    return list(dict.fromkeys([topics[row] for row in order[: wanted * N_LEVELS].tolist()]))[:wanted]
