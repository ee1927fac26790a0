"""Reads files of answers for the evaluation, and splits their students into training and test students.

Columns: ``user_id``, ``topic``, ``is_correct``, and if present ``position`` (order within one user), ``item``,
``actual_time_seconds``, ``difficulty``, ``completed_at``, ``split`` and ``fold``. Every other column is ignored.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chalicelib.domain.lnirt import IntArray
from chalicelib.domain.tasks import MAX_SECONDS, Difficulty, name_key
from training_job.history.answers import AnswerTable, Rows, time_order

FOLDS = 5
"""Number of parts into which the students are dealt where the file does not say."""

TRUTH = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
LEVELS = {level.value: level.numeric for level in Difficulty} | {str(n): n for n in range(1, 5)}
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class AnswerFile:
    """The answers of a file.

    ``test`` (N,) marks the file's own test rows, none where it does not say. ``fold`` (N,) is -1 where it does not say.
    ``item`` (N,) numbers the items, or the topics in a file without items. ``skipped`` counts the rows without a user,
    a topic or a result.
    """

    table: AnswerTable
    item: IntArray
    test: Rows
    fold: IntArray
    skipped: int


@dataclass(slots=True)
class _Columns:
    """The rows read so far. Codes number the names in the order of their first row."""

    users: dict[str, int] = field(default_factory=dict)
    topics: dict[str, int] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)
    rows: list[tuple[int, int, int, bool, float, float, float, bool, int, bool, float]] = field(default_factory=list)
    skipped: int = 0

    def add(self, row: Mapping[str, str | None]) -> None:
        """Add one row of the file, or count it as skipped."""
        user, topic = (row.get("user_id") or "").strip(), name_key(row.get("topic") or "")
        correct = TRUTH.get((row.get("is_correct") or "").strip().lower())
        if not user or not topic or correct is None:
            self.skipped += 1
            return
        seconds, item = _number(row.get("actual_time_seconds")), (row.get("item") or "").strip()
        self.rows.append(
            (
                self.users.setdefault(user, len(self.users)),
                self.topics.setdefault(topic, len(self.topics)),
                LEVELS.get((row.get("difficulty") or "").strip().lower(), Difficulty.MEDIUM.numeric),
                correct,
                seconds if 0 < seconds <= MAX_SECONDS else math.nan,
                _number(row.get("position")),
                _moment(row.get("completed_at")),
                (row.get("split") or "").strip().lower() == "test",
                self.items.setdefault(item or topic, len(self.items)),
                bool(item),
                _number(row.get("fold")),
            )
        )


def read_answers(path: Path) -> AnswerFile:
    """Read a ``.csv`` or ``.csv.gz``. Raises ValueError for a file without usable answers."""
    columns = _Columns()
    for row in _records(path):
        columns.add(row)
    if not columns.rows:
        raise ValueError(f"{path} has no usable answers: needed are user_id, topic and is_correct (0 or 1)")
    user, topic, level, correct, seconds, position, at, test, item, named, fold = (
        np.array(part) for part in zip(*columns.rows, strict=True)
    )
    order = global_order(user, position, at)
    known = np.where(named, item + 1, 0)
    table = AnswerTable.from_columns(
        user=user, user_ids=list(columns.users), topic=topic, topics=list(columns.topics), difficulty=level,
        is_correct=correct, seconds=seconds, at=at, order=order, item=known,
    )  # fmt: skip
    sorting = np.lexsort((order, user))
    folds = np.nan_to_num(fold, nan=-1.0).astype(np.int64)
    return AnswerFile(table, item[sorting], test[sorting], folds[sorting], columns.skipped)


def _records(path: Path) -> Iterator[Mapping[str, str | None]]:
    raw = path.read_bytes()
    text = gzip.decompress(raw) if raw.startswith(_GZIP_MAGIC) else raw
    reader = csv.reader(io.StringIO(text.decode("utf-8-sig", errors="replace"), newline=""))
    header = [name.strip().lower() for name in next(reader, [])]
    for fields in reader:
        yield dict(zip(header, fields, strict=False))


def _number(text: str | None) -> float:
    try:
        value = float(text or "nan")
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _moment(text: str | None) -> float:
    """Return an ISO 8601 time as seconds since the epoch, NaN for none. A time without a zone is in UTC."""
    if not text or not text.strip():
        return math.nan
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        return math.nan
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def global_order(user: npt.NDArray[Any], position: npt.NDArray[Any], at: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the order in time over all users, as a training reads it from the database. All (N,).

    Within one user it is the order of the times ``at`` if all are known, then of ``position``, then of the rows.
    """
    n = len(user)
    undated = np.bincount(user, weights=np.isnan(at))[user] > 0
    within = np.lexsort((np.arange(n), np.nan_to_num(position), np.where(undated, 0.0, at), user))
    first = np.flatnonzero(np.diff(user[within], prepend=user.min() - 1))
    rank = np.empty(n, dtype=np.int64)
    rank[within] = np.arange(n) - np.repeat(first, np.diff(np.append(first, n)))
    return time_order(user, rank, at)


def folds_of(answers: AnswerFile, seed: int) -> list[Rows]:
    """Return a mask (N,) of the test answers of each fold: the file's own, else a fifth of the users in turn.

    A file with a split of its own has one fold. ``seed`` deals the users where the file has no folds.
    """
    if answers.test.any() and not answers.test.all():
        return [answers.test]
    if len(np.unique(answers.fold)) > 1:
        return [answers.fold == fold for fold in np.unique(answers.fold[answers.fold >= 0])]
    names = answers.table.user_ids
    by_name = np.array(sorted(range(len(names)), key=lambda code: names[code]), dtype=np.int64)
    dealt = np.random.default_rng(seed).permutation(by_name)
    return [np.isin(answers.table.user, dealt[n::FOLDS]) for n in range(min(FOLDS, len(names)))]
