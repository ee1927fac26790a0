"""Takes a small, well-filled part out of a large file of history: the most active users on their most common topics."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from chalicelib.domain.history import HistoryRow
from chalicelib.domain.tasks import Difficulty
from ops.imports.file import UnusableFileError, open_history


def select(path: Path, n_answers: int, n_users: int, n_topics: int) -> list[HistoryRow]:
    """Up to ``n_answers`` answers of ``n_users`` users on ``n_topics`` topics, those with the most answers first.

    Where these have fewer answers than asked for, the next users are added. Raises UnusableFileError when the file
    has fewer answers on its most common topics.
    """
    topics = {topic for topic, _ in Counter(row.topic_key for row in _good(path)).most_common(n_topics)}
    per_user = Counter(row.user_id for row in _good(path) if row.topic_key in topics)
    chosen: set[str] = set()
    available = 0
    for user, n in per_user.most_common():
        if len(chosen) >= n_users and available >= n_answers:
            break
        chosen.add(user)
        available += n
    if available < n_answers:
        raise UnusableFileError(
            f"{path}: has {available} good answers on its {n_topics} topics, {n_answers} are needed"
        )
    return _evenly([row for row in _good(path) if row.topic_key in topics and row.user_id in chosen], n_answers)


def _evenly(rows: list[HistoryRow], n: int) -> list[HistoryRow]:
    """The first ``n`` answers when the users take turns, so that every user is there."""
    turns: Counter[str] = Counter()
    ranked = []
    for row in rows:
        ranked.append((turns[row.user_id], row))
        turns[row.user_id] += 1
    return [row for _, row in sorted(ranked, key=lambda entry: entry[0])[:n]]


def _good(path: Path) -> Iterator[HistoryRow]:
    with open_history(path, datetime.now(UTC)) as rows:
        for row in rows:
            if isinstance(row, HistoryRow):
                yield row


def write_csv(rows: list[HistoryRow], path: Path) -> None:
    """Write answers as a file that ``studysmart import`` takes."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                "user_id",
                "position",
                "subject",
                "topic",
                "difficulty",
                "is_correct",
                "actual_time_seconds",
                "completed_at",
            ]
        )
        for row in rows:
            at = None if row.at_micros is None else datetime.fromtimestamp(row.at_micros / 1e6, UTC).isoformat()
            level = Difficulty.from_numeric(row.difficulty)
            values = (row.user_id, row.position, row.subject, row.topic, level, int(row.is_correct), row.seconds, at)
            writer.writerow(["" if value is None else value for value in values])
