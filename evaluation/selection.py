"""Selects the most active users and their most common topics from a large file of history."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from chalicelib.domain.tasks import Difficulty
from ops.imports.columns import COLUMNS
from ops.imports.importer import open_history
from ops.imports.report import ImportReport
from ops.imports.rows import HistoryRow
from ops.imports.source import UnusableFileError


def select(path: Path, n_answers: int, n_users: int, n_topics: int) -> list[HistoryRow]:
    """Return ``n_answers`` answers of the most active users on the ``n_topics`` most common topics.

    If the ``n_users`` most active users have too few answers, further users are added. Raises UnusableFileError when
    the file has fewer than ``n_answers`` answers on these topics.
    """
    topics = {topic for topic, _ in Counter(row.key for row in _good(path)).most_common(n_topics)}
    per_user = Counter(row.user_id for row in _good(path) if row.key in topics)
    chosen: set[str] = set()
    available = 0
    for user, n in per_user.most_common():
        if len(chosen) >= n_users and available >= n_answers:
            break
        chosen.add(user)
        available += n
    if available < n_answers:
        raise UnusableFileError(
            f"{path}: has {available} good answers on its {n_topics} most common topics, {n_answers} are needed"
        )
    return _evenly([row for row in _good(path) if row.key in topics and row.user_id in chosen], n_answers)


def _evenly(rows: list[HistoryRow], n: int) -> list[HistoryRow]:
    """Return the first ``n`` answers when the users take turns, so that every user is represented."""
    turns: Counter[str] = Counter()
    ranked = []
    for row in rows:
        ranked.append((turns[row.user_id], row))
        turns[row.user_id] += 1
    return [row for _, row in sorted(ranked, key=lambda entry: entry[0])[:n]]


def _good(path: Path) -> Iterator[HistoryRow]:
    with open_history(path, datetime.now(UTC), ImportReport()) as chunks:
        for rows in chunks:
            yield from rows


def write_csv(rows: list[HistoryRow], path: Path) -> None:
    """Write answers as a file that ``studysmart import`` reads."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in rows:
            at = None if row.at_micros is None else datetime.fromtimestamp(row.at_micros / 1e6, UTC).isoformat()
            writer.writerow(
                {
                    **{name: value for name, value in row._asdict().items() if name in COLUMNS},
                    "difficulty": Difficulty.from_numeric(row.difficulty),
                    "is_correct": int(row.is_correct),
                    "actual_time_seconds": row.seconds,
                    "completed_at": at,
                }
            )
